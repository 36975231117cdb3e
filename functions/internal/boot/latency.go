package boot

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
)

// maxValues is how many values one metric of a line may have.
const maxValues = 100

// latencies are what calls of the store took since the last line of the log, in milliseconds.
type latencies struct {
	mu     sync.Mutex
	millis []float64
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.millis) < maxValues {
		l.millis = append(l.millis, millis(d))
	}
}

func (l *latencies) take() []float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.millis
	l.millis = nil
	return taken
}

// millis is a duration in milliseconds, to the microsecond.
func millis(d time.Duration) float64 { return math.Round(float64(d)/1e3) / 1e3 }

// timed is a store whose calls are timed.
type timed struct {
	authority.Store
	latency *latencies
	now     func() time.Time
}

func (t timed) since(begin time.Time) { t.latency.add(t.now().Sub(begin)) }

// Append implements authority.Store.
func (t timed) Append(ctx context.Context, b authority.Batch) error {
	defer t.since(t.now())
	return t.Store.Append(ctx, b)
}

// Subject implements authority.Store.
func (t timed) Subject(ctx context.Context, subject string) ([]authority.Entry, error) {
	defer t.since(t.now())
	return t.Store.Subject(ctx, subject)
}

// Page implements authority.Store.
func (t timed) Page(ctx context.Context, list, after string, limit int) ([]string, error) {
	defer t.since(t.now())
	return t.Store.Page(ctx, list, after, limit)
}

// Ledger implements authority.Store.
func (t timed) Ledger(ctx context.Context, region string, after uint64, limit int) ([]authority.Entry, error) {
	defer t.since(t.now())
	return t.Store.Ledger(ctx, region, after, limit)
}

// Heads implements authority.Store.
func (t timed) Heads(ctx context.Context) (map[string]authority.Head, error) {
	defer t.since(t.now())
	return t.Store.Heads(ctx)
}

// Claim implements authority.Store.
func (t timed) Claim(ctx context.Context, c authority.Claim) error {
	defer t.since(t.now())
	return t.Store.Claim(ctx, c)
}

// Claimed implements authority.Store.
func (t timed) Claimed(ctx context.Context, key string) (authority.Claim, error) {
	defer t.since(t.now())
	return t.Store.Claimed(ctx, key)
}
