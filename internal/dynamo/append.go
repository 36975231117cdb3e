package dynamo

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyturn/keyturn/internal/authority"
)

// MaxActions is how many items one transaction of DynamoDB can touch. See authority.Options.
const MaxActions = 100

// Append commits all of b in one transaction, or nothing of it. A batch that writes more than MaxActions items is refused: no
// caller gets it through by trying again. Dates of earlier entries that find no room follow in transactions of their own,
// before Append returns, so that no number of versions keeps anybody from revoking them: a date only cleans up, who gets in
// is in the entries. Where that fails, the batch is there, as after any error that is not ErrConflict. See authority.Store.
func (s *Store) Append(ctx context.Context, b authority.Batch) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := checkBatch(b); err != nil {
		return err
	}
	before, err := s.before(ctx, b)
	if err != nil {
		return err
	}
	p, err := s.plan(b)
	if err != nil {
		return err
	}
	if p.core > MaxActions {
		return fmt.Errorf("append: the batch touches %d items and one transaction takes %d: commit less at once", p.core, MaxActions)
	}
	dates := p.overflow()
	if checks := append(p.checks(before), p.elsewhere(b.Claims)...); len(p.actions)+len(checks) <= MaxActions {
		p.actions = append(p.actions, checks...)
	} else if err := s.commitAll(ctx, checks); err != nil {
		return err
	}
	if err := s.commit(ctx, p, &b); err != nil {
		return err
	}
	if b.Region == s.region {
		s.seen.committed(headOf(b))
	}
	return s.commitAll(ctx, dates)
}

// commitAll runs actions that need not be in one transaction.
func (s *Store) commitAll(ctx context.Context, actions []action) error {
	for chunk := range slices.Chunk(actions, MaxActions) {
		if err := s.commit(ctx, &plan{s: s, actions: chunk}, nil); err != nil {
			return err
		}
	}
	return nil
}

func headOf(b authority.Batch) authority.Head {
	last := b.Entries[len(b.Entries)-1]
	return authority.Head{Seq: last.Seq, Sum: last.Sum}
}

// before returns what the batch before b touched. Who has not read that head does so here.
func (s *Store) before(ctx context.Context, b authority.Batch) (map[string]uint64, error) {
	if b.Region != s.region {
		return nil, nil // only restored: nobody decides on it here
	}
	if t := s.seen.last(); t != nil && sameHead(t.head, b.After) {
		return t.wrote, nil
	}
	heads, err := s.heads(ctx)
	if err != nil {
		return nil, err
	}
	if now := heads[b.Region]; !sameHead(now, b.After) {
		return nil, fmt.Errorf("%w: the head of %s is %d, not %d", authority.ErrConflict, b.Region, now.Seq, b.After.Seq)
	}
	if t := s.seen.last(); t != nil && sameHead(t.head, b.After) {
		return t.wrote, nil
	}
	return nil, fmt.Errorf("%w: the head of %s has moved on", authority.ErrConflict, b.Region)
}

// commit runs a plan until it is done, or its conditions do not hold. b is what it appends, nil where it only checks.
func (s *Store) commit(ctx context.Context, p *plan, b *authority.Batch) error {
	token, lost := rand.Text(), false
	err := s.insist(ctx, "append", func(ctx context.Context) error {
		if len(p.actions) == 0 {
			return nil // nothing was left to check
		}
		_, err := s.api.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{
			TransactItems: p.items(), ClientRequestToken: &token,
		}, once)
		var cancelled *types.TransactionCanceledException
		if errors.As(err, &cancelled) {
			revised, failed := p.react(cancelled.CancellationReasons)
			if failed != nil {
				return verdict{failed}
			}
			if revised {
				token = rand.Text() // another request under the same token is refused
				return errRevised
			}
		}
		var mismatch *types.IdempotentParameterMismatchException
		if errors.As(err, &mismatch) { // an attempt is known, and its attributes were sent in another order
			token, lost = rand.Text(), true
			return errRevised
		}
		lost = lost || err != nil && fateOf(err) == unsure
		return err
	})
	if errors.Is(err, authority.ErrConflict) && lost && b != nil {
		return s.landed(ctx, *b, err)
	}
	return err
}

// landed is for a conflict after an attempt whose answer was lost: that attempt may be what the others ran into.
func (s *Store) landed(ctx context.Context, b authority.Batch, conflict error) error {
	es := entries{s: s, region: b.Region}
	err := s.query(ctx, "look for the batch", ledgerPK(b.Region), ledgerSK(b.After.Seq+1), 1, func(it item) (bool, error) {
		return false, es.take(it)
	})
	switch {
	case err != nil:
		return fmt.Errorf("append: its answer was lost, and so was the look at the ledger: %w", err)
	case len(es.found) == 1 && es.found[0].Seq == b.After.Seq+1 && bytes.Equal(es.found[0].Data, b.Entries[0].Data):
		return nil
	}
	return conflict
}

// items returns the actions as a request has them.
func (p *plan) items() []types.TransactWriteItem {
	items := make([]types.TransactWriteItem, len(p.actions))
	for i, a := range p.actions {
		items[i] = a.write
	}
	return items
}

// react looks at the conditions that did not hold. It returns the first error that one of them means for the whole batch,
// else whether actions were left out or replaced.
func (p *plan) react(reasons []types.CancellationReason) (revised bool, err error) {
	if len(reasons) != len(p.actions) {
		return false, nil
	}
	kept := make([]action, 0, len(p.actions))
	for i, a := range p.actions {
		if aws.ToString(reasons[i].Code) != "ConditionalCheckFailed" {
			kept = append(kept, a)
			continue
		}
		revised = true
		instead, err := a.failed(reasons[i].Item)
		if err != nil {
			return false, err
		}
		if instead != nil {
			kept = append(kept, *instead)
		}
	}
	p.actions = kept
	return revised, nil
}
