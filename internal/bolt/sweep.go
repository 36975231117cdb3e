package bolt

import (
	"bytes"
	"context"
	"time"
)

// kind says what becomes due in the time-ordered index.
type kind byte

const (
	secretDate kind = 's' // an entry's secret
	copyDate   kind = 'c' // an entry's place among those of its subject
	claimDate  kind = 'k' // a claim
)

// sweepBatch bounds a transaction of Sweep, and so how long an Append may have to wait for it.
const sweepBatch = 1000

// Sweep removes what has expired at the instant at: secrets, subjects' copies of entries (the ledger keeps them), and
// claims. It returns how many items it removed; after an error some may be gone already. Nothing depends on how often it
// runs but the size of the file.
func (s *Store) Sweep(ctx context.Context, at time.Time) (removed int, err error) {
	for {
		more := false // a commit costs an fsync: none where there is nothing to do
		err := s.view(ctx, func(v view) error {
			due, err := v.due(at, 1)
			more = len(due) > 0
			return err
		})
		if err != nil || !more {
			return removed, err
		}
		n := 0
		err = s.update(ctx, func(c *change) (err error) {
			n, err = c.sweep(at)
			return err
		})
		if err != nil {
			return removed, err
		}
		removed += n
	}
}

// due returns at most limit keys of the time-ordered index that have passed, oldest first.
func (v view) due(at time.Time, limit int) ([][]byte, error) {
	c, err := v.cursor(dates)
	if err != nil {
		return nil, err
	}
	var due [][]byte
	k, _, err := c.seek(nil)
	for ; err == nil && k != nil && len(due) < limit; k, _, err = c.next() {
		t, _, _, ok := splitDate(k)
		if !ok {
			return nil, brokenf("a date is cut off")
		}
		if t.After(at) {
			break
		}
		due = append(due, bytes.Clone(k))
	}
	return due, err
}

// sweep removes one batch of what is due.
func (c *change) sweep(at time.Time) (int, error) {
	due, err := c.due(at, sweepBatch)
	if err != nil {
		return 0, err
	}
	for _, k := range due {
		if err := c.drop(k); err != nil {
			return 0, err
		}
	}
	return len(due), nil
}

// drop removes what a key of the time-ordered index names, and the key.
func (c *change) drop(date []byte) error {
	_, kind, ref, _ := splitDate(date)
	switch kind {
	case secretDate:
		return c.dropSecret(ref)
	case copyDate:
		return c.dropCopy(ref)
	case claimDate:
		if err := c.remove(claims, ref); err != nil {
			return err
		}
		return c.remove(dates, date)
	}
	return brokenf("a date is of an unknown kind")
}

func (c *change) dropSecret(ref []byte) error {
	before, err := c.extra(ref)
	if err != nil {
		return err
	}
	after := before
	after.secret = nil
	return c.replaceExtra(ref, before, after)
}

func (c *change) dropCopy(ref []byte) error {
	before, err := c.extra(ref)
	if err != nil {
		return err
	}
	subject, _, err := c.record(ref)
	if err != nil {
		return err
	}
	after := before
	after.gone = string(subject)
	if err := c.remove(subjects, pair(after.gone, ref)); err != nil {
		return err
	}
	return c.replaceExtra(ref, before, after)
}

// redate moves what becomes due from one instant to another. The zero instant is never.
func (c *change) redate(k kind, ref []byte, from, to time.Time) error {
	if from.Equal(to) {
		return nil
	}
	if !from.IsZero() {
		if err := c.remove(dates, dateKey(from, k, ref)); err != nil {
			return err
		}
	}
	if to.IsZero() {
		return nil
	}
	return c.put(dates, dateKey(to, k, ref), nil)
}
