package fleet_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/fleet"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/testdose"
)

var chaosFor = flag.Duration("chaos", 0, "how long processes are killed and links are cut, instead of a few rounds")

// chaos is how often something breaks: all that can is broken once, whatever the machine.
func chaos() testdose.Dose {
	if *chaosFor > 0 {
		return testdose.Dose{Least: harms, Most: math.MaxInt32, Within: *chaosFor}
	}
	return testdose.Dose{Least: harms, Most: 2 * harms, Within: 5 * time.Second}
}

// The bound of age is shorter than any window, so that a superseded secret is dead by its deadline also where the rotation was
// never heard of.
const (
	offline = 6 * time.Second
	window  = 8 * time.Second
	slack   = 2 * time.Second // of whole seconds
	harms   = 5               // kinds of what breaks
)

// entry is a credential as its owner knows it: only what was answered.
type entry struct {
	id, secret string
	old        string    // the superseded secret; "" where there is none
	oldEnds    time.Time // its deadline
	revoked    time.Time // when the revocation was answered; zero: it is not
	turn       int       // counts changes: what was asked meanwhile proves nothing
	unsure     bool      // a change got no answer
}

type world struct {
	t *testing.T
	f *fleet.Fleet

	mu      sync.Mutex
	entries []*entry
	asked   map[string]int // what was asked, and how it was answered
	wrong   []string
}

func (w *world) pick() (e *entry, now entry, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.entries) == 0 {
		return nil, entry{}, false
	}
	e = w.entries[rand.N(len(w.entries))]
	return e, *e, true
}

// write changes credentials at the authority, for as long as ctx lasts.
func (w *world) write(ctx context.Context) { w.writing(ctx, 40*time.Millisecond, w.change) }

