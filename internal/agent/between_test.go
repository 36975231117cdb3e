package agent_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/testkey"
	"github.com/keyturn/keyturn/internal/token"
)

// between stands between a sidecar and its authority, and may change what that says of its ledgers. It signs nothing.
type between struct {
	next   http.RoundTripper
	mu     sync.Mutex
	down   bool
	change func(*httpapi.LedgerPage)
	bearer string // the peer's own token, as seen last
}

func (b *between) set(down bool, change func(*httpapi.LedgerPage)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down, b.change = down, change
}

func (b *between) seen() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bearer
}

func (b *between) cut() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.down
}

// RoundTrip implements http.RoundTripper.
func (b *between) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.cut() {
		return nil, io.ErrUnexpectedEOF
	}
	answer, err := b.next.RoundTrip(r)
	if err == nil && b.cut() { // it has waited since before
		_ = answer.Body.Close()
		return nil, io.ErrUnexpectedEOF
	}
	if err != nil || r.URL.Path != "/v1/ledger" || answer.StatusCode != http.StatusOK {
		return answer, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.bearer = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	change := b.change
	b.mu.Unlock()
	if change != nil {
		var p httpapi.LedgerPage
		if err := json.Unmarshal(text, &p); err != nil {
			return nil, err
		}
		change(&p)
		if text, err = json.Marshal(p); err != nil {
			return nil, err
		}
	}
	answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	answer.Header.Del("Content-Length")
	return answer, nil
}

// behind starts a sidecar with somebody between it and the authority. before may change its data directory once it has joined.
func (w *world) behind(before func(dir string)) (*agent.Agent, *between) {
	w.t.Helper()
	b := &between{next: &http.Transport{}}
	c := w.another("127.0.0.1:0")
	c.Transport = b
	if before != nil {
		joined, err := agent.Open(w.t.Context(), c)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := joined.Close(); err != nil {
			w.t.Fatal(err)
		}
		before(c.DataDir)
	}
	a, _ := w.runs(c)
	return a, b
}

// introspect asks, as admin, whether a token is good.
func (w *world) introspect(server, text string) answer {
	w.t.Helper()
	header := bearer(w.admin)
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w.send(http.MethodPost, server+"/v1/oauth/introspect", header, "token="+text)
}

// A hash that was lost on the way makes nobody wrong: who has it decides.
func TestAgent_AHashThatDidNotArrive(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	a, b := w.behind(nil)
	b.set(false, func(p *httpapi.LedgerPage) {
		for i := range p.Hashes {
			p.Hashes[i].Hash = nil
		}
	})
	made := w.create("billing.read")
	w.eventually("the sidecar has the record", func() bool { return a.Status(w.now()).Cursors["local"] >= w.head() })
	b.set(false, nil)
	w.token(a.URL(), made.ClientID, made.ClientSecret, "") // the authority has the hash
	if x := w.send(http.MethodGet, a.URL()+"/authz", basic(made.ClientID, made.ClientSecret), ""); x.status != 503 || x.code() != "STALE" {
		t.Errorf("/authz: %d %s", x.status, x.body)
	}
	w.refusedWith(w.certain(func() error {
		_, err := w.tryToken(a.URL(), made.ClientID, w.Secret().Reveal(), "")
		return err
	}), httpapi.Unauthorized, "another secret")
	if err := a.Deny(made.ID + "-1"); err != nil {
		t.Fatal(err)
	}
	_, err := w.tryToken(a.URL(), made.ID, made.ClientSecret, "")
	w.refusedWith(err, httpapi.Unauthorized, "the version is denied here")
	if x := w.send(http.MethodGet, a.URL()+"/authz", basic(made.ID, made.ClientSecret), ""); x.status != 401 {
		t.Errorf("denied, at /authz: %d", x.status)
	}
}

