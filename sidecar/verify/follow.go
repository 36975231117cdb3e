package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/backoff"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// source is what a Verifier learns from.
type source interface {
	// read returns what is new after a cursor; a source that can wait for it does. It returns an errWrong for what trying again
	// does not mend, and errCursor for a cursor that is not known: what was told before may not hold any more.
	read(ctx context.Context, q httpapi.FeedQuery) (httpapi.Feed, error)
	pace() pace
	close()
}

// pace is how a source is read.
type pace struct {
	wait  time.Duration // how long a reading may wait for news
	every time.Duration // from the beginning of a reading that brought nothing to the next one, at least
	gap   time.Duration // at least, between two readings that were asked for
	slow  time.Duration // the longest pause after failures
}

var (
	errCursor = errors.New("the source does not know the cursor")
	errWrong  = errors.New("this is not the source of a Verifier")
)

// begin reads the source for the first time, as often as it takes until ctx is done.
func (v *Verifier) begin(ctx context.Context) error {
	for failures := 1; ; failures++ {
		err := v.learn(ctx, httpapi.FeedQuery{})
		if err == nil || errors.Is(err, errWrong) {
			return err
		}
		if !backoff.Wait(ctx, pause(failures, time.Second)) {
			return stale("the source has not answered", err)
		}
	}
}

// follow reads the source until ctx is done: one reading at a time, so that what is learned has an order. What a check asks
// for cuts a waiting one short, and has a sidecar ask its authority.
func (v *Verifier) follow(ctx context.Context) {
	p := v.source.pace()
	for failures := 0; ctx.Err() == nil; {
		reading, cancel := context.WithCancel(ctx)
		before := v.state.Load()
		asked, wait := v.asks.Begin(cancel), before.wait(p.wait)
		if asked != nil || failures > 0 {
			wait = 0
		}
		floor := time.NewTimer(backoff.Jitter(p.every, backoff.Fifth))
		err := v.learn(reading, httpapi.FeedQuery{Wait: wait, Ask: asked != nil})
		cut := reading.Err() != nil
		cancel()
		if err != nil {
			asked.Done(err)
		} else {
			asked.Done(v.state.Load().unsure())
		}
		switch {
		case err == nil:
			failures = 0
			if p.wait == 0 || wait > 0 && !v.state.Load().tells(before) { // a source that does not wait is not asked without a pause
				v.rest(ctx, floor)
			}
		case cut: // and not a failure of the source
		default:
			if v.o.Report != nil {
				v.o.Report(err)
			}
			failures++
			v.rest(ctx, time.NewTimer(pause(failures, p.slow)))
		}
		floor.Stop()
	}
}

// rest returns when the timer fires, or when ctx is done, or when a check asks.
func (v *Verifier) rest(ctx context.Context, t *time.Timer) {
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-v.asks.Due():
	}
}

// firstPause is the one after a failure; it doubles with each further one.
const firstPause = 250 * time.Millisecond

func pause(failures int, most time.Duration) time.Duration {
	return backoff.Jitter(backoff.Grown(failures, firstPause, most), backoff.Fifth)
}

// learn does one reading, after the cursor of the one before.
func (v *Verifier) learn(ctx context.Context, q httpapi.FeedQuery) error {
	before := v.state.Load()
	if before != nil {
		asOf := v.now() // before the request: what it says of its age holds for an instant that is not earlier
		q.After = before.cursor
		f, err := v.source.read(ctx, q)
		if err == nil && f.ClusterID == before.cluster {
			return v.apply(f, before, asOf)
		}
		if err != nil && !errors.Is(err, errCursor) {
			return err
		}
	}
	asOf := v.now()
	f, err := v.source.read(ctx, httpapi.FeedQuery{Ask: q.Ask})
	if err != nil {
		return err
	}
	return v.apply(f, nil, asOf)
}

// apply makes a reading what checks are made with. All is visible before anything moves: see verdict.Generations.
func (v *Verifier) apply(f httpapi.Feed, before *state, asOf time.Time) error {
	next, err := newState(f, before, asOf, v.o)
	if err != nil {
		return fmt.Errorf("%w: %w", errWrong, err)
	}
	if before == nil || !next.agrees(before) {
		if before != nil {
			for _, d := range f.Dead {
				next.dead.add(d)
			}
		}
		v.state.Store(next)
		v.generations.MoveAll()
		return nil
	}
	moved := next.denied.differ(before.denied)
	for _, d := range f.Dead {
		moved = append(moved, next.dead.add(d))
	}
	v.state.Store(next)
	for _, name := range moved {
		v.generations.Move(name)
	}
	return nil
}
