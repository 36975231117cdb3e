package replica

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
)

// Apply checks a page at instant at and takes over what fits: records in the order of their chains, hashes that fit their
// versions, and the proof of freshness. It returns how many records are new, and ErrRefused, ErrBroken or an error of the
// store beside that. What has been applied before changes nothing.
func (r *Replica) Apply(ctx context.Context, at time.Time, page authority.LedgerPage) (changed int, err error) {
	r.applying.Lock()
	defer r.applying.Unlock()
	return r.apply(ctx, at, r.copy, page)
}

// applyTo is Apply for a page that was asked for with the cursors of one copy: where another one has taken its place, the
// page is dropped.
func (r *Replica) applyTo(ctx context.Context, at time.Time, b *book, page authority.LedgerPage) (changed int, err error) {
	r.applying.Lock()
	defer r.applying.Unlock()
	if r.copy != b {
		return 0, nil
	}
	return r.apply(ctx, at, b, page)
}

func (r *Replica) apply(ctx context.Context, at time.Time, b *book, page authority.LedgerPage) (int, error) {
	if err := r.Broken(); err != nil {
		return 0, err
	}
	news := false // also without a new record: the cluster's, which could not be read before
	done, err := r.merge(ctx, at, b, page, func(subjects []id.ID, cluster bool) {
		news = true
		if r.o.Changed != nil {
			r.o.Changed(subjects, cluster)
		}
	})
	if errors.Is(err, ErrBroken) {
		_ = r.fail(err)
	}
	r.tell(page.Heads)
	if news {
		r.applied.Ring()
	}
	return done, err
}

// merge is apply for any copy; changed may be nil.
func (r *Replica) merge(ctx context.Context, at time.Time, b *book, page authority.LedgerPage, changed func([]id.ID, bool)) (int, error) {
	if err := b.reload(ctx, changed); err != nil {
		return 0, err
	}
	a := admission{book: b, at: at, page: page, refuse: r.refuse}
	misfit := a.admit(ctx)
	proof, unproven := b.judge(at, page.Freshness)
	r.noteClock(proof, unproven)
	if unproven != nil {
		r.report(Event{What: Unproven, Err: unproven})
	}
	if !errors.Is(misfit, ErrBroken) {
		switch err := a.compare(ctx, proof); {
		case errors.Is(err, ErrBroken):
			misfit = err
		case err != nil:
			return 0, err
		}
	}
	done := 0
	for i, batch := range a.batches() {
		last := i == len(a.regions)-1
		err := b.write(ctx, at, batch, proof, last && misfit == nil, changed)
		if err != nil {
			return done, err
		}
		done += len(batch.items)
	}
	if misfit == nil || !errors.Is(misfit, ErrBroken) {
		if err := b.prove(ctx, at, proof); err != nil {
			return done, err
		}
	}
	return done, misfit
}

// reload reads the cluster where that failed after a commit, and tells of it again: what has been made since then was made with
// the cluster as it was before.
func (b *book) reload(ctx context.Context, changed func([]id.ID, bool)) error {
	if !b.clusterOld {
		return nil
	}
	if err := b.loadCluster(ctx); err != nil {
		return err
	}
	b.moved.Add(1)
	if changed != nil {
		changed([]id.ID{b.verifier.Cluster()}, true)
	}
	return nil
}

func (r *Replica) refuse(region string, seq uint64, err error) error {
	r.refused.Add(1)
	r.report(Event{What: Refused, Region: region, Seq: seq, Err: err})
	return fmt.Errorf("%w: %s:%d: %w", ErrRefused, region, seq, err)
}

// batch is what comes next in one region's ledger.
type batch struct {
	after ledger.Chain
	end   ledger.Chain
	items []item
}

// write commits one batch and makes it visible.
//
// The order is what verdict's caches rest on. Before the commit, Writing drops what readers remember of these subjects, and
// nothing of them is remembered until done: whoever reads meanwhile reads the store. After the commit and done, no reader can
// get the old state any more: what was read before the commit is not remembered, for it has begun before done. Only then
// Changed moves the generations. So who read a generation before the move and the old state with it keeps an entry of the old
// generation, which is dead from the move on; who reads a generation after the move reads new state. The cluster's state is
// replaced before the move, too; where it cannot be read, the next merge reads it and moves them again (reload).
func (b *book) write(ctx context.Context, at time.Time, batch batch, proof proven, last bool, changed func([]id.ID, bool)) error {
	entries, expiries, err := b.draft(ctx, batch)
	if err != nil {
		return err
	}
	subjects := map[string]bool{}
	var cluster, peers bool
	for _, it := range batch.items {
		subjects[it.Record.Subject.String()] = true
		switch it.Record.Subject.Kind() {
		case id.Cluster:
			cluster = true
		case id.Peer:
			peers = true
		}
	}
	done := b.reader.Writing(subjects)
	err = b.store.Append(ctx, authority.Batch{
		Region: batch.after.Region, After: authority.Head{Seq: batch.after.Seq, Sum: batch.after.Sum},
		Entries: entries, Expiries: expiries, Claims: b.claims(at, batch, proof, last),
	})
	if err == nil {
		b.mu.Lock()
		b.chains[batch.end.Region] = batch.end
		b.mu.Unlock()
	} else if lost := b.load(context.WithoutCancel(ctx)); lost != nil { // the batch may be there all the same
		err = errors.Join(err, lost)
	}
	if err == nil && cluster {
		b.clusterOld = true // until it has been read again, be it before the next page
		err = b.loadCluster(ctx)
	}
	if cluster || peers {
		b.moved.Add(1)
	}
	done()
	if changed != nil {
		list := make([]id.ID, 0, len(subjects))
		for _, s := range slices.Sorted(maps.Keys(subjects)) {
			list = append(list, id.ID(s))
		}
		changed(list, cluster)
	}
	return err
}
