package replica

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/ledger"
)

// item is one record of a page.
type item struct {
	ledger.Link
	data []byte
	hash []byte // where it fits the record
	err  error  // of the check of its signature
}

// place is where a record stands.
type place struct {
	region string
	seq    uint64
}

// admission decides which records of a page are taken over.
type admission struct {
	book   *book
	at     time.Time
	page   authority.LedgerPage
	refuse func(region string, seq uint64, err error) error

	waiting map[string][]item
	taken   map[string]*batch
	regions []string // of taken
}

// admit takes records as long as they fit. It returns ErrRefused for what does not, and ErrBroken for a fork.
func (a *admission) admit(ctx context.Context) error {
	a.waiting, a.taken = map[string][]item{}, map[string]*batch{}
	misfit := a.sort()
	a.attachHashes()
	if known, err := a.found(); !known { // the record that founds the cluster is still to come, or does not fit
		return errors.Join(misfit, err)
	}
	a.check()
	for moved := true; moved; { // a ledger key that one region vouches for may have signed the records of another
		moved = false
		for _, region := range slices.Sorted(maps.Keys(a.waiting)) {
			n, err := a.follow(ctx, region)
			if err != nil {
				return err
			}
			moved = moved || n > 0
		}
		if moved {
			a.checkAgain()
		}
	}
	for _, region := range slices.Sorted(maps.Keys(a.waiting)) {
		if first := a.waiting[region][0]; first.err != nil {
			misfit = errors.Join(misfit, a.refuse(region, first.Record.Seq, first.err))
		}
	}
	return misfit
}

// sort decodes the records and puts them in order, region by region.
func (a *admission) sort() (misfit error) {
	decoded := make([]item, len(a.page.Records))
	everywhere(len(decoded), func(i int) {
		it := &decoded[i]
		if it.data, it.err = a.page.Records[i].Encode(); it.err == nil {
			it.Link, it.err = ledger.NewLink(it.data)
		}
	})
	for _, it := range decoded {
		if it.err != nil {
			if misfit == nil { // one is enough to say: all of a page may be of the kind
				misfit = a.refuse("", 0, it.err)
			}
			continue
		}
		a.waiting[it.Record.Region] = append(a.waiting[it.Record.Region], it)
	}
	for _, items := range a.waiting {
		slices.SortStableFunc(items, func(x, y item) int { return cmp.Compare(x.Record.Seq, y.Record.Seq) })
	}
	return misfit
}

// everywhere calls do with the numbers below n, on all processors.
func everywhere(n int, do func(i int)) {
	stretches(n, func(from, to int) {
		for i := from; i < to; i++ {
			do(i)
		}
	})
}

// stretches calls do for stretches of the numbers below n, one for each processor.
func stretches(n int, do func(from, to int)) {
	var workers sync.WaitGroup
	each := n/runtime.GOMAXPROCS(0) + 1
	for from := 0; from < n; from += each {
		workers.Go(func() { do(from, min(from+each, n)) })
	}
	workers.Wait()
}

func (a *admission) attachHashes() {
	hashes := make(map[place][]byte, len(a.page.Hashes))
	for _, h := range a.page.Hashes {
		hashes[place{h.Region, h.Seq}] = h.Hash
	}
	for region, items := range a.waiting {
		for i := range items {
			if h := hashes[place{region, items[i].Record.Seq}]; items[i].Record.Fits(h) {
				items[i].hash = h
			}
		}
	}
}

// found learns which cluster it is before anything else is believed, and reports whether that is known. Should the anchor have
// founded two, it is the older.
func (a *admission) found() (known bool, misfit error) {
	if a.book.verifier.Cluster() != "" {
		return true, nil
	}
	var oldest *ledger.Record
	for _, items := range a.waiting {
		for _, it := range items {
			if _, founds := it.Record.Decoded().(*ledger.ClusterBody); !founds {
				continue
			}
			if err := a.book.verifier.Check(it.Signed, it.Record); err != nil {
				misfit = errors.Join(misfit, a.refuse(it.Record.Region, it.Record.Seq, err))
			} else if oldest == nil || it.Record.Cluster < oldest.Cluster {
				oldest = it.Record
			}
		}
	}
	if oldest == nil {
		return false, misfit
	}
	a.book.verifier.Learn(oldest)
	return true, nil
}

