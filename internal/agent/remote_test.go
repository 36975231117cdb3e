package agent_test

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/listen"
	"github.com/keyturn/keyturn/internal/testkey"
	"github.com/keyturn/keyturn/internal/testport"
)

// controls does all that one can do with a running sidecar from its own host.
func (w *world) controls(dir string) {
	w.t.Helper()
	r, err := agent.Find(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	name := w.create("billing.read").ID
	for what, do := range map[string]func() ([]byte, error){
		"status": func() ([]byte, error) { return r.Status(w.t.Context()) },
		"ready":  func() ([]byte, error) { return r.Probe(w.t.Context(), "/readyz") },
		"deny":   func() ([]byte, error) { return r.Deny(w.t.Context(), name) },
		"allow":  func() ([]byte, error) { return r.Allow(w.t.Context(), name) },
		"resync": func() ([]byte, error) { return r.Resync(w.t.Context()) },
	} {
		if body, err := do(); err != nil || len(body) == 0 {
			w.t.Errorf("%s: %v", what, err)
		}
	}
	records := 0
	if err := agent.Export(w.t.Context(), dir, time.Now, func(p authority.LedgerPage) error { records += len(p.Records); return nil }); err != nil || records == 0 {
		w.t.Errorf("export: %d records, %v", records, err)
	}
}

// The certificate that other hosts are shown is for other names, signed by anybody, and renewed while the sidecar runs.
func TestRemote_OverTLS(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	c := w.another("0.0.0.0:0")
	c.Hosts = []string{"bills.example.com"}
	c.TLSCert, c.TLSKey, _ = testkey.Certificate(t, t.TempDir(), "127.0.0.1")
	a, _ := w.runs(c)
	w.controls(c.DataDir)
	_, _, roots := testkey.Certificate(t, filepath.Dir(c.TLSCert), "127.0.0.1")
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	w.controls(c.DataDir)
	dial := func(name string) (*tls.Conn, error) {
		return tls.Dial("tcp", strings.TrimPrefix(a.URL(), "https://"), &tls.Config{RootCAs: roots, ServerName: name})
	}
	others, err := dial("127.0.0.1")
	if err != nil {
		t.Fatalf("what others are shown: %v", err)
	}
	_ = others.Close()
	if _, err := dial(listen.PrivateName); err == nil {
		t.Error("the private certificate is trusted by others")
	}
}

// A sidecar that listens on one address, which is not loopback, knows its own host's processes too.
func TestRemote_OnOneAddress(t *testing.T) {
	t.Parallel()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		p, err := netip.ParsePrefix(address.String())
		if err != nil || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast() || !p.Addr().Is4() {
			continue
		}
		w := start(t, 0)
		c := w.another(netip.AddrPortFrom(p.Addr(), 0).String())
		c.Hosts = []string{"bills.example.com"}
		c.TLSCert, c.TLSKey, _ = testkey.Certificate(t, t.TempDir(), "127.0.0.1")
		w.runs(c)
		w.controls(c.DataDir)
		return
	}
	t.Skip("this machine has no address but loopback")
}

// Who has taken the port of a sidecar that was killed is told nothing, and is not taken for it.
func TestRemote_TellsNobodyElse(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte(`{"status":"ok"}`))
	})
	other := httptest.NewTLSServer(answer)
	defer other.Close()
	gone := "https://" + testport.Hold(t)
	for name, row := range map[string]struct {
		running agent.Running
		want    error
	}{
		"AnotherCertificate": {agent.Running{URL: other.URL, Control: "secret", Certificate: strings.Repeat("0", 64)}, agent.ErrNoAnswer},
		"NoCertificate":      {agent.Running{URL: other.URL, Control: "secret"}, agent.ErrNoAnswer},
		"Nobody":             {agent.Running{URL: gone, Control: "secret", Certificate: strings.Repeat("0", 64)}, agent.ErrNotRunning},
		"NoSocket":           {agent.Running{URL: "unix:" + filepath.Join(t.TempDir(), "s"), Control: "secret"}, agent.ErrNotRunning},
	} {
		dir := t.TempDir()
		text, err := json.Marshal(row.running)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Chmod(dir, 0o700), os.WriteFile(filepath.Join(dir, "running.json"), text, 0o600)); err != nil {
			t.Fatal(err)
		}
		r, err := agent.Find(dir)
		if err != nil {
			t.Fatal(err)
		}
		_, denied := r.Deny(t.Context(), "cli_01m8121nd0fsmbsrvqa84dbr6w")
		_, probed := r.Probe(t.Context(), "/livez")
		for _, err := range []error{denied, probed} {
			if !errors.Is(err, row.want) || strings.Contains(err.Error(), "the authority cannot be reached") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests came to somebody else", n)
	}
}
