package main_test

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// sidecars are the peers that are none of the authority's, by name.
func (w *world) sidecars() map[string]string {
	w.t.Helper()
	var all struct {
		Peers []struct {
			PeerID string `json:"peer_id"`
			Name   string `json:"name"`
			Role   string `json:"role"`
		} `json:"peers"`
	}
	w.call(http.MethodGet, "/v1/peers", nil, &all)
	list := map[string]string{}
	for _, p := range all.Peers {
		if p.Role == "sidecar" {
			list[p.Name] = p.PeerID
		}
	}
	return list
}

// TestRun_DoesNotJoinWhereItCannotStart: the join key is as good as before, and nobody counts as a peer.
func TestRun_DoesNotJoinWhereItCannotStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := []string{"KEYTURN_JOIN_KEY=" + w.joinKey()}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for name, row := range map[string]struct {
		args []string
		exit int
		says string
	}{
		"PortIsTaken":      {[]string{"--listen", taken.Addr().String()}, 1, "in use"},
		"NotOfThisHost":    {[]string{"--listen", "192.0.2.1:0", "--insecure-http"}, 1, "192.0.2.1"},
		"NoAddress":        {[]string{"--listen", "8081"}, 2, "HOST:PORT"},
		"NoPlaceForSocket": {[]string{"--listen", "unix:" + filepath.Join(t.TempDir(), "none", "s")}, 1, "none"},
		"NoCertificate":    {[]string{"--tls-cert", "/does/not/exist", "--tls-key", "/does/not/exist"}, 1, "/does/not/exist"},
		"NoVendorKey":      {[]string{"--vendor-key", "/does/not/exist"}, 2, "/does/not/exist"},
		"OddName":          {[]string{"--name", "a\x1b[31m"}, 2, "--name"},
	} {
		args := append([]string{"run", "--authority", w.URL(), "--data-dir", filepath.Join(t.TempDir(), "data")}, row.args...)
		if r := w.types("", key, args...); r.exit != row.exit || !strings.Contains(r.stderr, row.says) {
			t.Errorf("%s: exit %d, want %d and %q:\n%s", name, r.exit, row.exit, row.says, r.stderr)
		}
	}
	if got := w.sidecars(); len(got) != 0 {
		t.Errorf("peers: %v", got)
	}
	w.run(filepath.Join(t.TempDir(), "data"), "", key, "--name", " host-9 ")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	w.joins(filepath.Join(t.TempDir(), "data"), "--name", " ")
	if got := w.sidecars(); len(got) != 2 || got["host-9"] == "" || got[host] == "" {
		t.Errorf("peers: %v", got)
	}
}