// What happened at home a moment ago may not have arrived in another region: there, what is not known is not refused.
func TestAgent_FarFromHomeUnknownIsNotRefused(t *testing.T) {
	t.Parallel()
	for name, far := range map[string]bool{"AtHome": false, "Far": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, 0)
			a, b := w.behind(func(dir string) {
				if far {
					moveTo(t, dir, "eu-central-1")
				}
			})
			b.set(false, func(p *httpapi.LedgerPage) {
				p.Region, p.Records, p.Hashes, p.Heads, p.Freshness = nil, nil, nil, nil, nil
			})
			made := w.create("billing.read")
			text := w.token(w.URL(), made.ClientID, made.ClientSecret, "").AccessToken
			try := func() error {
				_, err := w.tryToken(a.URL(), made.ClientID, made.ClientSecret, "")
				return err
			}
			err := w.certain(try)
			send := w.sent
			if far {
				send = w.send
			}
			shown := send(http.MethodGet, a.URL()+"/authz", basic(made.ClientID, made.ClientSecret), "")
			held := send(http.MethodGet, a.URL()+"/authz", bearer(text), "")
			asked := w.introspect(a.URL(), text)
			if !far {
				w.eventually("an answer that is not 503", func() bool {
					asked = w.introspect(a.URL(), text)
					return asked.status != 503
				})
				w.refusedWith(err, httpapi.Unauthorized, "not known at home")
				if shown.status != 401 || held.status != 401 || asked.status != 200 || strings.TrimSpace(string(asked.body)) != `{"active":false}` {
					t.Errorf("at home: %d, %d, %d %s", shown.status, held.status, asked.status, asked.body)
				}
				return
			}
			if err != nil {
				t.Errorf("the authority knows it: %v", err)
			}
			if shown.code() != "STALE" || held.code() != "STALE" || asked.code() != "STALE" {
				t.Errorf("far from home: %s, %s, %s", shown.body, held.body, asked.body)
			}
			if err := a.Deny(made.ID); err != nil {
				t.Fatal(err)
			}
			w.refusedWith(w.certain(try), httpapi.Unauthorized, "denied here")
		})
	}
}

// moveTo makes a sidecar that has joined one of another region's.
func moveTo(t *testing.T, dir, region string) {
	t.Helper()
	name := filepath.Join(dir, "peer.json")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	moved := strings.Replace(string(text), `"local"`, `"`+region+`"`, 1)
	if moved == string(text) {
		t.Fatalf("%s", text)
	}
	if err := os.WriteFile(name, []byte(moved), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A host that is cut off hears of no new key of the authority: what it signs is neither good nor bad there.
func TestAgent_AKeyThatDidNotArrive(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	made := w.create("billing.read")
	a, b := w.behind(nil)
	b.set(true, nil)
	before := w.token(w.URL(), made.ClientID, made.ClientSecret, "").AccessToken
	w.call(w.URL(), http.MethodPost, "/v1/keys/rotate", nil, nil)
	w.ahead.Store(int64(16 * time.Minute))
	after := w.token(w.URL(), made.ClientID, made.ClientSecret, "").AccessToken
	if x := w.send(http.MethodGet, a.URL()+"/authz", bearer(before), ""); x.status != 200 {
		t.Errorf("of the key that is known: %d %s", x.status, x.body)
	}
	if x := w.send(http.MethodGet, a.URL()+"/authz", bearer(after), ""); x.code() != string(httpapi.Stale) {
		t.Errorf("/authz: %d %s", x.status, x.body)
	}
	if x := w.introspect(a.URL(), after); x.code() != string(httpapi.Stale) {
		t.Errorf("introspection: %d %s", x.status, x.body)
	}
	b.set(false, nil)
	w.eventually("it is good", func() bool {
		x := w.send(http.MethodGet, a.URL()+"/authz", bearer(after), "")
		if x.status == 401 {
			t.Fatalf("%s", x.body)
		}
		return x.status == 200
	})
	// A key that nobody has: as soon as somebody can be asked, it is refused.
	claims, err := token.Unverified(after)
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := token.NewSigner(testkey.P256("nobody"))
	if err != nil {
		t.Fatal(err)
	}
	forged, err := nobody.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	if x := w.sent(http.MethodGet, a.URL()+"/authz", bearer(forged), ""); x.status != 401 {
		t.Errorf("forged: %d %s", x.status, x.body)
	}
}

// A clock that was set back makes no copy fresh.
func TestAgent_AClockThatWasSetBack(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	made := w.create("billing.read")
	a, b := w.behind(nil)
	w.token(a.URL(), made.ClientID, made.ClientSecret, "")
	b.set(true, nil)
	w.ahead.Store(-int64(10 * 24 * time.Hour))
	if x := w.send(http.MethodGet, a.URL()+"/authz", basic(made.ClientID, made.ClientSecret), ""); x.status != 503 {
		t.Errorf("%d %s, age %s", x.status, x.body, x.header.Get("Keyturn-Age"))
	}
}

// A peer's own token is for the ledgers, and no key to what proxies guard.
func TestAgent_APeersTokenOpensNoService(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	a, b := w.behind(nil)
	for _, server := range []string{a.URL(), w.Sidecars()[0]} {
		for _, query := range []string{"", "?scope=billing.read"} {
			if x := w.send(http.MethodGet, server+"/authz"+query, bearer(b.seen()), ""); x.status != 403 {
				t.Errorf("%s: %d %v", query, x.status, x.header)
			}
		}
	}
}