// check checks signatures. What the copy has already is left out.
func (a *admission) check() {
	cursors := a.book.cursors()
	for region, items := range a.waiting {
		known, _ := slices.BinarySearchFunc(items, cursors[region]+1, func(it item, seq uint64) int { return cmp.Compare(it.Record.Seq, seq) })
		items = items[known:]
		stretches(len(items), func(from, to int) {
			links := make([]ledger.Link, 0, to-from)
			for _, it := range items[from:to] {
				links = append(links, it.Link)
			}
			for i, err := range a.book.verifier.CheckChain(links) {
				items[from+i].err = err
			}
		})
	}
}

// checkAgain gives what was refused another chance: more keys may be trusted now.
func (a *admission) checkAgain() {
	for _, items := range a.waiting {
		for i := range items {
			if items[i].err == nil {
				continue
			}
			if items[i].err = a.book.verifier.Check(items[i].Signed, items[i].Record); items[i].err != nil {
				break
			}
		}
	}
}

// follow takes the records of one region as long as they continue its chain, and returns how many. What it leaves waiting
// begins with a record that does not fit.
func (a *admission) follow(ctx context.Context, region string) (n int, err error) {
	t, items := a.batch(region), a.waiting[region]
	for len(items) > 0 {
		it := items[0]
		switch {
		case it.Record.Seq <= t.end.Seq:
			if err := a.again(ctx, t, it); err != nil {
				return n, err
			}
		case it.Record.Seq > t.end.Seq+1: // a hole: what belongs there is still to come
			delete(a.waiting, region)
			return n, nil
		case it.err != nil:
			a.waiting[region] = items
			return n, nil
		default:
			if err := t.end.Next(it.Record, it.Sum); err != nil {
				return n, fmt.Errorf("%w: %w", ErrBroken, err)
			}
			a.book.verifier.Learn(it.Record)
			t.items = append(t.items, it)
			n++
		}
		items = items[1:]
	}
	delete(a.waiting, region)
	return n, nil
}

// batch is what has been taken of a region.
func (a *admission) batch(region string) *batch {
	t := a.taken[region]
	if t == nil {
		a.book.mu.Lock()
		chain, ok := a.book.chains[region]
		a.book.mu.Unlock()
		if !ok {
			chain = ledger.Chain{Region: region}
		}
		t = &batch{after: chain, end: chain}
		a.taken[region] = t
	}
	return t
}

// known is the record at a sequence that t has reached: one of its own, or one of the copy. nil: there is none.
func (a *admission) known(ctx context.Context, t *batch, seq uint64) ([]byte, error) {
	if seq > t.after.Seq {
		return t.items[seq-t.after.Seq-1].data, nil
	}
	entries, err := a.book.store.Ledger(ctx, t.end.Region, seq-1, 1)
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	return entries[0].Data, nil
}

// again compares a record with the one that has its place already: another one is a fork, if a trusted key has signed it.
func (a *admission) again(ctx context.Context, t *batch, it item) error {
	known, err := a.known(ctx, t, it.Record.Seq)
	if err != nil {
		return err
	}
	if bytes.Equal(known, it.data) {
		return nil
	}
	if err := a.book.verifier.Check(it.Signed, it.Record); err != nil {
		_ = a.refuse(it.Record.Region, it.Record.Seq, err)
		return nil
	}
	return fmt.Errorf("%w: there is another record at %s:%d", ErrBroken, it.Record.Region, it.Record.Seq)
}

// batches are what has been taken, in an order of their own.
func (a *admission) batches() []batch {
	var list []batch
	a.regions = nil
	for _, region := range slices.Sorted(maps.Keys(a.taken)) {
		if t := a.taken[region]; len(t.items) > 0 {
			list, a.regions = append(list, *t), append(a.regions, region)
		}
	}
	return list
}
