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

// hasty is a source where readings that checks ask for follow each other without a pause.
type hasty struct{ source }

func (h hasty) pace() pace {
	p := h.source.pace()
	p.gap = 0
	return p
}

// NewHasty is New, for a hasty source.
func NewHasty(ctx context.Context, source string, o Options) (*Verifier, error) {
	src, err := newSource(source, o)
	if err != nil {
		return nil, err
	}
	return start(ctx, hasty{src}, o)
}

// Sync returns when a reading that began later has been applied.
func (v *Verifier) Sync(ctx context.Context) error { return v.asks.Wait(ctx) }

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
