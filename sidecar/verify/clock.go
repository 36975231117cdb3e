package verify

import (
	"sync/atomic"
	"time"
)

// wallEvery is how old a reading of the wall clock may become.
const wallEvery = 10 * time.Millisecond

// clock tells the time as time.Now does and mostly reads one clock instead of two: the monotonic one, which says how long ago
// both were read. Only once that is 10 ms ago, both are read again. So a step of the wall clock is seen within 10 ms. A
// monotonic clock stands still while the host sleeps: after that the old wall clock holds for what is left of 10 ms awake.
type clock struct {
	now   func() time.Time
	since func(time.Time) time.Duration
	base  atomic.Pointer[time.Time]
}

// newClock returns the machine's.
func newClock() *clock { return &clock{now: time.Now, since: time.Since} }

// read returns the time. It may be called by many at once: whoever keeps an old base for long makes the next one read again.
func (c *clock) read() time.Time {
	if base := c.base.Load(); base != nil {
		if past := c.since(*base); past >= 0 && past < wallEvery {
			return base.Add(past)
		}
	}
	now := c.now()
	c.base.Store(&now)
	return now
}
