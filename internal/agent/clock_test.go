package agent_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/token"
)

// skewed is one more sidecar, on a host with a clock of its own.
func (w *world) skewed() (agent.Config, *atomic.Int64) {
	w.t.Helper()
	skew := new(atomic.Int64)
	c := w.another("127.0.0.1:0")
	c.Now = func() time.Time { return w.now().Add(time.Duration(skew.Load())) }
	return c, skew
}

// blamesTheClock fails the test unless an answer is neither yes nor no, because of the clock.
func (w *world) blamesTheClock(a answer, what string) {
	w.t.Helper()
	if a.status != 503 || !strings.Contains(string(a.body), "clock") {
		w.t.Errorf("%s: %d %s", what, a.status, a.body)
	}
}

// A clock that is behind can tell neither whether a token is good yet nor how old the copy is: it decides nothing.
func TestClock_BehindDecidesNothing(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	made := w.create("billing.read")
	c, skew := w.skewed()
	a, _ := w.runs(c)
	cached := w.token(a.URL(), made.ClientID, made.ClientSecret, "").AccessToken
	pair := basic(made.ClientID, made.ClientSecret)
	authz := func(header http.Header) answer { return w.send(http.MethodGet, a.URL()+"/authz", header, "") }
	for _, header := range []http.Header{bearer(cached), pair} {
		if x := authz(header); x.status != 200 {
			t.Fatalf("%d %s", x.status, x.body)
		}
	}
	for _, behind := range []time.Duration{45 * time.Second, 10 * time.Minute} {
		skew.Store(int64(-behind))
		fresh := w.token(w.URL(), made.ClientID, made.ClientSecret, "").AccessToken
		w.blamesTheClock(authz(bearer(fresh)), behind.String()+": a token of now")
		w.blamesTheClock(authz(bearer(cached)), behind.String()+": a token of before")
		w.blamesTheClock(authz(pair), behind.String()+": a pair")
		w.blamesTheClock(authz(bearer("x.y.z")), behind.String()+": what is no token")
		w.blamesTheClock(w.introspect(a.URL(), fresh), behind.String()+": introspection")
		if _, err := w.tryToken(a.URL(), made.ClientID, made.ClientSecret, ""); err == nil || !strings.Contains(err.Error(), "clock") {
			t.Errorf("%s: the token endpoint: %v", behind, err)
		}
		w.blamesTheClock(w.send(http.MethodGet, a.URL()+"/readyz", nil, ""), behind.String()+": readyz")
		if x := w.send(http.MethodGet, a.URL()+"/v1/sidecar/feed", nil, ""); !strings.Contains(string(x.body), `"age_seconds":null`) {
			t.Errorf("%s: who lives on the feed takes it for fresh: %s", behind, x.body)
		}
		skew.Store(0)
		w.eventually("the clock is right again", func() bool { return authz(bearer(fresh)).status == 200 && authz(pair).status == 200 })
	}
}

// Where a host has never had a right clock, no proof of freshness has ever counted.
func TestClock_BehindFromTheStart(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	made := w.create("billing.read")
	c, skew := w.skewed()
	joined, err := agent.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := joined.Close(); err != nil {
		t.Fatal(err)
	}
	skew.Store(-int64(45 * time.Second))
	a := w.begins(c)
	ready := func() map[string]string { return a.Ready(t.Context(), c.Now()) }
	w.eventually("it has a copy, and has heard of its clock", func() bool { got := ready(); return len(got) == 1 && got["clock"] != "" })
	if got := ready(); len(got) != 1 || !strings.Contains(got["clock"], "set it right") {
		t.Errorf("readyz: %v", got)
	}
	if got := a.Status(c.Now()).Problem; !strings.Contains(got, "clock") {
		t.Errorf("status: %s", got)
	}
	text := w.token(w.URL(), made.ClientID, made.ClientSecret, "").AccessToken
	w.blamesTheClock(w.send(http.MethodGet, a.URL()+"/authz", bearer(text), ""), "a token")
	w.blamesTheClock(w.send(http.MethodGet, a.URL()+"/authz", basic(made.ClientID, made.ClientSecret), ""), "a pair")
	feed := w.send(http.MethodGet, a.URL()+"/v1/sidecar/feed", nil, "")
	if !strings.Contains(string(feed.body), `"age_seconds":null`) {
		t.Errorf("who lives on the feed takes it for fresh: %s", feed.body)
	}
}

// A token from the future is refused where this host's clock is right, and unknown where nobody can be asked what time it is.
func TestClock_ATokenFromTheFuture(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	s, made := w.Sidecars()[0], w.create("billing.read")
	claims, err := token.Unverified(w.token(s, made.ClientID, made.ClientSecret, "").AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	claims.IssuedAt, claims.ExpiresAt = claims.IssuedAt+45, claims.ExpiresAt+45
	text, err := newSigner(t, filepath.Join(w.SidecarDir(1), "token.key")).Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	if a := w.send(http.MethodGet, s+"/authz", bearer(text), ""); a.status != 401 {
		t.Errorf("its issuer's clock is wrong: %d %s", a.status, a.body)
	}
	if a := w.introspect(s, text); a.status != 200 || strings.TrimSpace(string(a.body)) != `{"active":false}` {
		t.Errorf("introspection: %d %s", a.status, a.body)
	}
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	if a := w.send(http.MethodGet, s+"/authz", bearer(text), ""); a.status != 503 || a.code() != string(httpapi.Stale) {
		t.Errorf("nobody can be asked: %d %s", a.status, a.body)
	}
	if a := w.introspect(s, text); a.status != 503 || a.code() != string(httpapi.Stale) {
		t.Errorf("introspection, where nobody can be asked: %d %s", a.status, a.body)
	}
}
