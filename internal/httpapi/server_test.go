package httpapi_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/e2e"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/keys"
)

// clock is a given clock: it stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2030, 1, 2, 3, 4, 5, 600, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// fixture is an authority over a file of its own behind a real HTTP server, with a given clock.
type fixture struct {
	*e2e.API
	clock     *clock
	authority *authority.Authority
	handler   http.Handler

	mu   sync.Mutex
	seen []httpapi.Observation

	id, secret string // of the shared credential, once bootstrapped
}

// setup says how a fixture differs from the usual one.
type setup struct {
	options authority.Options
	proxies []netip.Prefix
	store   func(authority.Store) authority.Store
	custody func(authority.Custody) authority.Custody
	bare    bool // do not bootstrap
}

func newFixture(t testing.TB, s setup) *fixture {
	t.Helper()
	f, err := tryFixture(t, s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// tryFixture returns the error of an authority that does not open.
func tryFixture(t testing.TB, s setup) (*fixture, error) {
	t.Helper()
	dir := t.TempDir()
	files, err := keys.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := bolt.Open(filepath.Join(dir, "keyturn.db"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	store, custody := authority.Store(opened), authority.Custody(files)
	if s.store != nil {
		store = s.store(store)
	}
	if s.custody != nil {
		custody = s.custody(custody)
	}
	s.options.SignAtOnce, s.options.Private = true, s.options.BootstrapToken == ""
	a, err := authority.Open(context.Background(), patient{store}, custody, s.options)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	f := &fixture{clock: newClock(), authority: a}
	f.handler = httpapi.NewServer(a, httpapi.ServerOptions{
		Now: f.clock.Now, Version: "1.2.3", TrustedProxies: s.proxies, Observe: f.observe,
	})
	server := httptest.NewServer(f.handler)
	t.Cleanup(func() {
		server.Close()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	f.API = &e2e.API{T: t, URL: server.URL, Client: checkedClient(t, server)}
	if !s.bare {
		f.bootstrap()
	}
	return f, nil
}

func (f *fixture) observe(o httpapi.Observation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, o)
}

// last is the observation of the newest request.
func (f *fixture) last() httpapi.Observation {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[len(f.seen)-1]
}

func (f *fixture) bootstrap() {
	f.T.Helper()
	a := f.Want(201, "POST", "/v1/bootstrap", e2e.JSON(`{}`))
	f.id, f.secret = a.Text("client_id"), a.Text("client_secret")
}

func (f *fixture) admin() string {
	f.T.Helper()
	return f.Token(f.id, f.secret)
}

// create makes a credential with scopes, by the shared credential.
func (f *fixture) create(body any) (id, secret string) {
	f.T.Helper()
	a := f.Want(201, "POST", "/v1/credentials", e2e.Bearer(f.admin()), e2e.JSON(body))
	return a.Text("client_id"), a.Text("client_secret")
}

// state is all that the authority keeps, as its export tells it.
func (f *fixture) state() string {
	f.T.Helper()
	return string(f.Want(200, "GET", "/v1/export?limit=5000", e2e.Bearer(f.admin())).Body)
}

// unchanged runs check, and fails where the ledger is another one afterwards.
func (f *fixture) unchanged(what string, check func()) {
	f.T.Helper()
	before := f.state()
	check()
	if f.state() != before {
		f.T.Errorf("%s changed something", what)
	}
}

func TestServer_E2E(t *testing.T) {
	t.Parallel()
	t.Run("GivenClock", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, setup{bare: true})
		e2e.Run(t, e2e.Target{URL: f.URL, Client: f.Client, Advance: f.clock.Advance})
	})
	t.Run("BootstrapToken", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, setup{bare: true, options: authority.Options{BootstrapToken: "let me in, I founded it", Issuer: "https://auth.example.com/k", SoleWriter: true}})
		e2e.Run(t, e2e.Target{URL: f.URL, Client: f.Client, Advance: f.clock.Advance, BootstrapToken: "let me in, I founded it"})
	})
}
