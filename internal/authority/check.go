package authority

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyturn/keyturn/internal/ledger"
)

// CheckLedger reads every ledger from its first record: signatures, numbers and chain. What it has seen need not be
// checked again when it is first used. A record that does not fit is an error, and Ready reports it from then on; the
// authority goes on with what it has, for an answer is better than none, and each record is still checked when it is used.
func (a *Authority) CheckLedger(ctx context.Context) error {
	heads, err := a.store.Heads(ctx)
	if err != nil {
		return unavailable("read the heads", err)
	}
	for region := range heads {
		if err := a.checkRegion(ctx, region); err != nil {
			if errors.Is(err, ledger.ErrFork) || errors.Is(err, ledger.ErrRecord) || errors.Is(err, ledger.ErrSignature) {
				words := err.Error()
				a.damage.Store(&words)
			}
			return err
		}
	}
	return nil
}

func (a *Authority) checkRegion(ctx context.Context, region string) error {
	chain := ledger.Chain{Region: region}
	for {
		entries, err := a.store.Ledger(ctx, region, chain.Seq, pageSize)
		if err != nil {
			return unavailable("read the ledger of "+region, err)
		}
		for _, e := range entries {
			r, err := a.verifier.Examine(e.Data)
			if err == nil {
				err = chain.Next(r, e.Data)
			}
			if err != nil {
				return fmt.Errorf("record %s:%d: %w", region, e.Seq, err)
			}
		}
		if len(entries) < pageSize {
			return nil
		}
	}
}
