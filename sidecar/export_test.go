package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keyturn/keyturn/internal/serve"
)

// The real program writes down what it has, running, stopped or killed, and an authority that lost its store lives on with it.
func TestExport_BringsALostAuthorityBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good, dead := w.create("billing.read"), w.create("billing.read")
	w.call("DELETE", "/v1/credentials/"+dead.ClientID, nil, nil)
	dir := filepath.Join(t.TempDir(), "host")
	p := w.joins(dir)
	w.eventually("the sidecar has all", func() bool { return w.authz(p.URL, good) == 200 && w.authz(p.URL, dead) == 401 })
	export := func(when string) string {
		t.Helper()
		r := w.types("", []string{"KEYTURN_DATA_DIR=" + dir}, "export")
		if r.exit != 0 || r.stderr != "" || !strings.HasSuffix(r.stdout, "\n{\"next_cursor\":null}\n") {
			t.Fatalf("%s: exit %d: %s", when, r.exit, r.stderr)
		}
		if hashes := strings.Count(r.stdout, `{"hash":`); hashes != 2 {
			t.Errorf("%s: %d hashes, want those of two live secrets", when, hashes)
		}
		return r.stdout
	}
	running := export("running")
	if p.Kill(); export("killed") != running {
		t.Error("killed, it has something else")
	}
	p = w.run(dir, "", nil)
	_ = p.End(syscall.SIGTERM)
	if export("stopped") != running {
		t.Error("stopped, it has something else")
	}
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(w.DataDir(), "keyturn.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := serve.Import(t.Context(), w.DataDir(), strings.NewReader(running)); err != nil {
		t.Fatal(err)
	}
	if err := w.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	p = w.run(dir, "", nil)
	fresh := w.create("billing.read")
	w.eventually("it follows", func() bool {
		return w.authz(p.URL, good) == 200 && w.authz(p.URL, dead) == 401 && w.authz(p.URL, fresh) == 200
	})
	if s := w.status(dir); s.Problem != "" {
		t.Error(s.Problem)
	}
}

func TestExport_SaysWhyNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	empty, bare := t.TempDir(), filepath.Join(t.TempDir(), "bare")
	p := w.joins(bare)
	_ = p.End(syscall.SIGTERM)
	if err := os.Remove(filepath.Join(bare, "replica.db")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		exit int
		says string
	}{
		"no directory":   {[]string{"export"}, 2, "--data-dir"},
		"never joined":   {[]string{"export", "--data-dir", empty}, 1, "no sidecar has joined a cluster from here"},
		"no copy":        {[]string{"export", "--data-dir", bare}, 1, "replica.db is missing"},
		"too much typed": {[]string{"export", "file"}, 2, "see: keyturn-sidecar --help"},
	} {
		if r := w.does(c.args...); r.exit != c.exit || !strings.Contains(r.stderr, c.says) || r.stdout != "" {
			t.Errorf("%s: exit %d, want %d: %s%s", name, r.exit, c.exit, r.stdout, r.stderr)
		}
	}
}
