package main_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRun_TakesTheJoinKeyFromAFileTheEnvironmentOrStandardInput, once: afterwards it is not needed any more.
func TestRun_TakesTheJoinKeyFromAFileTheEnvironmentOrStandardInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.create("billing.read")
	for name, give := range map[string]func(key, file string) (stdin string, env, args []string){
		"file": func(_, file string) (string, []string, []string) { return "", nil, []string{"--join-key-file", file} },
		"stdin": func(key, _ string) (string, []string, []string) {
			return key + "\n", nil, []string{"--join-key-file", "-"}
		},
		"env": func(key, _ string) (string, []string, []string) { return "", []string{"KEYTURN_JOIN_KEY=" + key}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := *w
			v.t = t
			key := v.joinKey()
			file := write(t, filepath.Join(t.TempDir(), "key"), key+"\n", 0o600)
			dir := filepath.Join(t.TempDir(), "data")
			stdin, env, args := give(key, file)
			p := v.run(dir, stdin, env, append(args, "--name", "host-"+name)...)
			if got := v.authz(p.URL, made); got != 200 {
				t.Errorf("%d", got)
			}
			if strings.Contains(p.Log(), key) {
				t.Error("the join key is in the log")
			}
			for _, f := range []string{"peer.key", "token.key", "replica.db", "peer.json", "license.json", "running.json"} {
				info, err := os.Stat(filepath.Join(dir, f))
				if err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v, %v", f, info, err)
				}
			}
			before := v.status(dir).PeerID
			if err := p.End(os.Kill); err == nil {
				t.Error("killed, and it says that all is well")
			}
			if err := os.Remove(file); err != nil { // where a key was handed over in a file, that is gone by now
				t.Fatal(err)
			}
			if name != "file" {
				args = nil
			}
			p = v.run(dir, "", nil, args...)
			if now := v.status(dir); now.PeerID != before || now.Problem != "" {
				t.Errorf("%+v, before it was %s", now, before)
			}
			if err := p.End(os.Interrupt); err != nil {
				t.Errorf("interrupted: %v\n%s", err, p.Log())
			}
		})
	}
}

func TestRun_SaysWhyItDoesNotStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	used := w.joinKey()
	first := filepath.Join(t.TempDir(), "data")
	w.run(first, "", []string{"KEYTURN_JOIN_KEY=" + used})
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(more ...string) []string {
		return append([]string{"run", "--authority", w.URL(), "--listen", "127.0.0.1:0"}, more...)
	}
	fresh := func() []string { return []string{"--data-dir", filepath.Join(t.TempDir(), "data")} }
	vendor := write(t, filepath.Join(t.TempDir(), "F.pub"), `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, 0o600)
	for name, row := range map[string]struct {
		key  string
		args []string
		exit int
		says string
	}{
		"NoAuthority":         {"", []string{"run", "--data-dir", "x"}, 2, "--authority"},
		"NoDataDirectory":     {"", []string{"run", "--authority", w.URL()}, 2, "--data-dir"},
		"UnknownFlag":         {"", run("--no-such-flag"), 2, "--no-such-flag"},
		"NoJoinKey":           {"", run(fresh()...), 2, "keyturn join-keys create"},
		"NotAJoinKey":         {"hello", run(fresh()...), 2, "keyturn join-keys create"},
		"JoinKeyFileMissing":  {"", run(append(fresh(), "--join-key-file", "/does/not/exist")...), 2, "/does/not/exist"},
		"JoinKeyAsArgument":   {"", run(append(fresh(), "--join-key-file", used)...), 2, "revoke it"},
		"UsedJoinKey":         {used, run(fresh()...), 3, "refused"},
		"AnotherVendor":       {w.joinKey(), run(append(fresh(), "--vendor-key", vendor)...), 3, "license"},
		"AuthorityGone":       {used, []string{"run", "--authority", "http://127.0.0.1:1", "--data-dir", fresh()[1]}, 5, "reached"},
		"AuthorityIsNoURL":    {used, []string{"run", "--authority", "ftp://x", "--data-dir", fresh()[1]}, 2, "--authority"},
		"PlainAuthority":      {used, []string{"run", "--authority", "http://192.0.2.1", "--data-dir", fresh()[1]}, 2, "--insecure-authority"},
		"PlainByItsName":      {used, []string{"run", "--authority", "http://auth.example", "--data-dir", fresh()[1]}, 2, "https://"},
		"DirectoryInUse":      {"", run("--data-dir", first), 1, "stop that one first"},
		"DirectoryOpenToAll":  {used, run("--data-dir", open), 1, "chmod 700"},
		"OffLoopback":         {used, append([]string{"run", "--authority", w.URL(), "--listen", "0.0.0.0:0"}, fresh()...), 2, "--tls-cert"},
		"NeverOffline":        {used, run(append(fresh(), "--offline-write", "0s")...), 2, "--offline-write"},
		"OddDuration":         {used, run(append(fresh(), "--offline-read", "soon")...), 2, "offline-read"},
		"SocketModeIsNoMode":  {used, run(append(fresh(), "--socket-mode", "rw")...), 2, "--socket-mode"},
		"SocketModeWithoutIt": {used, run(append(fresh(), "--socket-mode", "0660")...), 2, "unix socket"},
		"AddressInUse":        {w.joinKey(), append([]string{"run", "--authority", w.URL(), "--listen", strings.TrimPrefix(w.URL(), "http://")}, fresh()...), 1, "in use"},
	} {
		var env []string
		if row.key != "" {
			env = []string{"KEYTURN_JOIN_KEY=" + row.key}
		}
		r := w.types("", env, row.args...)
		if r.exit != row.exit || !strings.Contains(r.stderr, row.says) {
			t.Errorf("%s: exit %d, want %d and %q:\n%s", name, r.exit, row.exit, row.says, r.stderr)
		}
		if strings.Contains(r.stderr+r.stdout, used) {
			t.Errorf("%s: it repeats the join key", name)
		}
		if r.stdout != "" {
			t.Errorf("%s: on standard output: %s", name, r.stdout)
		}
	}
}

// TestRun_DrainsWhenToldToStop: what waits for news is answered, the address is let go, and nobody finds it running.
func TestRun_DrainsWhenToldToStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.create("billing.read")
	dir := filepath.Join(t.TempDir(), "data")
	p := w.joins(dir)
	if got := w.authz(p.URL, made); got != 200 {
		t.Fatal(got)
	}
	var feed struct{ Cursor string }
	first, err := w.http.Get(p.URL + "/v1/sidecar/feed")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(json.NewDecoder(first.Body).Decode(&feed), first.Body.Close()); err != nil {
		t.Fatal(err)
	}
	answered, asked := make(chan int, 1), make(chan struct{})
	ask := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { close(asked) }})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/v1/sidecar/feed?wait_seconds=30&after="+url.QueryEscape(feed.Cursor), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		a, err := ask.Do(r)
		if err != nil {
			t.Error(err)
			answered <- 0
			return
		}
		_ = a.Body.Close()
		answered <- a.StatusCode
	}()
	<-asked
	other, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(p.URL + "/livez")
	if err != nil { // connections are taken in their order: that one has been taken, now that this one is answered
		t.Fatal(err)
	}
	_ = other.Body.Close()
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Errorf("%v\n%s", err, p.Log())
	}
	if got := <-answered; got != 200 {
		t.Errorf("what was under way: %d", got)
	}
	if r := w.does("status", "--data-dir", dir); r.exit != 5 || !strings.Contains(r.stderr, "no sidecar is running") {
		t.Errorf("status afterwards: %+v", r)
	}
	if log := p.Log(); !strings.Contains(log, "stopping") || strings.Contains(log, "cut off") {
		t.Errorf("the log:\n%s", log)
	}
}

// TestRun_ReloadsOnAHangup: what is denied is read again, and what cannot be read leaves all as it was.
func TestRun_ReloadsOnAHangup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.create("billing.read")
	dir := filepath.Join(t.TempDir(), "data")
	p := w.joins(dir)
	if got := w.authz(p.URL, made); got != 200 {
		t.Fatal(got)
	}
	hangup := func() {
		if err := p.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "denied.json"), `{"denied":["`+made.ID+`"]}`, 0o600)
	hangup()
	w.eventually("it is denied", func() bool { return w.authz(p.URL, made) == 401 })
	write(t, filepath.Join(dir, "denied.json"), `{"denied":[`, 0o600)
	hangup()
	w.eventually("it says that the file is damaged", func() bool { return strings.Contains(p.Log(), "denied.json is damaged") })
	if got := w.authz(p.URL, made); got != 401 {
		t.Errorf("with a damaged file: %d", got)
	}
	write(t, filepath.Join(dir, "denied.json"), `{"denied":[]}`, 0o600)
	hangup()
	w.eventually("it is allowed", func() bool { return w.authz(p.URL, made) == 200 })
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}
