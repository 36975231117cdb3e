package agent

import (
	"sync/atomic"
	"time"

	"github.com/keyturn/keyturn/internal/access"
)

// clock tells the time by which this host decides. It is the wall clock, but nobody makes the copy younger, or a superseded secret
// live again, by setting that back: from one proof of freshness to the next, time goes on from the latest instant that was told, at
// least as fast as the monotonic clock, which nobody can set. That one stands still while the host sleeps; then the wall clock says
// more. A newer proof comes from somebody who knows the time, so with it the wall clock is believed anew: one that was ahead may be
// set right. A process that has just begun knows of what was before only the proof in its copy.
//
// What the authority is asked, and how its answers are judged, goes by the wall clock alone: a clock that was ahead once must not
// keep this host from the next proof.
type clock struct {
	read  func() (wall time.Time, up time.Duration) // up: how long ago some instant was, by the monotonic clock
	fresh func() time.Time                          // the instant of the newest proof; zero: none yet
	last  atomic.Pointer[told]                      // not older than a second, of what was told
}

// told is an instant that was told, and when.
type told struct {
	fresh, at time.Time
	up        time.Duration
}

func newClock(now, fresh func() time.Time) *clock {
	began := now()
	read := func() (time.Time, time.Duration) {
		at := now()
		return at, at.Sub(began)
	}
	return &clock{read: read, fresh: fresh}
}

// now may be called by many at once. By a clock that is behind the proof nothing is decided, nor where there is none: then it is
// told as it is.
func (c *clock) now() time.Time {
	wall, up := c.read()
	fresh := c.fresh()
	if fresh.IsZero() || wall.Before(fresh.Add(-access.Leeway)) {
		return wall
	}
	at, last := wall, c.last.Load()
	if last != nil && !last.fresh.Equal(fresh) {
		last = nil
	}
	if last != nil {
		least := last.at.Add(max(up-last.up, 0))
		at = wall.Add(max(least.Round(0).Sub(wall.Round(0)), 0)) // Round leaves the wall clock alone to be compared
	}
	if last == nil || at.Unix() > last.at.Unix() {
		c.last.Store(&told{fresh, at, up})
	}
	return at
}
