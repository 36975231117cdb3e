package authority

import (
	"context"
	"errors"
	"time"
)

// usageBegunKey is the claim that says since when this store holds notes on who uses what. It is made with the cluster. A store
// that the ledger was imported into has none at first: the notes are not in the ledger, and those of before are gone.
const usageBegunKey = "usage-begun"

// usageBegunKept is how long that is remembered: as long as the store.
const usageBegunKept = 100 * 365 * 24 * time.Hour

func usageBegunClaim(at time.Time) Claim {
	return Claim{Key: usageBegunKey, Value: []byte(at.UTC().Format(time.RFC3339)), At: at, ExpiresAt: at.Add(usageBegunKept)}
}

// usageBegun is since when uses are noted in this store; where nothing says so, that is now, for ever after. It returns
// access.ErrUnavailable.
func (a *Authority) usageBegun(ctx context.Context, at time.Time) (time.Time, error) {
	if begun := a.used.begun.Load(); begun != nil {
		return *begun, nil
	}
	held, err := a.store.Claimed(ctx, usageBegunKey)
	if errors.Is(err, ErrNotFound) {
		held = usageBegunClaim(at)
		if err = a.store.Claim(ctx, held); errors.Is(err, ErrConflict) { // another one was faster
			held, err = a.store.Claimed(ctx, usageBegunKey)
		}
	}
	if err != nil {
		return time.Time{}, unavailable("read since when uses are noted", err)
	}
	begun, err := time.Parse(time.RFC3339, string(held.Value))
	if err != nil {
		return at, nil // a memory that is damaged is none
	}
	a.used.begun.Store(&begun)
	return begun, nil
}
