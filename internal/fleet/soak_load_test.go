package fleet_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/fleet"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// The load of a soak. What grows with the number of credentials, versions and tokens that there have ever been is no leak:
// records are remembered for ever, and a token is until it ends. So all credentials are made before the first look, and from
// then on the fleet does what a fleet does: it asks far more than it changes, and a client uses its token until shortly before
// its end. What there is to remember fills the caches before the first look.
const (
	credentials  = 300
	askEvery     = 5 * time.Millisecond // of each of those that ask
	changeEvery  = 2 * time.Second
	mostChanges  = 150             // however long it lasts
	renewEvery   = 5 * time.Second // 300 tokens of an hour would be renewed at a lower rate
	mostRenewals = 60              // at each sidecar
)

// paced is how long there is between two things that are done so many times at most.
func paced(every time.Duration, most int) time.Duration {
	return max(every, *soakFor/time.Duration(most))
}

// found makes all credentials.
func (w *world) found(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	made, done := context.WithCancel(ctx)
	defer done()
	w.writing(made, 0, func(ctx context.Context, c *httpapi.Client, bearer string) {
		if w.create(ctx, c, bearer); len(w.entries) == credentials {
			done()
		}
	})
	if len(w.entries) < credentials {
		w.t.Fatalf("%d credentials in a minute", len(w.entries))
	}
}

// load asks all sidecars in every way, and changes a little at the authority, for so long. inUse are the tokens that are in
// use at each sidecar, before and after.
func (w *world) load(ctx context.Context, d time.Duration, inUse map[*fleet.Process]map[*entry]carried) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var working sync.WaitGroup
	working.Go(func() { w.writing(ctx, paced(changeEvery, mostChanges), w.changeAsAFleet) })
	for _, p := range w.f.Sidecars {
		working.Go(func() { w.ask(ctx, p, 4, askEvery) }) // whoever shows a wrong secret waits for a look into the ledger
		working.Go(func() { w.ask(ctx, p, 1000, askEvery) })
		working.Go(func() { w.carry(ctx, p, inUse[p]) })
		working.Go(func() { w.issue(ctx, p) })
	}
	working.Wait()
}

// changeAsAFleet rotates, and now and then revokes, as long as most are left.
func (w *world) changeAsAFleet(ctx context.Context, c *httpapi.Client, bearer string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second) // a change that is broken off would be unsure
	defer cancel()
	e, now, _ := w.pick()
	switch {
	case !now.changes():
	case rand.N(10) == 0 && w.alive() > credentials*3/4:
		w.revoke(ctx, c, bearer, e)
	default:
		w.rotate(ctx, c, bearer, e)
	}
}

func (w *world) alive() (n int) {
	w.note(func() {
		for _, e := range w.entries {
			if e.changes() {
				n++
			}
		}
	})
	return n
}

// carried is a token, and the secret that it was issued for.
type carried struct{ token, secret string }

// next is an entry, and how it is now, of all in turn.
func (w *world) next(turn int) (e *entry, now entry) {
	w.note(func() {
		e = w.entries[turn%len(w.entries)]
		now = *e
	})
	return e, now
}

// carry has a token of each credential, and shows them to a sidecar in turn.
func (w *world) carry(ctx context.Context, p *fleet.Process, tokens map[*entry]carried) {
	t := &http.Transport{}
	defer t.CloseIdleConnections()
	renewed := time.Now()
	for turn := 0; ctx.Err() == nil; turn++ {
		e, now := w.next(turn)
		had, carries := tokens[e]
		switch {
		case now.unsure:
		case !carries && now.revoked.IsZero(), carries && time.Since(renewed) > paced(renewEvery, mostRenewals):
			if carries {
				renewed = time.Now()
			}
			delete(tokens, e)
			if text, _ := w.token(ctx, t, p, now); text != "" {
				tokens[e] = carried{text, now.secret}
			}
		case carries:
			kind, began := "token", time.Now()
			if had.secret != now.secret {
				kind = "older token"
			}
			status := asks(ctx, t, p.URL(), func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+had.token) })
			if ctx.Err() != nil {
				return
			}
			if w.judge(e, now, p.Name, kind, status, began, time.Now()); status == http.StatusUnauthorized {
				delete(tokens, e)
			}
		}
		pause(ctx, askEvery)
	}
}

// issue has a sidecar issue tokens that nobody uses.
func (w *world) issue(ctx context.Context, p *fleet.Process) {
	t := &http.Transport{}
	defer t.CloseIdleConnections()
	for ctx.Err() == nil {
		if e, now, ok := w.pick(); ok && !now.unsure {
			began := time.Now()
			_, status := w.token(ctx, t, p, now)
			if ctx.Err() != nil {
				return
			}
			w.judge(e, now, p.Name, "issue", status, began, time.Now())
		}
		pause(ctx, askEvery)
	}
}

// token asks a sidecar for a token; the status is 0 where there is no answer.
func (w *world) token(ctx context.Context, t http.RoundTripper, p *fleet.Process, e entry) (text string, status int) {
	c, err := fleet.Client(p, t)
	if err != nil {
		w.t.Error(err)
		return "", 0
	}
	tok, _, err := c.Token(ctx, httpapi.TokenParams{ClientID: e.id, ClientSecret: e.secret})
	var refused *httpapi.Error
	switch {
	case err == nil:
		return tok.AccessToken, http.StatusOK
	case errors.As(err, &refused):
		return "", refused.Status
	}
	return "", 0
}
