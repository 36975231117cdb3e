package replica

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/news"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/rounds"
)

// Options of a Replica. The zero value works.
type Options struct {
	Now func() time.Time // nil: time.Now

	// Changed is told which subjects have changed, and whether the cluster's own records are among them, once that is on
	// durable media and every reader sees it. subjects is nil, and cluster true, where everything may have changed (Resync).
	// It is called by one goroutine at a time, and must not call the Replica's Apply, Pull or Resync.
	Changed func(subjects []id.ID, cluster bool)

	Report func(Event) // what there is to log; nil: nobody looks

	// Spare makes an empty store to pull a new copy into: see Resync. nil: the replica cannot resync.
	Spare func(context.Context) (Spare, error)

	Wait time.Duration // how long a request for news waits at the authority; 0: 20 s
}

// Replica is a peer's copy of the ledgers. It may be used from many goroutines.
type Replica struct {
	anchor jwk.Key
	o      Options

	mu     sync.RWMutex // held for reading by whoever reads the copy, for writing while another copy takes its place
	copy   *book
	closed bool

	current atomic.Pointer[book] // copy, for who asks on every request; nil once it is closed

	applying sync.Mutex            // held by the one that changes the copy
	broken   atomic.Pointer[error] // nil: it is whole, or has not been compared yet: the first proof after a restart finds a fork again
	refused  atomic.Uint64
	early    atomic.Int64   // the instant of the last proof that came, seconds since 1970, where that is in the future; 0: it is not
	pulls    *rounds.Rounds // on request: for who is to see what is newer than the question
	resync   resync

	applied news.Bell // rings when something was applied

	toldMu sync.Mutex
	told   map[string]uint64 // the heads, as told last
}

var _ access.View = (*Replica)(nil)

// Open returns a Replica over a store, which may be empty. anchor is the ledger key that founded the cluster. Records that
// are in the store have been checked before they came there, and are not checked again. It returns ErrAnchor, or an error of
// the store. From then on the store belongs to the Replica: Close closes it.
func Open(ctx context.Context, store authority.Store, anchor jwk.Key, o Options) (*Replica, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Wait == 0 {
		o.Wait = 20 * time.Second
	}
	b, err := openBook(ctx, store, anchor)
	if err != nil {
		return nil, err
	}
	r := &Replica{anchor: anchor, o: o, copy: b, pulls: rounds.New(pullEvery, 0), told: map[string]uint64{}}
	r.current.Store(b)
	return r, nil
}

// Close closes the store. Run and all calls that pull have to have ended before.
func (r *Replica) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.close()
	return r.copy.store.Close()
}

// close is called with mu held: from now on nothing is fresh.
func (r *Replica) close() {
	r.closed = true
	r.current.Store(nil)
}

// now is the instant of one operation: UTC, whole seconds.
func (r *Replica) now() time.Time { return r.o.Now().UTC().Truncate(time.Second) }

// reading holds the copy in its place until done is called.
func (r *Replica) reading() (b *book, done func()) {
	r.mu.RLock()
	return r.copy, r.mu.RUnlock
}

// Cluster implements access.View. Before anything has been pulled it returns access.ErrUnavailable: there is a cluster, and
// this peer knows nothing of it.
func (r *Replica) Cluster(context.Context) (*access.Cluster, error) {
	b, done := r.reading()
	defer done()
	return b.getCluster()
}

// Credential implements access.View.
func (r *Replica) Credential(ctx context.Context, at time.Time, subject id.ID) (*credential.Credential, error) {
	b, done := r.reading()
	defer done()
	return b.reader.Credential(ctx, at, subject)
}

// Peer implements access.View.
func (r *Replica) Peer(ctx context.Context, at time.Time, subject id.ID) (*peer.Peer, error) {
	b, done := r.reading()
	defer done()
	return b.reader.Peer(ctx, at, subject)
}

// KeySet returns the keys with which tokens of this cluster can be checked: the cluster's own, published and not retired, and
// the token keys of active sidecars. It returns access.ErrUnavailable.
func (r *Replica) KeySet(ctx context.Context, at time.Time) (jwk.Set, error) {
	b, done := r.reading()
	defer done()
	k, err := b.keySet(ctx, at)
	if err != nil {
		return jwk.Set{}, err
	}
	return k.set, nil
}

// Sidecars are the active peers that sign tokens. It returns access.ErrUnavailable.
func (r *Replica) Sidecars(ctx context.Context, at time.Time) ([]*peer.Peer, error) {
	b, done := r.reading()
	defer done()
	k, err := b.keySet(ctx, at)
	if err != nil {
		return nil, err
	}
	return k.sidecars, nil
}

// Fresh is the instant of the newest proof of freshness whose heads every cursor has reached; zero: none yet. Everything that
// the home region knew then is applied here.
func (r *Replica) Fresh() time.Time {
	if b := r.current.Load(); b != nil {
		return b.freshAt()
	}
	return time.Time{}
}

// Age is how long ago, at instant at, the copy was as fresh as can be: 0 at the least. Without any proof it is as long as a
// Duration can be.
func (r *Replica) Age(at time.Time) time.Duration {
	fresh := r.Fresh()
	if fresh.IsZero() {
		return 1<<63 - 1
	}
	return max(at.Sub(fresh), 0)
}

// Cursors says how far each region's ledger has been applied.
func (r *Replica) Cursors() authority.Cursor {
	b, done := r.reading()
	defer done()
	return b.cursors()
}

// Heads says how long each region's ledger is, as the sender of the last page told it: empty before the first one. A ledger
// is never shorter than what has been applied of it: pages are asked for side by side, and an older answer may come last.
func (r *Replica) Heads() map[string]uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	r.toldMu.Lock()
	heads := maps.Clone(r.told)
	r.toldMu.Unlock()
	if len(heads) == 0 {
		return map[string]uint64{}
	}
	for region, cursor := range r.copy.cursors() {
		heads[region] = max(heads[region], cursor)
	}
	return heads
}

// Refused counts the records that did not fit. One that comes again counts again.
func (r *Replica) Refused() uint64 { return r.refused.Load() }

// Broken is an ErrBroken that says what does not fit, once there is a fork; else nil.
func (r *Replica) Broken() error {
	if err := r.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// Changed returns a channel that is closed when something is applied.
func (r *Replica) Changed() <-chan struct{} { return r.applied.Wait() }

// Page returns what comes after a cursor, as authority.LedgerAfter does, from the copy and with its newest proof of freshness.
// Who may ask is for the caller to know.
func (r *Replica) Page(ctx context.Context, at time.Time, after authority.Cursor, limit int) (authority.LedgerPage, error) {
	b, done := r.reading()
	defer done()
	proof := b.proof() // before the records: they reach its heads, which the cursors have reached
	p, err := authority.ReadPage(ctx, b.store, at, after, limit, nil)
	p.Freshness = proof
	return p, err
}

func (r *Replica) report(e Event) {
	if r.o.Report != nil {
		r.o.Report(e)
	}
}

func (r *Replica) tell(heads map[string]uint64) {
	r.toldMu.Lock()
	defer r.toldMu.Unlock()
	r.told = maps.Clone(heads)
}

// fail notes a fork.
func (r *Replica) fail(err error) error {
	if r.broken.CompareAndSwap(nil, &err) {
		r.report(Event{What: Broken, Err: err})
	}
	return err
}
