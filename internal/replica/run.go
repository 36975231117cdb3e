package replica

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/backoff"
)

// Waits between pulls.
const (
	firstPause = 500 * time.Millisecond // after a failure, doubled with each further one
	longPause  = 30 * time.Second
	quick      = time.Second // who answers faster than that, with nothing, has not waited
)

// Run follows the ledgers at src until ctx ends: it asks, lets the request wait for news, and asks again; after an error it
// comes back later and later. It runs once. After a fork it pulls nothing before Resync. It returns the context's error.
func (r *Replica) Run(ctx context.Context, src Source) error {
	defer r.pulls.End(ErrStopped)
	r.resync.start(src)
	defer r.resync.stop()
	var working sync.WaitGroup
	working.Go(func() { r.serveAsked(ctx, src) })
	working.Go(func() { r.follow(ctx, src) })
	working.Wait()
	return ctx.Err()
}

// follow pulls on its own.
func (r *Replica) follow(ctx context.Context, src Source) {
	failures := 0
	var next ahead
	defer next.drop()
	for ctx.Err() == nil {
		began := r.o.Now()
		page, n, err := r.fetch(ctx, src, r.o.Wait, &next)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrBroken):
			failures = 0
			r.rest(ctx, longPause)
		case err != nil:
			if failures++; failures == 1 {
				r.report(Event{What: Failed, Err: err})
			}
			r.rest(ctx, jitter(backoff.Grown(failures, firstPause, longPause)))
		default:
			if failures > 0 {
				failures = 0
				r.report(Event{What: Pulling})
			}
			switch {
			case n > 0 && !reached(r.Cursors(), page.Heads): // there is more
			case page.PollAfter > 0:
				r.rest(ctx, jitter(min(page.PollAfter, longPause)))
			case n == 0 && r.o.Now().Sub(began) < quick:
				r.rest(ctx, jitter(quick))
			}
		}
	}
}

// rest pauses, until the copy has been replaced.
func (r *Replica) rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.resync.replaced.Wait():
	case <-ctx.Done():
	}
}

func jitter(d time.Duration) time.Duration { return backoff.Jitter(d, backoff.Fifth) }
