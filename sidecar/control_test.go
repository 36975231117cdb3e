package main_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/testkey"
	"github.com/keyturn/keyturn/internal/testport"
)

func TestControl_DenyAndAllow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.create("billing.read")
	dir := filepath.Join(t.TempDir(), "data")
	p := w.joins(dir)
	if got := w.authz(p.URL, made); got != 200 {
		t.Fatal(got)
	}
	r := w.does("deny", made.ID, "--data-dir", dir)
	if r.exit != 0 || !strings.Contains(r.stdout, made.ID) {
		t.Errorf("deny: %+v", r)
	}
	if got := w.authz(p.URL, made); got != 401 {
		t.Errorf("denied: %d", got)
	}
	if got := w.status(dir).Denied; !slices.Equal(got, []string{made.ID}) {
		t.Errorf("denied: %v", got)
	}
	if r := w.types("", []string{"KEYTURN_DATA_DIR=" + dir}, "allow", made.ID); r.exit != 0 {
		t.Errorf("allow, with the directory from the environment: %+v", r)
	}
	if got := w.authz(p.URL, made); got != 200 {
		t.Errorf("allowed: %d", got)
	}
	for name, row := range map[string]struct {
		args []string
		exit int
		says string
	}{
		"NotAnID":       {[]string{"deny", "nobody", "--data-dir", dir}, 2, "neither a client id"},
		"NotAnIDEither": {[]string{"allow", "cli_1", "--data-dir", dir}, 2, "neither a client id"},
		"NobodyIsAsked": {[]string{"deny", "nobody", "--data-dir", t.TempDir()}, 2, "neither a client id"},
		"NoID":          {[]string{"deny", "--data-dir", dir}, 2, "<id>"},
		"NoDirectory":   {[]string{"status"}, 2, "--data-dir"},
		"NothingThere":  {[]string{"status", "--data-dir", t.TempDir()}, 5, "no sidecar is running"},
		"UnknownVerb":   {[]string{"dance"}, 2, "dance"},
		"NoVerb":        {nil, 2, "keyturn-sidecar --help"},
		"SecretOnShow":  {[]string{"deny", made.ClientSecret, "--data-dir", dir}, 2, "secret"},
		"ResyncNothing": {[]string{"resync", "--data-dir", t.TempDir()}, 5, "no sidecar is running"},
	} {
		r := w.does(row.args...)
		if r.exit != row.exit || !strings.Contains(r.stderr, row.says) || r.stdout != "" {
			t.Errorf("%s: exit %d, want %d and %q:\n%s%s", name, r.exit, row.exit, row.says, r.stdout, r.stderr)
		}
	}
	p.Kill() // it cannot take back where it answers
	if r := w.does("status", "--data-dir", dir); r.exit != 5 || !strings.Contains(r.stderr, "no sidecar is running") {
		t.Errorf("after kill -9: %+v", r)
	}
}

