package replica

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
)

// Source is whom a replica pulls from.
type Source interface {
	// Ledger returns what comes after a cursor, at most limit records. Where there is nothing new it may wait that long for
	// something. It gives up when ctx ends.
	Ledger(ctx context.Context, after authority.Cursor, limit int, wait time.Duration) (authority.LedgerPage, error)
}

// pullEvery is how far apart pulls on request begin, at least.
const pullEvery = time.Second

// Pull returns once a pull that began after this call has brought all that the Source had. Pulls on request begin a second
// apart at the least, and all who ask meanwhile share the next one. Before Run it waits. It returns ErrBroken, ErrRefused,
// ErrStopped, the Source's error, or the context's.
func (r *Replica) Pull(ctx context.Context) error {
	return r.pulls.Wait(ctx)
}

// Nudge asks for a pull and does not wait for it: there is news, for all that the caller knows.
func (r *Replica) Nudge() { r.pulls.Ask() }

// serveAsked pulls for those who ask until ctx ends.
func (r *Replica) serveAsked(ctx context.Context, src Source) {
	for {
		select {
		case <-r.pulls.Due():
		case <-ctx.Done():
			return
		}
		if asked := r.pulls.Begin(nil); asked != nil {
			asked.Done(r.catchUp(ctx, src))
		}
	}
}

// catchUp pulls until the cursors are where the heads were when it began.
func (r *Replica) catchUp(ctx context.Context, src Source) error {
	var goal map[string]uint64
	for {
		page, n, err := r.fetch(ctx, src, 0, nil)
		if err != nil {
			return err
		}
		if goal == nil {
			goal = page.Heads
		}
		if n == 0 || reached(r.Cursors(), goal) {
			return nil
		}
	}
}

// answerTime is how long a request may take beside its waiting.
const answerTime = 15 * time.Second

// fetch gets one page after the cursors and applies it. It returns how many records are new. The page after that, where there
// is more, is asked for while this one is applied; next keeps it for the next fetch. nil: that is left out.
func (r *Replica) fetch(ctx context.Context, src Source, wait time.Duration, next *ahead) (authority.LedgerPage, int, error) {
	if err := r.Broken(); err != nil {
		return authority.LedgerPage{}, 0, err
	}
	b, done := r.reading()
	done() // the store may be closed after that, and is only asked again under applyTo
	after := b.cursors()
	page, asked := next.take(after)
	if !asked {
		var err error
		if page, err = ask(ctx, src, after, wait); err != nil {
			return page, 0, err
		}
	}
	next.start(ctx, src, after, page)
	if head := page.Heads[page.Region]; page.Region != "" && head < after[page.Region] {
		if !b.provenBehind(r.now(), page, after[page.Region]) {
			return page, 0, fmt.Errorf("%w: the answer says that the ledger of %s ends at %d, without proof, and it is at %d here", ErrRefused, page.Region, head, after[page.Region])
		}
		return page, 0, r.behind(b, page.Region, head, after[page.Region])
	}
	n, err := r.applyTo(ctx, r.now(), b, page)
	return page, n, err
}

func reached(cursors authority.Cursor, heads map[string]uint64) bool {
	for region, head := range heads {
		if cursors[region] < head {
			return false
		}
	}
	return true
}
