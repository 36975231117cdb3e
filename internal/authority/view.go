package authority

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
)

// Cluster implements access.View. After a commit that changed the cluster's records it reads them again.
func (a *Authority) Cluster(ctx context.Context) (*access.Cluster, error) {
	if a.outdated.Swap(false) {
		if err := a.loadCluster(ctx); err != nil {
			a.outdated.Store(true)
			return nil, fmt.Errorf("%w: %w", access.ErrUnavailable, err)
		}
	}
	if c := a.cluster.Load(); c != nil {
		return c, nil
	}
	return nil, access.ErrNotBootstrapped
}

// refreshEvery is how long an authority that is not the only writer relies on the cluster's records that it has read.
const refreshEvery = time.Minute

// Refresh reads the cluster's records again where they were read a minute before instant at, or where there was no cluster
// yet. What can change meanwhile is announced longer before than that (token keys), or is decided on fresh records. Where the
// store cannot be read, what was read before stands, and the next call tries again. An authority that is the only writer
// needs no Refresh.
func (a *Authority) Refresh(ctx context.Context, at time.Time) {
	if a.cluster.Load() != nil && at.Unix() < a.looked.Load()+int64(refreshEvery/time.Second) {
		return
	}
	if a.loadCluster(ctx) == nil {
		a.looked.Store(at.Unix())
	}
}

// Credential implements access.View: one strongly consistent read, or what is remembered of it.
func (a *Authority) Credential(ctx context.Context, at time.Time, subject id.ID) (*credential.Credential, error) {
	if a.known != nil {
		if c, ok := a.known.get(subject); ok {
			return c, nil
		}
	}
	turn := a.known.turn()
	entries, err := a.store.Subject(ctx, subject.String())
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, access.ErrUnknown
	case err != nil:
		return nil, unavailable("read "+subject.String(), err)
	}
	c, err := a.join(alive(entries, at))
	if err != nil {
		return nil, err
	}
	a.known.put(subject, c, turn)
	return c, nil
}

// join checks the entries of one credential and joins them. A record that no trusted key signed is an error: somebody wrote
// to the store, and an answer made from the rest could be what they want.
func (a *Authority) join(entries []Entry) (*credential.Credential, error) {
	records := make([]*ledger.Record, 0, len(entries))
	for _, e := range entries {
		r, err := a.verifier.Open(e.Data)
		if err != nil {
			return nil, fmt.Errorf("%w: record %s:%d of %s: %w", access.ErrUnavailable, e.Region, e.Seq, e.Subject, err)
		}
		if r.Subject.String() != e.Subject || r.Seq != e.Seq || r.Region != e.Region {
			return nil, fmt.Errorf("%w: record %s:%d lies at %s:%d of %s", access.ErrUnavailable, r.Region, r.Seq, e.Region, e.Seq, e.Subject)
		}
		records = append(records, r)
	}
	c := ledger.JoinCredential(records)
	if c == nil {
		return nil, access.ErrUnknown
	}
	for _, e := range entries {
		if e.Secret != nil {
			ledger.AttachHash(c, e.Region, e.Seq, e.Secret)
		}
	}
	return c, nil
}

// alive leaves out what the clock has ended, whether or not the store has deleted it: the answer does not depend on when a
// store gets round to it.
func alive(entries []Entry, at time.Time) []Entry {
	kept := entries[:0]
	for _, e := range entries {
		if !e.CopyExpires.IsZero() && !at.Before(e.CopyExpires) {
			continue
		}
		if !e.SecretExpires.IsZero() && !at.Before(e.SecretExpires) {
			e.Secret = nil
		}
		kept = append(kept, e)
	}
	return kept
}

// memory keeps joined credentials where nobody else writes to the store. Its size is bounded: what was used since the last
// turn survives the next one.
type memory struct {
	mu         sync.RWMutex
	young, old map[id.ID]*credential.Credential
	turns      uint64 // counts commits, so that a read which a commit overtook is not kept
}

const memoryLimit = 4 << 10

func newMemory() *memory { return &memory{young: map[id.ID]*credential.Credential{}} }

func (m *memory) get(subject id.ID) (*credential.Credential, bool) {
	m.mu.RLock()
	c, young := m.young[subject]
	old := m.old[subject]
	m.mu.RUnlock()
	if young {
		return c, true
	}
	if old == nil {
		return nil, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.old[subject] == nil { // forgotten meanwhile
		return nil, false
	}
	m.insert(subject, old)
	return old, true
}

func (m *memory) turn() uint64 {
	if m == nil {
		return 0
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.turns
}

func (m *memory) put(subject id.ID, c *credential.Credential, turn uint64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.turns == turn {
		m.insert(subject, c)
	}
}

func (m *memory) insert(subject id.ID, c *credential.Credential) {
	if len(m.young) >= memoryLimit {
		m.old, m.young = m.young, map[id.ID]*credential.Credential{}
	}
	m.young[subject] = c
}

// forget drops what a commit has changed. It is called after the commit and before the commit is answered.
func (m *memory) forget(subjects map[string]bool) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turns++
	for s := range subjects {
		delete(m.young, id.ID(s))
		delete(m.old, id.ID(s))
	}
}
