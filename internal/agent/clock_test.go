package agent_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
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
	claims.IssuedAt, claims.ExpiresAt = claims.IssuedAt+600, claims.ExpiresAt+600
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

// Offline, a clock that is set back makes nothing younger: neither the copy, nor a secret whose time was over. The next proof of
// freshness comes from somebody who knows the time: with it the wall clock is believed again.
func TestClock_SetBackWhileOffline(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	writes, rotated := w.create("billing.write"), w.create("billing.read")
	half := int64(30 * 60)
	w.call(w.URL(), http.MethodPost, "/v1/credentials/"+rotated.ID+"/rotate", httpapi.RotateRequest{WindowSeconds: &half}, nil)
	c, skew := w.skewed()
	a, _ := w.runs(c)
	authz := func(made httpapi.Created) answer {
		return w.send(http.MethodGet, a.URL()+"/authz", basic(made.ClientID, made.ClientSecret), "")
	}
	w.eventually("the sidecar has it all", func() bool { return a.Status(w.now()).Cursors["local"] == w.head() })
	for _, made := range []httpapi.Created{writes, rotated} {
		if x := authz(made); x.status != 200 {
			t.Fatalf("online: %d %s", x.status, x.body)
		}
	}
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Duration{61 * time.Minute, 10 * time.Minute} {
		skew.Store(int64(at))
		if x := authz(writes); x.status != 503 || x.code() != string(httpapi.Stale) {
			t.Errorf("by a clock %s on: past the bound: %d %s, age %s", at, x.status, x.body, x.header.Get("Keyturn-Age"))
		}
		if x := authz(rotated); x.status != 401 {
			t.Errorf("by a clock %s on: the superseded secret: %d %s", at, x.status, x.body)
		}
		var feed httpapi.Feed
		told := w.send(http.MethodGet, a.URL()+"/v1/sidecar/feed", nil, "")
		if err := json.Unmarshal(told.body, &feed); err != nil || feed.Age == nil || *feed.Age < 3600 {
			t.Errorf("by a clock %s on: the feed: %v %s", at, err, told.body)
		}
	}
	skew.Store(0)
	w.ahead.Store(int64(2 * time.Minute)) // so that there is a newer proof at once
	if err := w.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	nobody := writes
	nobody.ClientID = id.New(id.Client, w.now()).String()
	w.eventually("the wall clock is believed again", func() bool {
		authz(nobody) // who is not known has the ledgers pulled at once
		return authz(writes).status == 200 && authz(rotated).status == 200
	})
}

// machine has the two clocks of a host, and the newest proof that has come to it.
type machine struct {
	wall, fresh time.Time
	up          time.Duration
	now         func() time.Time
}

func newMachine() *machine {
	m := &machine{wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), up: 5 * time.Hour}
	m.fresh = m.wall
	m.now = agent.NewClock(func() (time.Time, time.Duration) { return m.wall, m.up }, func() time.Time { return m.fresh })
	m.now()
	return m
}

func (m *machine) awake(d time.Duration)  { m.wall, m.up = m.wall.Add(d), m.up+d }
func (m *machine) asleep(d time.Duration) { m.wall = m.wall.Add(d) }
func (m *machine) set(d time.Duration)    { m.wall = m.wall.Add(d) }
func (m *machine) proof()                 { m.fresh = m.wall }

// Between two proofs of freshness time goes on by whichever clock says more, and never back.
func TestClock_GoesOnBetweenProofs(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		story func(m *machine)
		want  time.Duration // since the first proof
	}{
		"Runs":               {func(m *machine) { m.awake(time.Hour) }, time.Hour},
		"Slept":              {func(m *machine) { m.asleep(time.Hour) }, time.Hour},
		"SetBack":            {func(m *machine) { m.awake(time.Hour); m.set(-50 * time.Minute) }, time.Hour},
		"SetBackUnseen":      {func(m *machine) { m.set(-10 * time.Second); m.awake(time.Hour) }, time.Hour},
		"RunsOnAfterwards":   {func(m *machine) { m.awake(time.Hour); m.set(-50 * time.Minute); m.now(); m.awake(time.Hour) }, 2 * time.Hour},
		"SetBackAfterASleep": {func(m *machine) { m.asleep(time.Hour); m.now(); m.set(-50 * time.Minute) }, time.Hour},
		"SetBackAgain": {func(m *machine) {
			m.awake(time.Hour)
			m.set(-time.Hour)
			m.now()
			m.awake(time.Hour)
			m.set(-time.Hour)
		}, 2 * time.Hour},
		"SetAhead":            {func(m *machine) { m.set(time.Hour) }, time.Hour},
		"AheadAndBack":        {func(m *machine) { m.set(time.Hour); m.now(); m.set(-time.Hour) }, time.Hour},
		"AProofSetsItRight":   {func(m *machine) { m.set(time.Hour); m.now(); m.set(-time.Hour); m.awake(time.Minute); m.proof() }, time.Minute},
		"BehindTheProof":      {func(m *machine) { m.awake(time.Hour); m.now(); m.set(-2 * time.Hour) }, -time.Hour},
		"BehindAndRightAgain": {func(m *machine) { m.awake(time.Hour); m.now(); m.set(-2 * time.Hour); m.now(); m.set(90 * time.Minute) }, time.Hour},
		"NoProof":             {func(m *machine) { m.fresh = time.Time{}; m.set(time.Hour); m.now(); m.set(-time.Hour) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine()
			began := m.wall
			row.story(m)
			if got := m.now().Sub(began); got != row.want {
				t.Errorf("%s after the proof, want %s", got, row.want)
			}
		})
	}
}
