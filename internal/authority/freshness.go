package authority

import (
	"context"
	"errors"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/ledger"
)

// freshnessKey is the claim under which the latest proof of freshness lies. It yields to every later one.
const freshnessKey = "freshness"

// freshnessKept is how long a stored proof lies there, should none follow.
const freshnessKept = 48 * time.Hour

// StoreFreshness signs a proof of freshness at instant at and stores it, for the regions that are not home: whoever answers
// peers there passes it on. A schedule calls it each minute. Before bootstrap, and where another region is home, it does
// nothing. It returns access.ErrClock, or ErrUnavailable.
func (a *Authority) StoreFreshness(ctx context.Context, at time.Time) error {
	c, err := a.Cluster(ctx)
	switch {
	case errors.Is(err, access.ErrNotBootstrapped):
		return nil
	case err != nil:
		return err
	case !a.isHome(c):
		return nil
	case a.ClockBehind(at):
		return access.ErrClock
	}
	heads, err := a.store.Heads(ctx)
	if err != nil {
		return unavailable("read the heads", err)
	}
	proof, err := a.prove(ctx, c, at, heads)
	if err != nil {
		return err
	}
	value, err := proof.Encode()
	if err != nil {
		return err
	}
	err = a.store.Claim(ctx, Claim{Key: freshnessKey, Value: value, At: at, Yields: at, ExpiresAt: at.Add(freshnessKept)})
	if err != nil && !errors.Is(err, ErrConflict) { // a later one is there
		return unavailable("store the proof of freshness", err)
	}
	return nil
}

// freshness is the proof that goes with a page whose heads these are: read after instant at, so whoever has reached them
// knows all that was committed until then. nil where there is none: not stored yet, or the clock is behind.
func (a *Authority) freshness(ctx context.Context, at time.Time, heads map[string]Head) (*ledger.Signed, error) {
	c, err := a.Cluster(ctx)
	if err != nil || a.ClockBehind(at) {
		return nil, err
	}
	if a.isHome(c) {
		proof, err := a.prove(ctx, c, at, heads)
		return &proof, err
	}
	kept, err := a.store.Claimed(ctx, freshnessKey)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable("read the proof of freshness", err)
	}
	proof, err := ledger.Decode(kept.Value)
	if err != nil {
		return nil, unavailable("read the proof of freshness", err)
	}
	return &proof, nil
}

func (a *Authority) prove(ctx context.Context, c *access.Cluster, at time.Time, heads map[string]Head) (ledger.Signed, error) {
	signer, err := a.ledgerKey(ctx)
	if err != nil {
		return ledger.Signed{}, err
	}
	f := ledger.Freshness{Cluster: c.ID, Heads: sequences(heads), Sums: map[string]string{}, At: at}
	for region, head := range heads {
		if len(head.Sum) > 0 {
			f.Sums[region] = ledger.PrevOf(head.Sum)
		}
	}
	return signer.SignFreshness(f)
}

func sequences(heads map[string]Head) map[string]uint64 {
	known := make(map[string]uint64, len(heads))
	for region, head := range heads {
		known[region] = head.Seq
	}
	return known
}
