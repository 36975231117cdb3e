package agent_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/sidecar/verify"
)

// verifier is one in another process on a sidecar's host.
func (w *world) verifier(a *agent.Agent) *verify.Verifier {
	w.t.Helper()
	v, err := verify.New(w.t.Context(), a.URL(), verify.Options{Now: w.now})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(v.Close)
	return v
}

// A verifier that has followed a copy hears, after a resync, of what is revoked in the new one alone, and forgets what only the
// old one had, although the new ledger is the longer one.
func TestVerifier_OverAResync(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	victim, spared := w.create("billing.read"), w.create("billing.read")
	a, _ := w.runs(w.another("127.0.0.1:0"))
	file := filepath.Join(w.DataDir(), "keyturn.db")
	restart := func(change func() error) {
		t.Helper()
		if err := w.Down(); err != nil {
			t.Fatal(err)
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if err := w.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.http.CloseIdleConnections() // to the authority of before
	}
	v := w.verifier(a)
	token := func(made httpapi.Created) string {
		return w.token(w.URL(), made.ClientID, made.ClientSecret, "").AccessToken
	}
	dies, lives := token(victim), token(spared)
	check := func(text string, want error) func() bool {
		return func() bool {
			_, err := v.Check(t.Context(), text, verify.Want{Scopes: []string{"billing.read"}})
			return err == nil && want == nil || errors.Is(err, want)
		}
	}
	var backup []byte
	restart(func() (err error) { backup, err = os.ReadFile(file); return err })
	w.call(w.URL(), http.MethodDelete, "/v1/credentials/"+spared.ID, nil, nil) // the restored ledger will not have it
	w.eventually("what is revoked is refused", check(lives, verify.ErrInvalid))
	if !check(dies, nil)() {
		t.Fatal("the other one is refused too")
	}
	restart(func() error { return os.WriteFile(file, backup, 0o600) })
	w.eventually("it has noticed", func() bool { return strings.Contains(a.Status(w.now()).Problem, "resync") })
	w.call(w.URL(), http.MethodDelete, "/v1/credentials/"+victim.ID, nil, nil)
	w.create("billing.read") // more than was lost
	if err := a.Resync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if x := w.send(http.MethodGet, a.URL()+"/authz", bearer(dies), ""); x.status != 401 {
		t.Errorf("/authz of what was revoked: %d %s", x.status, x.body)
	}
	if x := w.send(http.MethodGet, a.URL()+"/authz", bearer(lives), ""); x.status != 200 {
		t.Errorf("/authz of what only the old ledger had revoked: %d %s", x.status, x.body)
	}
	w.eventually("what was revoked is refused", check(dies, verify.ErrInvalid))
	w.eventually("what only the old ledger had revoked is good", check(lives, nil))
}

// Another host joins and issues a token: on a host that is cut off, that is neither good nor bad; as soon as somebody can be asked,
// it is good.
func TestVerifier_OnAHostThatIsCutOff(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	made := w.create("billing.read")
	a, b := w.behind(nil)
	v := w.verifier(a)
	b.set(true, nil)
	other, _ := w.runs(w.another("127.0.0.1:0"))
	issued := w.token(other.URL(), made.ClientID, made.ClientSecret, "").AccessToken
	if x := w.send(http.MethodGet, a.URL()+"/authz", bearer(issued), ""); x.code() != string(httpapi.Stale) {
		t.Errorf("/authz: %d %s", x.status, x.body)
	}
	if _, err := v.Check(t.Context(), issued, verify.Want{}); !errors.Is(err, verify.ErrStale) {
		t.Errorf("verify: %v", err)
	}
	b.set(false, nil)
	w.eventually("it is good", func() bool {
		_, err := v.Check(t.Context(), issued, verify.Want{})
		if errors.Is(err, verify.ErrInvalid) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// Far from home, what is not known may not have arrived: a verifier says so as its sidecar does.
func TestVerifier_FarFromHome(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	made := w.create("billing.read")
	a, b := w.behind(func(dir string) { moveTo(t, dir, "eu-central-1") })
	v := w.verifier(a)
	b.set(false, func(p *httpapi.LedgerPage) {
		p.Region, p.Records, p.Hashes, p.Heads, p.Freshness = nil, nil, nil, nil, nil
	})
	other, _ := w.runs(w.another("127.0.0.1:0"))
	issued := w.token(other.URL(), made.ClientID, made.ClientSecret, "").AccessToken
	if x := w.send(http.MethodGet, a.URL()+"/authz", bearer(issued), ""); x.code() != string(httpapi.Stale) {
		t.Errorf("/authz: %d %s", x.status, x.body)
	}
	if _, err := v.Check(t.Context(), issued, verify.Want{}); !errors.Is(err, verify.ErrStale) {
		t.Errorf("verify: %v", err)
	}
}
