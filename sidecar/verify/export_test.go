package verify

import (
	"context"
	"time"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// Decode reads a feed.
func Decode(body []byte) (httpapi.Feed, error) { return decode(body) }

// Judge judges a token by a feed alone.
func Judge(f httpapi.Feed, at time.Time, text string) error {
	s, err := newState(f, nil, at, Options{})
	if err != nil {
		return err
	}
	_, err = s.judge(at, text)
	return err
}

// Hurry lets readings that checks ask for follow each other without a pause.
func (v *Verifier) Hurry() {
	v.asks.mu.Lock()
	defer v.asks.mu.Unlock()
	v.asks.gap = 0
}

// Sync returns when a reading that began later has been applied.
func (v *Verifier) Sync(ctx context.Context) error { return v.asks.wait(ctx) }

// Hits is how often the cache knew the answer.
func (v *Verifier) Hits() uint64 { return v.tokens.Stats().Hits }

// Cursor is what has been read.
func (v *Verifier) Cursor() string {
	if s := v.state.Load(); s != nil {
		return s.cursor
	}
	return ""
}

// NewClock returns the clock of a Verifier without Options.Now, and of a machine that is made up: nil is the real one.
func NewClock(now func() time.Time, since func(time.Time) time.Duration) func() time.Time {
	c := newClock()
	if now != nil {
		c.now, c.since = now, since
	}
	return c.read
}

// WallEvery is how old a reading of the wall clock may become.
const WallEvery = wallEvery
