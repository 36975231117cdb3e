package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/devcluster"
	"github.com/keyturn/keyturn/internal/testport"
)

// withSidecars is somebody with a cluster of two sidecars.
func withSidecars(t *testing.T) *user {
	t.Helper()
	u := &user{t: t, clock: &clock{}}
	var err error
	u.cluster, err = devcluster.Start(t.Context(), devcluster.Options{Dir: t.TempDir(), Peers: 2, Now: u.clock.now, Listen: testport.Hold(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := u.cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	u.env = map[string]string{"KEYTURN_CONFIG": u.cluster.ConfigFile(), "PATH": os.Getenv("PATH")}
	return u
}

// loses stops the authority and takes its store away.
func (u *user) loses() {
	u.t.Helper()
	if err := u.cluster.Down(); err != nil {
		u.t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(u.cluster.DataDir(), "keyturn.db")); err != nil {
		u.t.Fatal(err)
	}
}

func TestImport_FromSidecars(t *testing.T) {
	t.Parallel()
	u := withSidecars(t)
	u.must("credentials", "rotate", "--update-config")
	for _, sidecar := range u.cluster.Sidecars() { // who asks for a new secret brings the record of it
		u.must("token", "--server", sidecar)
	}
	u.loses()
	args := []string{"import", "--data-dir", u.cluster.DataDir()}
	for _, sidecar := range u.cluster.Sidecars() {
		args = append(args, "--from", sidecar)
	}
	r := u.must(args...)
	for _, told := range []string{"nothing is missing that was written before 20", "keyturn-sidecar resync", "records, 2 live secrets; start it with: keyturn serve --data-dir "} {
		if !strings.Contains(r.stderr, told) {
			t.Errorf("it does not say %q: %s", told, r.stderr)
		}
	}
	if !strings.HasPrefix(r.stdout, "clu_") || strings.Count(r.stdout, "\n") != 1 {
		t.Errorf("standard output: %q", r.stdout)
	}
	if strings.Contains(r.stdout+r.stderr, "eyJ") {
		t.Errorf("it shows a token: %s%s", r.stdout, r.stderr)
	}
	if err := u.cluster.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	u.must("credentials", "rotate", "--update-config")
	for _, sidecar := range u.cluster.Sidecars() {
		u.must("token", "--server", sidecar)
	}
}

func TestImport_FromSidecarsSaysWhyNot(t *testing.T) {
	t.Parallel()
	u := withSidecars(t)
	d := u.cluster.DataDir()
	one := u.cluster.Sidecars()[0]
	if r := u.does("import", "--data-dir", d, "--from", one); r.exit != 1 || !strings.Contains(r.stderr, "stop the keyturn serve") {
		t.Errorf("while it is served: exit %d: %s", r.exit, r.stderr)
	}
	u.loses()
	other := withSidecars(t)
	gone := "http://" + testport.Hold(t)
	for name, c := range map[string]struct {
		args []string
		exit int
		says string
	}{
		"a file too":      {[]string{"--data-dir", d, "--from", one, "all.jsonl"}, 2, "not both"},
		"no address":      {[]string{"--data-dir", d, "--from", "host:8081"}, 2, "--from host:8081: "},
		"nobody there":    {[]string{"--data-dir", d, "--from", gone, "--from", one, "--timeout", "1s"}, 5, gone + ": "},
		"no socket there": {[]string{"--data-dir", d, "--from", "unix:/nowhere/s", "--timeout", "1s"}, 5, "unix:/nowhere/s: "},
		"another cluster": {[]string{"--data-dir", d, "--from", other.cluster.Sidecars()[0]}, 1, "it belongs to another cluster; leave that one out"},
		"no ledger key":   {[]string{"--data-dir", filepath.Join(t.TempDir(), "new"), "--from", one}, 1, "restore the key from a backup"},
		"no sidecar":      {[]string{"--data-dir", other.cluster.DataDir() + "-copy", "--from", other.cluster.URL()}, 3, "unauthorized"},
	} {
		if name == "no sidecar" { // but an authority, which takes no such token
			key, err := os.ReadFile(filepath.Join(other.cluster.DataDir(), "ledger.key"))
			if err == nil {
				err = os.MkdirAll(c.args[1], 0o700)
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(c.args[1], "ledger.key"), key, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if r := u.does(append([]string{"import"}, c.args...)...); r.exit != c.exit || !strings.Contains(r.stderr, c.says) || r.stdout != "" {
			t.Errorf("%s: exit %d, want %d: %s", name, r.exit, c.exit, r.stderr)
		}
	}
	if r := u.does("import", "--data-dir", d, "--from", one); r.exit != 0 {
		t.Errorf("then the right one: exit %d: %s", r.exit, r.stderr)
	}
}
