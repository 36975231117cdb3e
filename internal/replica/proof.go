package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/ledger"
)

const (
	maxHeld   = 16               // proofs that wait for their heads
	saveEvery = 10 * time.Second // a proof that comes alone is written down that often: after a crash the copy looks older
	proofKept = 1000 * 24 * time.Hour
)

// judge checks a proof of freshness. One that does not count is a reason, and no obstacle to the records. One from the future
// would make the copy look fresh for as long as that clock is ahead.
func (b *book) judge(at time.Time, signed *ledger.Signed) (proven, error) {
	if signed == nil {
		return proven{}, nil
	}
	says, err := b.verifier.Freshness(*signed)
	if err != nil {
		return proven{}, err
	}
	switch {
	case says.Cluster != b.verifier.Cluster():
		return proven{}, fmt.Errorf("%w: a proof of freshness of %.64q", ledger.ErrRecord, says.Cluster)
	case says.At.After(at.Add(access.Leeway)):
		return proven{}, earlyError{says.At}
	}
	return proven{*signed, says}, nil
}

// earlyError refuses a proof of freshness that is whole, and from the future of this host.
type earlyError struct{ at time.Time }

func (e earlyError) Error() string {
	return fmt.Sprintf("a proof of freshness from %s: a clock is wrong", e.at.Format(time.RFC3339))
}

// earlyHolds is for how long after a proof that was from the future, by this host's own clock, the clock is known to be behind:
// the next proof comes before that.
const earlyHolds = time.Minute

// ClockBehind reports whether the clock of this host says, with instant at, less than what is proven, by more than the leeway
// between two hosts. Such a clock can judge no deadline: neither whether a token is good yet, nor how old the copy is. It goes
// by the newest proof that counts, and by the last one that came, which does not count where it is from the future.
func (r *Replica) ClockBehind(at time.Time) bool {
	if at.Before(r.Fresh().Add(-access.Leeway)) {
		return true
	}
	early := r.early.Load()
	return early != 0 && at.Before(time.Unix(early, 0).Add(earlyHolds))
}

// noteClock keeps what the last proof that came says of this host's clock.
func (r *Replica) noteClock(p proven, unproven error) {
	var early earlyError
	switch {
	case errors.As(unproven, &early):
		r.early.Store(early.at.Unix())
	case !p.says.At.IsZero():
		r.early.Store(0)
	}
}

// newer are those of p and the held proofs that are newer than the copy's. It is called with mu held.
func (b *book) newer(p proven) (list []proven) {
	for _, known := range append([]proven{p}, b.held...) {
		if known.says.At.After(b.fresh.says.At) {
			list = append(list, known)
		}
	}
	return list
}

// newest is the newest of the known proofs and p that cursors have reached; the zero proof where that is the present one. It is
// called with mu held.
func (b *book) newest(p proven, cursors map[string]uint64) proven {
	var best proven
	for _, known := range b.newer(p) {
		if known.says.At.After(best.says.At) && known.says.Reached(cursors) {
			best = known
		}
	}
	return best
}

// claims are those of a batch: the proof that is reached with it, which so becomes durable together with what it speaks of.
func (b *book) claims(at time.Time, batch batch, p proven, last bool) []authority.Claim {
	if !last {
		return nil
	}
	cursors := b.cursors()
	cursors[batch.end.Region] = batch.end.Seq
	b.mu.Lock()
	defer b.mu.Unlock()
	best := b.newest(p, cursors)
	if best.says.At.IsZero() {
		return nil
	}
	c, err := claimOf(at, best)
	if err != nil {
		return nil // then it stays in memory only
	}
	return []authority.Claim{c}
}

// claimOf is a proof as it lies in the store: any later one takes its place, whatever the clock has done meanwhile.
func claimOf(at time.Time, p proven) (authority.Claim, error) {
	value, err := p.signed.Encode()
	always := time.Unix(1, 0).UTC()
	return authority.Claim{Key: proofKey, Value: value, At: at, Yields: always, ExpiresAt: at.Add(proofKept)}, err
}

// prove moves the freshness to the newest proof that is reached, and keeps p for later where it is not.
func (b *book) prove(ctx context.Context, at time.Time, p proven) error {
	cursors := b.cursors()
	b.mu.Lock()
	if best := b.newest(p, cursors); !best.says.At.IsZero() {
		b.setFresh(best)
	}
	if p.says.At.After(b.fresh.says.At) && !p.says.Reached(cursors) {
		b.held = append(b.held, p)
	}
	kept := b.held[:0]
	for _, h := range b.held {
		if h.says.At.After(b.fresh.says.At) {
			kept = append(kept, h)
		}
	}
	b.held = kept[max(0, len(kept)-maxHeld):]
	fresh, save := b.fresh, b.fresh.says.At.Sub(b.saved) >= saveEvery
	b.mu.Unlock()
	if !save {
		return nil
	}
	c, err := claimOf(at, fresh)
	if err != nil {
		return err
	}
	if err := b.store.Claim(ctx, c); err != nil && !errors.Is(err, authority.ErrConflict) {
		return err
	}
	b.mu.Lock()
	b.saved = fresh.says.At
	b.mu.Unlock()
	return nil
}
