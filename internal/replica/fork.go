package replica

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/ledger"
)

// provenBehind reports whether a proof of freshness that is newer than the copy's says so: heads alone are nobody's word.
func (b *book) provenBehind(at time.Time, page authority.LedgerPage, cursor uint64) bool {
	p, err := b.judge(at, page.Freshness)
	head, told := p.says.Heads[page.Region]
	return err == nil && told && head < cursor && p.says.At.After(b.freshAt())
}

// behind is the fork that shows when a region's own authority has less than we have had from it.
func (r *Replica) behind(b *book, region string, head, cursor uint64) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	if r.copy != b {
		return nil
	}
	return r.fail(fmt.Errorf("%w: the ledger of %s ends at %d there and at %d here", ErrBroken, region, head, cursor))
}

// compare holds what is here, and what has been taken, against the sums of the newest proofs of freshness: where one names
// another record, there is a fork (ErrBroken) that no record need show. So it is where a restored authority has written as
// many records as it had lost. Older proofs say nothing: they may speak of the ledger before a resync.
func (a *admission) compare(ctx context.Context, p proven) error {
	a.book.mu.Lock()
	proofs := a.book.newer(p)
	a.book.mu.Unlock()
	for _, p := range proofs {
		for region, named := range p.says.Sums {
			t, seq := a.batch(region), p.says.Heads[region]
			if seq == 0 || seq > t.end.Seq {
				continue // what stands there is still to come: the proof waits for it
			}
			sum, err := a.sum(ctx, t, seq)
			if err != nil {
				return err
			}
			if ledger.PrevOf(sum) != named {
				return fmt.Errorf("%w: the proof of %s names another record at %s:%d", ErrBroken, p.says.At.Format(time.RFC3339), region, seq)
			}
		}
	}
	return nil
}

// sum is that of the record at a sequence that t has reached. Most proofs speak of its end.
func (a *admission) sum(ctx context.Context, t *batch, seq uint64) ([]byte, error) {
	if seq == t.end.Seq {
		return t.end.Sum, nil
	}
	known, err := a.known(ctx, t, seq)
	return ledger.Sum(known), err
}
