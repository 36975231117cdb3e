package serve_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// limitFiles sets how large files may become that a process writes: beyond it there is no room, as on a full disk.
func limitFiles(t *testing.T, pid int, size uint64) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, nil, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: before.Max}, nil); err != nil {
		t.Fatal(err)
	}
}

func TestFullDisk_LosesNothingAndRecovers(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	p := spawn(t, dir)
	b := bootstrap(t, p.host)
	bearer := token(t, p.host, b.ClientID, b.ClientSecret).AccessToken
	size := must(os.Stat(filepath.Join(dir, "keyturn.db")))(t).Size()
	limitFiles(t, p.PID(), uint64(size))

	labels := map[string]string{}
	for i := range 16 {
		labels[fmt.Sprintf("%064d", i)] = strings.Repeat("x", 64) // to fill it soon
	}
	made := map[string]string{}
	create := func() *httpapi.Error {
		t.Helper()
		a, err := p.Call(t.Context(), httpapi.Request{Method: "POST", Path: "/v1/credentials", Bearer: bearer, Body: httpapi.CreateRequest{Labels: labels}})
		if err != nil {
			return apiError(t, err)
		}
		var c httpapi.Created
		if err := a.Decode(&c); err != nil {
			t.Fatal(err)
		}
		made[c.ClientID] = c.ClientSecret
		return nil
	}
	var full *httpapi.Error
	for full == nil && len(made) < 10_000 {
		full = create()
	}
	if full == nil || full.Status != http.StatusServiceUnavailable || full.Code != httpapi.Unavailable || full.RetryAfter == 0 {
		t.Fatalf("after %d credentials: %v", len(made), full)
	}
	token(t, p.host, b.ClientID, b.ClientSecret) // who is known gets in all the same
	// A smaller write may still find a page that is free: what counts is that nothing but room or this refusal is answered.
	for range 3 {
		if e := create(); e != nil && e.Status != http.StatusServiceUnavailable {
			t.Errorf("still full, and the answer is %v", e)
		}
	}
	limitFiles(t, p.PID(), unix.RLIM_INFINITY)
	e := create()
	for range 5 { // a machine that stands still may be answered the same
		if e == nil {
			break
		}
		e = create()
	}
	if e != nil {
		t.Fatalf("there is room again: %v", e)
	}
	t.Logf("%d credentials", len(made))
	everyoneGetsIn(t, p.host, made)
	p.kill()
	p = spawn(t, dir)
	everyoneGetsIn(t, p.host, made)
}

func everyoneGetsIn(t *testing.T, h *host, made map[string]string) {
	t.Helper()
	for id, secret := range made {
		token(t, h, id, secret)
	}
}
