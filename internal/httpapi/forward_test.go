package httpapi_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/e2e"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/keys"
)

// regions are two authorities of one cluster over one store, as if everything arrived at once: "local" is home, "second"
// passes on to it.
type regions struct {
	home, second *fixture
	shown        *partly
	link         *link
}

// partly is a store in which some subjects have not arrived yet. Closing it is the other region's task.
type partly struct {
	authority.Store
	mu     sync.Mutex
	hidden map[string]bool
}

func (p *partly) Subject(ctx context.Context, subject string) ([]authority.Entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hidden[subject] {
		return nil, authority.ErrNotFound
	}
	return p.Store.Subject(ctx, subject)
}

func (p *partly) hide(subject string, hidden bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hidden[subject] = hidden
}

func (*partly) Close() error { return nil }

// link is the way from the second region to the first. It keeps what went over it last.
type link struct {
	down atomic.Bool
	mu   sync.Mutex
	last *http.Request
}

func (l *link) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.down.Load() {
		return nil, errors.New("no route")
	}
	l.mu.Lock()
	l.last = r.Clone(context.Background())
	l.mu.Unlock()
	return http.DefaultTransport.RoundTrip(r)
}

func twoRegions(t *testing.T, o authority.Options, bare bool) *regions {
	t.Helper()
	dir := t.TempDir()
	custody, err := keys.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	store, err := bolt.Open(filepath.Join(dir, "keyturn.db"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &regions{shown: &partly{Store: store, hidden: map[string]bool{}}, link: &link{}}
	clock := newClock()
	o.SignAtOnce, o.Private = true, o.BootstrapToken == ""
	w.home = region(t, store, custody, o, clock, nil)
	forward, err := httpapi.NewForward(w.home.URL, httpapi.ForwardOptions{Transport: w.link, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	o.Region, o.Joins = "second", true
	w.second = region(t, w.shown, custody, o, clock, map[string]*httpapi.Forward{"local": forward})
	if !bare {
		w.home.bootstrap()
		w.second.id, w.second.secret = w.home.id, w.home.secret
	}
	return w
}

func region(t *testing.T, s authority.Store, c authority.Custody, o authority.Options, at *clock, forward map[string]*httpapi.Forward) *fixture {
	t.Helper()
	a, err := authority.Open(t.Context(), patient{s}, c, o)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{clock: at, authority: a}
	f.handler = httpapi.NewServer(a, httpapi.ServerOptions{Now: at.Now, Version: "1.2.3", Observe: f.observe, Forward: forward})
	server := httptest.NewServer(f.handler)
	t.Cleanup(func() {
		server.Close()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	f.API = &e2e.API{T: t, URL: server.URL, Client: checkedClient(t, server)}
	return f
}

// Whoever asks the second region cannot tell that it is not the home.
func TestForward_WholeAPI(t *testing.T) {
	t.Parallel()
	const token = "let me in, I founded it"
	w := twoRegions(t, authority.Options{BootstrapToken: token, Issuer: "https://auth.example.com/k"}, true)
	e2e.Run(t, e2e.Target{URL: w.second.URL, Client: w.second.Client, Advance: w.home.clock.Advance, BootstrapToken: token})
}

func TestForward_WritesHappenAtHome(t *testing.T) {
	t.Parallel()
	w := twoRegions(t, authority.Options{}, false)
	made := w.second.Want(201, "POST", "/v1/credentials", e2e.Bearer(w.second.admin()), e2e.JSON(`{"name":"x"}`),
		e2e.Header("X-Request-Id", "mine-1"), e2e.Header("Cookie", "a=b"), e2e.Header("X-Forwarded-For", "203.0.113.9"))
	if got := made.Header.Get("Keyturn-Request-Id"); got != "mine-1" {
		t.Errorf("request id %q", got)
	}
	sent := w.link.last
	if sent.Header.Get("Cookie") != "" || sent.Header.Get("X-Forwarded-For") != "127.0.0.1" || sent.Header.Get("X-Request-Id") != "mine-1" {
		t.Errorf("passed on: %v", sent.Header)
	}
	heads, err := w.shown.Heads(t.Context())
	if err != nil || len(heads) != 1 || heads["local"].Seq == 0 {
		t.Errorf("heads %v, %v: the second region wrote", heads, err)
	}
	w.second.Want(204, "DELETE", "/v1/credentials/"+made.Text("client_id"), e2e.Bearer(w.second.admin()))
	if heads, _ = w.shown.Heads(t.Context()); heads["second"].Seq != 1 {
		t.Errorf("heads %v: a revocation belongs to the region that was asked", heads)
	}
}

func TestForward_LostHome(t *testing.T) {
	t.Parallel()
	w := twoRegions(t, authority.Options{}, false)
	admin := w.second.admin()
	id, secret := w.home.create(`{"name":"x"}`)
	w.link.down.Store(true)
	for _, path := range []string{"/v1/credentials", "/v1/cluster/credentials/rotate", "/v1/keys/rotate", "/v1/bootstrap"} {
		a := w.second.Want(503, "POST", path, e2e.Bearer(admin), e2e.JSON(`{}`))
		if a.Text("code") != "AUTHORITY_UNREACHABLE" || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %s", path, a.Body)
		}
	}
	w.second.Token(id, secret) // what is known here goes on
	w.second.Want(204, "DELETE", "/v1/credentials/"+id, e2e.Bearer(admin))
	w.second.refused(id, secret, 401)
}

// refused asks for a token in vain.
func (f *fixture) refused(id, secret string, status int) {
	f.T.Helper()
	a := f.Want(status, "POST", "/v1/oauth/token", e2e.Form("grant_type", "client_credentials", "client_id", id, "client_secret", secret))
	if want := map[int]string{401: "UNAUTHORIZED", 503: "UNAVAILABLE"}[status]; a.Text("code") != want {
		f.T.Errorf("%s, want %s", a.Body, want)
	}
	if status == 503 && a.Header.Get("Retry-After") == "" {
		f.T.Error("no Retry-After")
	}
}

// Unknown is not revoked: what has not arrived is asked for at home, and is nobody's refusal where home cannot be asked.
func TestForward_UnknownIsNotRefused(t *testing.T) {
	t.Parallel()
	w := twoRegions(t, authority.Options{}, false)
	id, secret := w.home.create(`{"name":"x"}`)
	token := w.home.Token(id, secret)
	w.shown.hide(id, true)
	w.second.Token(id, secret)
	w.second.Want(200, "GET", "/v1/credentials/"+id, e2e.Bearer(w.second.admin()))
	w.second.Want(200, "GET", "/v1/credentials", e2e.Bearer(token))
	w.second.refused(id, goodSecret, 401)
	if a := w.second.Want(200, "POST", "/v1/oauth/introspect", e2e.Bearer(w.second.admin()), e2e.Form("token", token)); !strings.Contains(string(a.Body), `"active":true`) {
		t.Errorf("%s", a.Body)
	}
	w.link.down.Store(true)
	w.second.refused(id, secret, 503)
	w.second.Want(503, "GET", "/v1/credentials/"+id, e2e.Bearer(w.second.admin()))
	w.second.Want(503, "GET", "/v1/credentials", e2e.Bearer(token))
	w.shown.hide(id, false)
	w.second.Token(id, secret)
	w.second.refused(id, goodSecret, 503) // it could be a version that has not arrived
	admin := w.second.admin()
	w.second.Want(204, "DELETE", "/v1/credentials/"+id, e2e.Bearer(admin))
	w.second.refused(id, goodSecret, 401) // whatever it is, the credential is dead
	w.home.refused(w.home.id, goodSecret, 401)
}

func TestForward_MovesHome(t *testing.T) {
	t.Parallel()
	w := twoRegions(t, authority.Options{}, false)
	admin := w.second.admin()
	move := func(f *fixture, status int, body string) e2e.Answer {
		return f.Want(status, "POST", "/v1/cluster/home", e2e.Bearer(admin), e2e.JSON(body))
	}
	if a := move(w.second, 400, `{"region":"local"}`); !strings.Contains(string(a.Body), "this is the authority of second") {
		t.Errorf("%s", a.Body)
	}
	move(w.second, 400, `{}`)
	w.link.down.Store(true)
	w.home.clock.Advance(time.Hour - time.Second)
	if a := move(w.second, 200, `{"region":"second","reason":"lost"}`); a.Text("home_region") != "second" || a.Text("previous_region") != "local" {
		t.Errorf("%s", a.Body)
	}
	if a := move(w.second, 200, `{"region":"second"}`); a.Text("previous_region") != "second" {
		t.Errorf("again: %s", a.Body)
	}
	w.second.Want(201, "POST", "/v1/credentials", e2e.Bearer(admin), e2e.JSON(`{"name":"x"}`))
	w.home.authority.Refresh(t.Context(), w.home.clock.Now())
	a := w.home.Want(503, "POST", "/v1/credentials", e2e.Bearer(admin), e2e.JSON(`{"name":"x"}`))
	if a.Text("code") != "AUTHORITY_UNREACHABLE" {
		t.Errorf("the old home: %s", a.Body)
	}
	if a := w.home.Want(200, "GET", "/v1/audit?limit=500", e2e.Bearer(admin)); !strings.Contains(string(a.Body), `"action":"cluster.home"`) {
		t.Errorf("audit: %s", a.Body)
	}
}

// While the home moves, each region may take the other one for it. Nobody sends a request round and round.
func TestForward_EndsALoop(t *testing.T) {
	t.Parallel()
	w := twoRegions(t, authority.Options{}, false)
	a := w.second.Want(503, "POST", "/v1/credentials", e2e.Bearer(w.second.admin()), e2e.Header(httpapi.HeaderForwarded, "local"))
	if a.Text("code") != "AUTHORITY_UNREACHABLE" {
		t.Errorf("%s", a.Body)
	}
}

// What stands in front of the home region may answer in its place: that is no answer of an authority.
func TestForward_BelievesAuthoritiesOnly(t *testing.T) {
	t.Parallel()
	strange := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"message":"Missing Authentication Token"}`, http.StatusForbidden)
	}))
	t.Cleanup(strange.Close)
	w := twoRegions(t, authority.Options{}, false)
	forward, err := httpapi.NewForward(strange.URL, httpapi.ForwardOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h := httpapi.NewServer(w.second.authority, httpapi.ServerOptions{Now: w.home.clock.Now, Forward: map[string]*httpapi.Forward{"local": forward}})
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {w.home.id}, "client_secret": {credential.NewSecret().Reveal()}}
	r := httptest.NewRequest(http.MethodPost, "/v1/oauth/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	got := httptest.NewRecorder()
	h.ServeHTTP(got, r)
	if got.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if _, err := httpapi.NewForward("ftp://x", httpapi.ForwardOptions{}); err == nil {
		t.Error("an address that is none was taken")
	}
}
