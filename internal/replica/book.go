package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/peer"
)

// Lists of subjects that a copy keeps. It needs no others: who lists credentials asks an authority.
const (
	listClusters = "clusters"
	listPeers    = "peers"
	listDead     = "dead" // those that have a tombstone, be it in an emergency
)

// proofKey is the claim under which the newest proof of freshness lies.
const proofKey = "freshness"

// book is one copy of the ledgers, in one store.
type book struct {
	epoch    string // of this copy since it was opened, and of no other: see Dead
	store    authority.Store
	reader   *authority.Reader
	verifier *ledger.Verifier

	cluster atomic.Pointer[access.Cluster] // nil: none yet
	moved   atomic.Uint64                  // counts changes of the cluster or of a peer
	keys    atomic.Pointer[keySet]

	clusterOld bool // cluster is behind the store: it could not be read after a commit. Only who applies uses it

	mu         sync.Mutex
	chains     map[string]ledger.Chain
	fresh      proven
	freshSince atomic.Int64 // the instant of fresh, seconds since 1970; 0: none
	held       []proven     // proofs whose heads are not reached yet
	saved      time.Time
}

// keySet is a key set and of what it was made.
type keySet struct {
	sidecars []*peer.Peer // whose keys are in it
	set      jwk.Set
	moved    uint64
}

// proven is a proof of freshness that has been checked.
type proven struct {
	signed ledger.Signed
	says   ledger.Freshness
}

// openBook reads what a copy has to know at once: how far it is, the cluster, and the newest proof.
func openBook(ctx context.Context, kept authority.Store, anchor jwk.Key) (*book, error) {
	store := newPacked(kept)
	b := &book{
		epoch: rand.Text(), store: store, reader: authority.NewReader(store, ledger.Read, true), verifier: ledger.NewVerifier(anchor),
		chains: map[string]ledger.Chain{},
	}
	if err := b.load(ctx); err != nil {
		return nil, err
	}
	if c := b.cluster.Load(); c != nil && !c.LedgerKeys[0].Equal(anchor) {
		return nil, fmt.Errorf("%w: %s", ErrAnchor, c.LedgerKeys[0].ID())
	}
	return b, b.loadProof(ctx)
}

// load reads the heads and the cluster's records.
func (b *book) load(ctx context.Context) error {
	heads, err := b.store.Heads(ctx)
	if err != nil {
		return err
	}
	if err := b.loadCluster(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for region, head := range heads {
		b.chains[region] = ledger.Chain{Region: region, Seq: head.Seq, Sum: head.Sum}
	}
	return nil
}

func (b *book) loadCluster(ctx context.Context) error {
	names, err := b.store.Page(ctx, listClusters, "", 1)
	if err != nil || len(names) == 0 {
		return err
	}
	records, err := b.records(ctx, names[0])
	if err != nil {
		return err
	}
	for _, r := range records {
		b.verifier.Learn(r)
	}
	if c := ledger.JoinCluster(records); c != nil {
		b.cluster.Store(access.NewCluster(c))
	}
	b.clusterOld = false
	return nil
}

// records decodes all records of a subject.
func (b *book) records(ctx context.Context, subject string) ([]*ledger.Record, error) {
	entries, err := b.store.Subject(ctx, subject)
	if err != nil {
		return nil, err
	}
	records := make([]*ledger.Record, len(entries))
	for i, e := range entries {
		if records[i], err = ledger.Read(e.Data); err != nil {
			return nil, fmt.Errorf("record %s:%d of %s: %w", e.Region, e.Seq, e.Subject, err)
		}
	}
	return records, nil
}

func (b *book) loadProof(ctx context.Context) error {
	kept, err := b.store.Claimed(ctx, proofKey)
	if errors.Is(err, authority.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	signed, err := ledger.Decode(kept.Value)
	if err != nil {
		return err
	}
	says, err := b.verifier.Freshness(signed)
	if err != nil {
		return err
	}
	b.setFresh(proven{signed, says})
	b.saved = says.At
	return nil
}

func (b *book) getCluster() (*access.Cluster, error) {
	if c := b.cluster.Load(); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("%w: nothing of the cluster has been pulled yet", access.ErrUnavailable)
}

// freshAt is asked on every request, several times.
func (b *book) freshAt() time.Time {
	if at := b.freshSince.Load(); at != 0 {
		return time.Unix(at, 0).UTC()
	}
	return time.Time{}
}

// setFresh is called with mu held.
func (b *book) setFresh(p proven) {
	b.fresh = p
	b.freshSince.Store(p.says.At.Unix())
}

// proof is the newest proof whose heads are reached; nil: none.
func (b *book) proof() *ledger.Signed {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fresh.says.At.IsZero() {
		return nil
	}
	signed := b.fresh.signed
	return &signed
}

func (b *book) cursors() authority.Cursor {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := make(authority.Cursor, len(b.chains))
	for region, chain := range b.chains {
		c[region] = chain.Seq
	}
	return c
}

// keySet makes the key set, or returns the one that was made since the last change.
func (b *book) keySet(ctx context.Context, at time.Time) (*keySet, error) {
	moved := b.moved.Load() // before anything is read: a later change counts again
	if k := b.keys.Load(); k != nil && k.moved == moved {
		return k, nil
	}
	c, err := b.getCluster()
	if err != nil {
		return nil, err
	}
	made := &keySet{set: c.JWKS(), moved: moved}
	for after := ""; ; {
		names, err := b.store.Page(ctx, listPeers, after, 100)
		if err != nil {
			return nil, fmt.Errorf("%w: page through the peers: %w", access.ErrUnavailable, err)
		}
		for _, name := range names {
			p, err := b.reader.Peer(ctx, at, id.ID(name))
			if err != nil {
				return nil, err
			}
			if p.Status() == peer.Active && !p.TokenKey.IsZero() {
				made.set.Keys = append(made.set.Keys, p.TokenKey)
				made.sidecars = append(made.sidecars, p)
			}
			after = name
		}
		if len(names) == 0 {
			b.keys.Store(made)
			return made, nil
		}
	}
}