// writing calls do with the right to write, again and again.
func (w *world) writing(ctx context.Context, every time.Duration, do func(ctx context.Context, c *httpapi.Client, bearer string)) {
	t := &http.Transport{}
	defer t.CloseIdleConnections()
	bearer, got := "", time.Time{}
	for ctx.Err() == nil {
		c, err := fleet.Client(w.f.Authority, t)
		if err != nil {
			w.t.Error(err)
			return
		}
		if time.Since(got) > 30*time.Minute { // half of its life
			tok, _, err := c.Token(ctx, httpapi.TokenParams{ClientID: w.f.ClientID, ClientSecret: w.f.Secret})
			if err != nil {
				pause(ctx, 50*time.Millisecond)
				continue
			}
			bearer, got = tok.AccessToken, time.Now()
		}
		do(ctx, c, bearer)
		pause(ctx, every)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (w *world) change(ctx context.Context, c *httpapi.Client, bearer string) {
	e, now, ok := w.pick()
	kind := rand.N(10)
	switch {
	case !ok || kind < 5 || !now.changes():
		w.create(ctx, c, bearer)
	case kind < 8:
		w.rotate(ctx, c, bearer, e)
	default:
		w.revoke(ctx, c, bearer, e)
	}
}

// changes reports whether it makes sense to change it once more.
func (e entry) changes() bool { return !e.unsure && e.revoked.IsZero() }

func (w *world) create(ctx context.Context, c *httpapi.Client, bearer string) {
	var made httpapi.Created
	body := httpapi.CreateRequest{Scopes: []string{"billing.read"}}
	if call(ctx, c, httpapi.Request{Method: http.MethodPost, Path: "/v1/credentials", Bearer: bearer, Body: body}, &made) == nil {
		w.note(func() { w.entries = append(w.entries, &entry{id: made.ClientID, secret: made.ClientSecret}) })
	}
}

func (w *world) rotate(ctx context.Context, c *httpapi.Client, bearer string, e *entry) {
	w.note(func() { e.turn++ })
	seconds := int64(window / time.Second)
	var done httpapi.Rotation
	body := httpapi.RotateRequest{WindowSeconds: &seconds}
	err := call(ctx, c, httpapi.Request{Method: http.MethodPost, Path: "/v1/credentials/" + e.id + "/rotate", Bearer: bearer, Body: body}, &done)
	w.note(func() {
		e.turn++
		if err != nil {
			e.unsure = true
			return
		}
		e.old, e.oldEnds, e.secret = e.secret, done.RotatedAt.Add(window), done.ClientSecret
	})
}

func (w *world) revoke(ctx context.Context, c *httpapi.Client, bearer string, e *entry) {
	w.note(func() { e.turn++ })
	err := call(ctx, c, httpapi.Request{Method: http.MethodDelete, Path: "/v1/credentials/" + e.id, Bearer: bearer}, nil)
	w.note(func() {
		e.turn++
		e.unsure = err != nil
		if err == nil {
			e.revoked = time.Now()
		}
	})
}

func call(ctx context.Context, c *httpapi.Client, r httpapi.Request, into any) error {
	a, err := c.Call(ctx, r)
	if err != nil || into == nil {
		return err
	}
	return a.Decode(into)
}

func (w *world) note(what func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	what()
}

// ask shows secrets to one sidecar, one of so many a wrong one, and holds each answer against what was promised.
func (w *world) ask(ctx context.Context, p *fleet.Process, wrong int, every time.Duration) {
	t := &http.Transport{}
	defer t.CloseIdleConnections()
	for ctx.Err() == nil {
		e, now, ok := w.pick()
		if !ok || now.unsure {
			pause(ctx, time.Millisecond)
			continue
		}
		kind, secret := "current", now.secret
		switch {
		case rand.N(wrong) == 0:
			kind, secret = "wrong", credential.NewSecret().Reveal()
		case now.old != "" && rand.N(2) == 0:
			kind, secret = "superseded", now.old
		}
		began := time.Now()
		status := authz(ctx, t, p.URL(), now.id, secret)
		if ctx.Err() != nil {
			return
		}
		w.judge(e, now, p.Name, kind, status, began, time.Now())
		if status == 0 {
			pause(ctx, 5*time.Millisecond) // it is down
		}
		pause(ctx, every)
	}
}

// authz asks a sidecar with Basic; 0 is no answer.
func authz(ctx context.Context, t http.RoundTripper, url, id, secret string) int {
	return asks(ctx, t, url, func(r *http.Request) { r.SetBasicAuth(id, secret) })
}

// asks asks a sidecar with what show adds.
func asks(ctx context.Context, t http.RoundTripper, url string, show func(*http.Request)) int {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/authz", nil)
	if err != nil {
		return 0
	}
	show(r)
	a, err := t.RoundTrip(r)
	if err != nil {
		return 0
	}
	_ = a.Body.Close()
	return a.StatusCode
}

func (w *world) judge(e *entry, now entry, where, kind string, status int, began, ended time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.turn != now.turn {
		return
	}
	w.asked[fmt.Sprintf("%s: %d", kind, status)]++
	dead := !now.revoked.IsZero()
	bad := ""
	switch {
	case status != 0 && status != 200 && status != 401 && status != 503:
		bad = "a strange answer"
	case status == 200 && kind == "wrong":
		bad = "a wrong secret was let in"
	case status == 200 && dead && began.After(now.revoked.Add(offline+slack)):
		bad = fmt.Sprintf("let in %s after its revocation", began.Sub(now.revoked))
	case status == 200 && kind == "superseded" && began.After(now.oldEnds.Add(slack)):
		bad = fmt.Sprintf("let in %s after its deadline", began.Sub(now.oldEnds))
	case status == 401 && kind == "current" && !dead, status == 401 && kind == "issue" && !dead:
		bad = "locked out with the current secret"
	case status == 401 && kind == "token" && !dead:
		bad = "locked out with a token of the current secret"
	case status == 401 && kind == "superseded" && !dead && ended.Before(now.oldEnds.Add(-slack)):
		bad = "locked out inside the window"
	}
	if bad != "" {
		w.wrong = append(w.wrong, fmt.Sprintf("%s at %s: %s, %s", now.id, where, kind, bad))
	}
}

// breakThings breaks something and mends it, again and again, each kind as often as the others.
func (w *world) breakThings(ctx context.Context) error {
	var kinds []int
	for n := range chaos().Rounds(w.t) {
		if n%harms == 0 {
			kinds = rand.Perm(harms)
		}
		i := rand.N(len(w.f.Sidecars))
		p, link := w.f.Sidecars[i], w.f.Links[i]
		down := time.Duration(rand.N(int64(2 * time.Second)))
		switch kinds[n%harms] {
		case 0:
			w.f.Authority.Kill()
			pause(ctx, down)
			if err := start(w.f.Authority); err != nil {
				return err
			}
		case 1:
			link.Cut()
			pause(ctx, 4*down)
			link.Mend()
		case 2:
			p.Kill()
			pause(ctx, down/4)
			if err := start(p); err != nil {
				return err
			}
		case 3:
			p.Kill()
			if err := cutOff(filepath.Join(p.Dir, "replica.db")); err != nil {
				return err
			}
			if err := start(p); err != nil {
				return err
			}
		case 4:
			if err := errors.Join(p.Stop(), start(p)); err != nil {
				return err
			}
		}
		pause(ctx, time.Duration(rand.N(int64(300*time.Millisecond))))
	}
	return nil
}

// start starts a program again. That it is killed by the end of the test is not what is meant by the test's own context.
func start(p *fleet.Process) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return p.Start(ctx)
}

// cutOff loses the end of a file, as a host does that lost its power.
func cutOff(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, rand.N(info.Size()))
}

