package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/news"
)

// Spare is an empty store beside the one in use.
type Spare interface {
	// Store is the store to fill. It is open.
	Store() authority.Store
	// Adopt closes the filled store and the one in use, puts the first in the place of the second for good, and returns it
	// open. After an error the replica has to be opened anew.
	Adopt(ctx context.Context) (authority.Store, error)
	// Discard closes and removes what Store returned. The store in use stays.
	Discard() error
}

// resync is what a Resync needs of Run.
type resync struct {
	running sync.Mutex // held by the one that resyncs

	replaced news.Bell // rings when the copy has been replaced

	mu  sync.Mutex
	src Source // nil: Run is not running
}

func (s *resync) start(src Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.src = src
}

func (s *resync) stop() { s.start(nil) }

func (s *resync) source() Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.src
}

// Resync pulls a new copy from the beginning and puts it in the place of the old one: so a restored authority's ledger is
// accepted, if the same key founded it. What only the old copy knew is forgotten, revocations too. Until the new one is
// complete the old one answers; should it not come to that, the old one stays. Run has to be running, else it is ErrStopped.
func (r *Replica) Resync(ctx context.Context) error {
	src := r.resync.source()
	switch {
	case r.o.Spare == nil:
		return errors.New("replica: there is no place for a new copy")
	case src == nil:
		return ErrStopped
	}
	r.resync.running.Lock()
	defer r.resync.running.Unlock()
	spare, err := r.o.Spare(ctx)
	if err != nil {
		return fmt.Errorf("make a store for the new copy: %w", err)
	}
	heads, err := r.fill(ctx, src, spare.Store())
	if err != nil {
		return errors.Join(err, spare.Discard())
	}
	return r.replace(ctx, spare, heads)
}

// fill pulls everything into an empty store, and returns how long the ledgers were at the end.
func (r *Replica) fill(ctx context.Context, src Source, store authority.Store) (heads map[string]uint64, err error) {
	b, err := openBook(ctx, store, r.anchor)
	if err != nil {
		return nil, err
	}
	began := r.now()
	for {
		asking, cancel := context.WithTimeout(ctx, answerTime)
		page, err := src.Ledger(asking, b.cursors(), authority.MaxLedgerPage, 0)
		cancel()
		if err != nil {
			return nil, err
		}
		n, err := r.merge(ctx, r.now(), b, page, nil)
		if err != nil {
			return nil, err
		}
		if n == 0 || reached(b.cursors(), page.Heads) {
			if _, err := b.getCluster(); err != nil {
				return nil, err
			}
			if b.freshAt().Before(began.Add(-2 * time.Minute)) {
				return nil, fmt.Errorf("%w: the new copy is not proven to be as fresh as the one in use", ErrRefused)
			}
			return page.Heads, nil
		}
	}
}

// replace puts the filled store in the place of the one in use, and its heads in the place of those of the ledger before it.
// Nobody reads meanwhile.
func (r *Replica) replace(ctx context.Context, spare Spare, heads map[string]uint64) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	if err := r.swap(ctx, spare, heads); err != nil {
		return fmt.Errorf("put the new copy in its place: %w", err)
	}
	r.broken.Store(nil)
	if r.o.Changed != nil {
		r.o.Changed(nil, true) // after the swap: whoever reads from now on reads the new copy
	}
	r.applied.Ring()
	r.report(Event{What: Resynced})
	r.resync.replaced.Ring()
	return nil
}

func (r *Replica) swap(ctx context.Context, spare Spare, heads map[string]uint64) error {
	ctx = context.WithoutCancel(ctx) // there is no way back from the middle of it
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.Join(ErrStopped, spare.Discard())
	}
	store, err := spare.Adopt(ctx)
	if err != nil {
		r.close() // the copy in use may be closed: who asks is told that nothing is fresh
		return err
	}
	b, err := openBook(ctx, store, r.anchor)
	if err != nil {
		r.close()
		return errors.Join(err, store.Close())
	}
	r.copy = b
	r.current.Store(b)
	r.tell(heads)
	return nil
}
