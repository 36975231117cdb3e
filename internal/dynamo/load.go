package dynamo

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/keyturn/keyturn/internal/authority"
)

// Loader is a Store for an import. What it appends is in no list before Publish, so that no authority over the same table
// finds a cluster of which a part is missing: that part may be a revocation. A load that was broken off goes on where the
// same load is made again: a batch that is there already is no conflict.
type Loader struct {
	*Store
	listed [][2]string // list and subject, in the order in which they came
}

// NewLoader returns a loader into the table of s.
func NewLoader(s *Store) *Loader { return &Loader{Store: s} }

// Append is Store.Append without lists, and nil for a batch that is there already.
func (l *Loader) Append(ctx context.Context, b authority.Batch) error {
	b.Entries = slices.Clone(b.Entries)
	for i := range b.Entries {
		for _, list := range b.Entries[i].Lists {
			l.listed = append(l.listed, [2]string{list, b.Entries[i].Subject})
		}
		b.Entries[i].Lists = nil
	}
	err := l.Store.Append(ctx, b)
	if !errors.Is(err, authority.ErrConflict) {
		return err
	}
	there, readErr := l.Ledger(ctx, b.Region, b.After.Seq, len(b.Entries))
	if readErr != nil {
		return readErr
	}
	if !slices.EqualFunc(there, b.Entries, func(x, y authority.Entry) bool { return bytes.Equal(x.Data, y.Data) }) {
		return err
	}
	return nil
}

// Publish puts all subjects that were appended into their lists. What it has done when it fails, it does again.
func (l *Loader) Publish(ctx context.Context) error {
	leave, err := l.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	p := &plan{s: l.Store, has: map[[2]string]bool{}}
	for _, in := range l.listed {
		if pk := listPK(in[0]); !p.has[[2]string{pk, in[1]}] {
			p.write(key(pk, in[1]))
		}
	}
	return l.commitAll(ctx, p.actions)
}