// TestControl_OverTLS: the certificate is for the name by which others call.
func TestControl_OverTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.create("billing.read")
	dir := filepath.Join(t.TempDir(), "data")
	cert, key, _ := testkey.Certificate(t, t.TempDir(), "bills.example.com")
	_, port, _ := strings.Cut(testport.Hold(t), ":") // when the sidecar is gone, it is for this test
	p := w.joins(dir, "--listen", "0.0.0.0:"+port, "--tls-cert", cert, "--tls-key", key,
		"--host", "bills.example.com")
	w.eventually("it is ready", func() bool { return w.does("status", "--ready", "--data-dir", dir).exit == 0 })
	for name, args := range map[string][]string{
		"status": {"status"}, "live": {"status", "--live"}, "deny": {"deny", made.ID}, "resync": {"resync"}, "export": {"export"},
	} {
		if r := w.does(append(args, "--data-dir", dir)...); r.exit != 0 || r.stdout == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if got := w.status(dir).Denied; !slices.Equal(got, []string{made.ID}) {
		t.Errorf("denied: %v", got)
	}
	p.Kill()
	taken, err := net.Listen("tcp", strings.TrimPrefix(p.URL, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	go func() {
		for c, err := taken.Accept(); err == nil; c, err = taken.Accept() {
			_ = c.Close()
		}
	}()
	if r := w.does("deny", made.ID, "--data-dir", dir); r.exit != 5 || strings.Contains(r.stderr, "no sidecar is running") || strings.Contains(r.stderr, "the authority") {
		t.Errorf("somebody else listens there: %+v", r)
	}
}

// TestControl_WhatAllowDoesNotTakeBack: a version is refused as long as all of its credential is.
func TestControl_WhatAllowDoesNotTakeBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bare := w.create("billing.read").ID
	dir := filepath.Join(t.TempDir(), "data")
	w.joins(dir)
	for _, row := range []struct{ verb, id, says string }{
		{"deny", bare, ""},
		{"allow", bare + "-1", bare + " is still denied, so every version of it is refused"},
		{"deny", bare + "-1", ""},
		{"allow", bare, bare + "-1 is still denied, so that version is refused"},
		{"deny", bare + "-2", ""},
		{"allow", bare + "-2", ""},
		{"allow", bare + "-1", ""},
	} {
		r := w.does(row.verb, row.id, "--data-dir", dir)
		if r.exit != 0 || (row.says == "") != (r.stderr == "") || !strings.Contains(r.stderr, row.says) || r.stdout == "" {
			t.Errorf("%s %s: exit %d, want %q\n%s", row.verb, row.id, r.exit, row.says, r.stderr)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "denied.json.moved"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "denied.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "denied.json.moved"), filepath.Join(dir, "denied.json")); err != nil {
		t.Fatal(err)
	}
	r := w.does("deny", bare, "--data-dir", dir) // what a full disk does
	if r.exit != 1 || !strings.Contains(r.stderr, "only until this sidecar is started again") || strings.Contains(r.stderr, "INTERNAL") {
		t.Errorf("what cannot be kept: %+v", r)
	}
}

func TestControl_Version(t *testing.T) {
	t.Parallel()
	w := &world{t: t}
	if testing.Short() {
		t.Skip("builds and runs the real program")
	}
	if r := w.does("version"); r.exit != 0 || r.stdout != "v1.2.3-test\n" || r.stderr != "" {
		t.Errorf("%+v", r)
	}
	if r := w.does("--help"); r.exit != 0 || !strings.Contains(r.stdout, "resync") {
		t.Errorf("%+v", r)
	}
	if r := w.does("run", "--help"); r.exit != 0 || !strings.Contains(r.stdout, "--offline-write") {
		t.Errorf("%+v", r)
	}
}

// TestControl_Resync restores an authority from a backup that is older than what the sidecar has. It goes on with its copy and
// says so, until it is told to accept the restored ledger.
func TestControl_Resync(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := w.create("billing.read")
	dir := filepath.Join(t.TempDir(), "data")
	p := w.joins(dir)
	file := filepath.Join(w.DataDir(), "keyturn.db")
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	backup, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	lost := w.create("billing.read")
	w.eventually("the sidecar has what the backup has not", func() bool { return w.authz(p.URL, lost) == 200 })
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	write(t, file, string(backup), 0o600)
	w.eventually("the sidecar knows that the authority is gone", func() bool {
		log := p.Log()
		return strings.LastIndex(log, "cannot be pulled") > strings.LastIndex(log, "are pulled again")
	})
	if err := w.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.eventually("it says that the ledger does not continue its copy", func() bool { return strings.Contains(w.status(dir).Problem, "resync") })
	for name, c := range map[string]httpapi.Created{"old": old, "lost": lost} {
		if got := w.authz(p.URL, c); got != 200 {
			t.Errorf("%s, from the copy: %d", name, got)
		}
	}
	if !strings.Contains(p.Log(), "does not continue this copy") {
		t.Errorf("the log:\n%s", p.Log())
	}
	if r := w.does("resync", "--data-dir", dir); r.exit != 0 {
		t.Fatalf("resync: %+v", r)
	}
	if s := w.status(dir); s.Problem != "" {
		t.Errorf("afterwards: %s", s.Problem)
	}
	for name, row := range map[string]struct {
		c    httpapi.Created
		want int
	}{"old": {old, 200}, "lost": {lost, 401}, "new": {w.create("billing.read"), 200}} {
		if got := w.authz(p.URL, row.c); got != row.want {
			t.Errorf("%s, after the resync: %d, want %d", name, got, row.want)
		}
	}
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	r := w.does("resync", "--data-dir", dir)
	if r.exit != 5 || !strings.Contains(r.stderr, "stays in use") {
		t.Errorf("without an authority: %+v", r)
	}
	if got := w.authz(p.URL, old); got != 200 {
		t.Errorf("after a resync that could not be: %d", got)
	}
	if err := w.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
}
