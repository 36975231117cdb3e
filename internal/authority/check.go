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
		links, err := linksOf(entries)
		if err == nil {
			err = a.verifier.ExamineChain(links)
		}
		if err != nil {
			return err
		}
		for _, l := range links {
			if err := chain.Next(l.Record, l.Sum); err != nil {
				return fmt.Errorf("record %s:%d: %w", region, l.Record.Seq, err)
			}
		}
		if len(entries) < pageSize {
			return nil
		}
	}
}

func linksOf(entries []Entry) ([]ledger.Link, error) {
	links := make([]ledger.Link, len(entries))
	for i, e := range entries {
		var err error
		if links[i], err = ledger.NewLink(e.Data); err != nil {
			return nil, fmt.Errorf("record %s:%d: %w", e.Region, e.Seq, err)
		}
	}
	return links, nil
}
