package agent_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/token"
)

// ledgerKey is what signs tokens with the authority's ledger key.
func (w *world) ledgerKey() *token.Signer {
	w.t.Helper()
	custody, err := keys.Open(w.DataDir())
	if err != nil {
		w.t.Fatal(err)
	}
	private, err := custody.Ledger(w.t.Context(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := token.NewSigner(private.Crypto())
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// importToken is a good token for sidecar 1, changed.
func (w *world) importToken(s *token.Signer, change func(*token.ImportToken)) string {
	w.t.Helper()
	var who httpapi.Identity
	w.call(w.Sidecars()[0], http.MethodGet, "/v1/cluster/identity", nil, &who)
	at := w.now().Unix()
	claims := token.ImportToken{
		Issuer: who.Issuer, ClusterID: who.ClusterID, Audience: who.PeerID, ID: rand.Text(), IssuedAt: at, ExpiresAt: at + 60,
	}
	if change != nil {
		change(&claims)
	}
	text, err := s.SignImport(claims)
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

// control is the control token of a running sidecar.
func control(t *testing.T, dir string) string {
	t.Helper()
	var r agent.Running
	text, err := os.ReadFile(filepath.Join(dir, "running.json"))
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil || r.Control == "" {
		t.Fatalf("%s: %v", text, err)
	}
	return r.Control
}

func TestAgent_ImportToken(t *testing.T) {
	t.Parallel()
	w := start(t, 2)
	key, ledger := w.ledgerKey(), w.Sidecars()[0]+"/v1/ledger"
	_, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := token.NewSigner(other)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*token.ImportToken){
		"as it should be":            nil,
		"from a clock that is ahead": func(c *token.ImportToken) { c.IssuedAt += 20; c.ExpiresAt += 20 },
		"late, within the leeway":    func(c *token.ImportToken) { c.IssuedAt -= 80; c.ExpiresAt -= 80 },
	} {
		if a := w.send(http.MethodGet, ledger, bearer(w.importToken(key, change)), ""); a.status != 200 {
			t.Errorf("%s: %d %s", name, a.status, a.code())
		}
	}
	for name, change := range map[string]func(*token.ImportToken){
		"expired":               func(c *token.ImportToken) { c.IssuedAt -= 95; c.ExpiresAt -= 95 },
		"good for 61 seconds":   func(c *token.ImportToken) { c.ExpiresAt++ },
		"from the future":       func(c *token.ImportToken) { c.IssuedAt += 40; c.ExpiresAt += 40 },
		"without an end":        func(c *token.ImportToken) { c.ExpiresAt = 0 },
		"for another peer":      func(c *token.ImportToken) { c.Audience = w.Sidecar(2).Self().String() },
		"for the issuer":        func(c *token.ImportToken) { c.Audience = c.Issuer },
		"of another cluster":    func(c *token.ImportToken) { c.ClusterID = "clu_00000000000000000000000000" },
		"of another issuer":     func(c *token.ImportToken) { c.Issuer += "/" },
		"without a name":        func(c *token.ImportToken) { c.ID = "" },
		"without a time at all": func(c *token.ImportToken) { c.IssuedAt, c.ExpiresAt = 0, 0 },
	} {
		if a := w.send(http.MethodGet, ledger, bearer(w.importToken(key, change)), ""); a.status != 401 {
			t.Errorf("%s: %d %s", name, a.status, a.code())
		}
	}
	if a := w.send(http.MethodGet, ledger, bearer(w.importToken(foreign, nil)), ""); a.status != 401 {
		t.Errorf("signed with another key: %d %s", a.status, a.code())
	}
	for _, typ := range []func() (string, error){
		func() (string, error) { return key.Sign(token.Claims{}) },
		func() (string, error) { return key.SignAssertion(token.Assertion{}) },
		func() (string, error) { return key.SignJoinKey(token.JoinKey{}) },
	} {
		text, err := typ()
		if err != nil {
			t.Fatal(err)
		}
		if a := w.send(http.MethodGet, ledger, bearer(text), ""); a.status != 401 {
			t.Errorf("another kind of token: %d %s", a.status, a.code())
		}
	}
	now := w.importToken(key, nil)
	w.ahead.Store(-int64(10 * time.Minute))
	w.blamesTheClock(w.send(http.MethodGet, ledger, bearer(now), ""), "this host's clock is behind")
}

// What opens the ledgers opens nothing else, on a sidecar or an authority.
func TestAgent_ImportTokenIsForTheLedgersAlone(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	text := w.importToken(w.ledgerKey(), nil)
	control := control(t, w.SidecarDir(1))
	form := url.Values{"token": {w.admin}}.Encode()
	for _, shown := range []string{text, control} {
		header := bearer(shown)
		header.Set("Content-Type", "application/x-www-form-urlencoded")
		if a := w.send(http.MethodPost, w.Sidecars()[0]+"/v1/oauth/introspect", header, form); a.status != 401 {
			t.Errorf("introspect: %d %s", a.status, a.code())
		}
		for _, path := range []string{
			"GET /authz", "GET /v1/credentials", "GET /v1/cluster/credentials", "GET /v1/export", "GET /v1/audit", "GET /v1/peers",
			"POST /v1/credentials", "POST /v1/cluster/credentials/rotate", "POST /v1/join-keys", "HEAD /v1/ledger",
		} {
			method, path, _ := strings.Cut(path, " ")
			if a := w.send(method, w.Sidecars()[0]+path, bearer(shown), ""); a.status != 401 {
				t.Errorf("%s %s: %d %s", method, path, a.status, a.code())
			}
		}
		if a := w.send(http.MethodGet, w.URL()+"/v1/ledger", bearer(shown), ""); a.status != 401 {
			t.Errorf("an authority: %d %s", a.status, a.code())
		}
		assertion := url.Values{
			"grant_type": {"client_credentials"}, "client_assertion": {shown},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		}
		h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		if a := w.send(http.MethodPost, w.Sidecars()[0]+"/v1/oauth/token", h, assertion.Encode()); a.status != 401 {
			t.Errorf("as an assertion: %d %s", a.status, a.code())
		}
	}
	through := bearer(control)
	through.Set("X-Forwarded-For", "192.0.2.1")
	if a := w.send(http.MethodGet, w.Sidecars()[0]+"/v1/ledger", through, ""); a.status != 401 {
		t.Errorf("the control token through a proxy: %d %s", a.status, a.code())
	}
	if a := w.send(http.MethodGet, w.Sidecars()[0]+"/v1/ledger", bearer(control), ""); a.status != 200 {
		t.Errorf("the control token on this host: %d %s", a.status, a.code())
	}
}

// The copy of a host that has heard nothing for long is what there is when all is lost.
func TestAgent_ImportTokenOpensAnOldCopy(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	w.ahead.Store(int64(1000 * time.Hour))
	text := w.importToken(w.ledgerKey(), nil)
	if a := w.send(http.MethodGet, w.Sidecars()[0]+"/v1/ledger", bearer(text), ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.code())
	}
}

func TestExport_RunningOrNot(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	w.create("billing.read")
	read := func(dir string) (lines []authority.Line) {
		t.Helper()
		err := agent.Export(t.Context(), dir, w.now, func(p authority.LedgerPage) error {
			l, err := httpapi.Lines(p)
			lines = append(lines, l...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return lines
	}
	var live []authority.Line
	w.eventually("the copy has both secrets", func() bool {
		live = read(w.SidecarDir(1))
		hashes := 0
		for _, l := range live {
			if l.Hash != nil {
				hashes++
			}
		}
		return hashes == 2
	})
	said, err := os.ReadFile(filepath.Join(w.SidecarDir(1), "running.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(read(w.SidecarDir(1))); n != len(live) {
		t.Errorf("%d lines from the file, %d from the running one", n, len(live))
	}
	// Killed, it could not take back what it said.
	if err := os.WriteFile(filepath.Join(w.SidecarDir(1), "running.json"), said, 0o600); err != nil {
		t.Fatal(err)
	}
	if n := len(read(w.SidecarDir(1))); n != len(live) {
		t.Errorf("%d lines from the file of a killed one, %d from the running one", n, len(live))
	}
}
