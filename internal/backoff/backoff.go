// Package backoff says how long to wait before something is tried again, so that many hosts that failed at one instant do not
// come back at one instant. It does not know what is waited for, and has no errors.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Part is the part of a pause that Jitter may take away: one of so many.
type Part int

// The parts that are in use.
const (
	Half  Part = 2 // for who asks in person, and is few
	Fifth Part = 5 // for hosts, whose number makes the load
)

// Grown returns the pause after so many failures in a row: first, doubled with each one after the first, and most at last. No
// failure counts as one.
func Grown(failures int, first, most time.Duration) time.Duration {
	for failures = min(failures, 64); failures > 1; failures-- {
		if first > most/2 {
			return most
		}
		first *= 2
	}
	return min(first, most)
}

// Jitter spreads d over its last part: from all but that part of it to all of it. So nothing comes later than it should.
func Jitter(d time.Duration, p Part) time.Duration {
	if d <= 0 {
		return 0
	}
	return d - rand.N(d/time.Duration(p)+1)
}

// Wait returns true once d is over, and false where ctx is done before that.
func Wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