// TestRun_ARefusedLicenseCanBeMended: only a peer is shown the license, so the host is one by then. It goes on as that peer, and
// does not run before.
func TestRun_ARefusedLicenseCanBeMended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := []string{"KEYTURN_JOIN_KEY=" + w.joinKey()}
	dir := filepath.Join(t.TempDir(), "data")
	text, err := json.Marshal(w.Vendor())
	if err != nil {
		t.Fatal(err)
	}
	right := write(t, filepath.Join(t.TempDir(), "right.pub"), string(text), 0o600)
	wrong := write(t, filepath.Join(t.TempDir(), "wrong.pub"), `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, 0o600)
	r := w.types("", key, "run", "--authority", w.URL(), "--data-dir", dir, "--listen", "127.0.0.1:0", "--name", "host-9", "--vendor-key", wrong)
	self := w.sidecars()["host-9"]
	for _, again := range []result{
		r,
		w.types("", key, "run", "--authority", w.URL(), "--data-dir", dir, "--listen", "127.0.0.1:0", "--vendor-key", wrong),
		w.does("run", "--authority", w.URL(), "--data-dir", dir, "--listen", "127.0.0.1:0", "--vendor-key", wrong),
	} {
		for _, says := range []string{"this host's own check", "--vendor-key", "keyturn peers remove " + self, "untrusted license"} {
			if again.exit != 3 || self == "" || !strings.Contains(again.stderr, says) || strings.Contains(again.stderr, "the authority refused") {
				t.Errorf("%s: exit %d, and it does not say %q\n%s", self, again.exit, says, again.stderr)
			}
		}
	}
	p := w.run(dir, "", nil, "--vendor-key", right) // without the join key
	_ = p.End(syscall.SIGTERM)
	w.run(dir, "", nil)
	if got := w.sidecars(); len(got) != 1 || w.status(dir).PeerID != self {
		t.Errorf("%v, before it was %s", got, self)
	}
}

// TestRun_SaysWhatIsWrongWithAJoinKey: the authority says only that it is refused. What can be told on this host is told.
func TestRun_SaysWhatIsWrongWithAJoinKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := w.joinKey()
	parts := strings.Split(good, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	jti, _ := claims["jti"].(string)
	claims["exp"] = 1763000000
	expired, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	used := w.joinKey()
	w.run(filepath.Join(t.TempDir(), "data"), "", []string{"KEYTURN_JOIN_KEY=" + used})
	for name, row := range map[string]struct{ key, says string }{
		"Expired": {parts[0] + "." + base64.RawURLEncoding.EncodeToString(expired) + "." + parts[2], "the join key expired on 2025-11-13T02:13:20Z"},
		"Forged":  {parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])), jti},
		"Used":    {used, "was used by another host"},
	} {
		r := w.types("", []string{"KEYTURN_JOIN_KEY=" + row.key}, "run", "--authority", w.URL(), "--data-dir", filepath.Join(t.TempDir(), "data"),
			"--listen", "127.0.0.1:0", "--name", "host-"+name)
		if r.exit != 3 || !strings.Contains(r.stderr, row.says) || !strings.Contains(r.stderr, "keyturn join-keys create") ||
			strings.Contains(r.stderr, "expired") != (name == "Expired") {
			t.Errorf("%s: exit %d\n%s", name, r.exit, r.stderr)
		}
	}
}

// TestRun_BoundsThatDoNotGoTogether: both given, they are a mistake; one beside the other's default only means more than it says.
func TestRun_BoundsThatDoNotGoTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "data")
	both := []string{"run", "--authority", w.URL(), "--data-dir", dir, "--offline-read", "1h", "--offline-write", "2h"}
	if r := w.does(both...); r.exit != 2 || !strings.Contains(r.stderr, "--offline-write 2h is longer than --offline-read 1h") {
		t.Errorf("both: exit %d\n%s", r.exit, r.stderr)
	}
	const told = "what holds for reading holds for all scopes"
	for name, row := range map[string]struct {
		args   []string
		bounds httpapi.Bounds
		lines  int
	}{
		"OnlyReading": {[]string{"--offline-read", "30m"}, httpapi.Bounds{Read: 1800, Write: 1800}, 1},
		"OnlyWriting": {[]string{"--offline-write", "2days"}, httpapi.Bounds{Read: 86400, Write: 86400}, 1},
		"None":        {nil, httpapi.Bounds{Read: 86400, Write: 3600}, 0},
		"Equal":       {[]string{"--offline-read", "2h", "--offline-write", "2h"}, httpapi.Bounds{Read: 7200, Write: 7200}, 0},
	} {
		p := w.joins(dir, row.args...)
		if got := w.status(dir).Bounds; got != row.bounds {
			t.Errorf("%s: %+v, want %+v", name, got, row.bounds)
		}
		if n := strings.Count(p.Log(), told); n != row.lines {
			t.Errorf("%s: it says so %d times:\n%s", name, n, p.Log())
		}
		if err := p.End(syscall.SIGTERM); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestControl_AStaleSidecarSaysWhy, in the words of its own answers, and it runs: it is not unreachable because of a proxy.
func TestControl_AStaleSidecarSaysWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "data")
	w.joins(dir, "--offline-read", "2s", "--offline-write", "2s")
	ready := func() result { return w.does("status", "--ready", "--data-dir", dir) }
	w.eventually("it is ready", func() bool { r := ready(); return r.exit == 0 && strings.Contains(r.stdout, `"ok"`) })
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	var r result
	w.eventually("it is stale, and has tried to ask", func() bool {
		r = ready()
		return r.exit == 5 && strings.Contains(r.stderr, "cannot be pulled")
	})
	for _, says := range []string{"keyturn-sidecar: STALE: ", "the last proof of freshness is from 2", "2s old at most", "see that the authority is up"} {
		if !strings.Contains(r.stderr, says) {
			t.Errorf("it does not say %q:\n%s", says, r.stderr)
		}
	}
	if !strings.Contains(r.stdout, `"unavailable"`) || strings.Contains(r.stderr, "something between") {
		t.Errorf("%s%s", r.stdout, r.stderr)
	}
	if r := w.does("status", "--live", "--data-dir", dir); r.exit != 0 {
		t.Errorf("live: %+v", r)
	}
	if err := w.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.eventually("it is ready again", func() bool { return ready().exit == 0 })
}