func TestFleet_NoWrongAnswerWhateverBreaks(t *testing.T) {
	if testing.Short() {
		t.Skip("kills real programs for seconds")
	}
	f, err := fleet.Start(t.Context(), fleet.Options{Dir: t.TempDir(), Peers: 3, Offline: offline})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &world{t: t, f: f, asked: map[string]int{}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var working sync.WaitGroup
	working.Go(func() { w.write(ctx) })
	for _, p := range f.Sidecars {
		working.Go(func() { w.ask(ctx, p, 4, 5*time.Millisecond) })
	}
	if err := w.breakThings(ctx); err != nil {
		t.Error(err)
	}
	cancel()
	working.Wait()
	w.settle()
	for _, s := range w.wrong {
		t.Error(s)
	}
	t.Logf("%d credentials; asked, and answered: %v", len(w.entries), w.asked)
	if w.asked["current: 200"] == 0 || w.asked["wrong: 401"] == 0 {
		t.Error("too little was asked to say anything")
	}
}

// settle mends everything, and asks every sidecar about every credential: now there is one right answer.
func (w *world) settle() {
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute)
	defer cancel()
	for i, p := range w.f.Sidecars {
		w.f.Links[i].Mend()
		if err := p.Ready(ctx); err != nil {
			w.t.Error(err)
			return
		}
	}
	t := &http.Transport{}
	defer t.CloseIdleConnections()
	for _, p := range w.f.Sidecars {
		for _, e := range w.entries {
			if e.unsure {
				continue
			}
			want := http.StatusOK
			if !e.revoked.IsZero() {
				want = http.StatusUnauthorized
			}
			w.finally(ctx, t, p, e, want)
		}
	}
}

// finally waits for the answer that has to come.
func (w *world) finally(ctx context.Context, t http.RoundTripper, p *fleet.Process, e *entry, want int) {
	got := 0
	for ctx.Err() == nil {
		if got = authz(ctx, t, p.URL(), e.id, e.secret); got == want {
			return
		}
		pause(ctx, 50*time.Millisecond)
	}
	w.t.Errorf("in the end %s answers %d about %s, want %d; its log ends with\n%s", p.Name, got, e.id, want, p.LogEnd())
}
