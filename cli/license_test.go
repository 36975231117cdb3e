package main_test

import (
	"strings"
	"testing"
	"time"
)

func TestLicense_ExpiresForVerify(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	u := &user{t: t, clock: &clock{}, env: map[string]string{}}
	u.must("license", "keygen", "--out", dir+"/k")
	u.must("license", "issue", "--key", dir+"/k", "--max-nodes", "1", "--max-services", "1", "--expires-in", "2days", "--out", dir+"/l")
	u.must("license", "verify", "--vendor-key", dir+"/k.pub", dir+"/l")
	u.clock.turn(49 * time.Hour)
	r := u.does("license", "verify", "--vendor-key", dir+"/k.pub", dir+"/l")
	if r.exit != 1 || !strings.Contains(r.stderr, "it expired on") {
		t.Errorf("exit %d: %s", r.exit, r.stderr)
	}
}
