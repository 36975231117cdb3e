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

// Cluster implements access.View. After a commit that changed the cluster's records it reads them again, and nobody gets
// what was true before.
func (a *Authority) Cluster(ctx context.Context) (*access.Cluster, error) {
	if c := a.cluster.Load(); c != nil && a.clusterRead.Load() == a.clusterWritten.Load() {
		return c, nil
	}
	a.clusterMu.Lock()
	defer a.clusterMu.Unlock()
	written := a.clusterWritten.Load() // before the records are read: a later write counts again
	if a.cluster.Load() == nil || a.clusterRead.Load() != written {
		if err := a.loadCluster(ctx); err != nil {
			return nil, fmt.Errorf("%w: %w", access.ErrUnavailable, err)
		}
		a.clusterRead.Store(written)
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
	if a.cluster.Load() != nil && at.Unix() < a.clusterLooked.Load()+int64(refreshEvery/time.Second) {
		return
	}
	a.clusterMu.Lock()
	defer a.clusterMu.Unlock()
	written := a.clusterWritten.Load()
	if a.loadCluster(ctx) == nil {
		a.clusterRead.Store(written)
		a.clusterLooked.Store(at.Unix())
	}
}

// Credential implements access.View: one strongly consistent read, or what is remembered of it.
func (a *Authority) Credential(ctx context.Context, at time.Time, subject id.ID) (*credential.Credential, error) {
	if a.known != nil {
		if c, ok := a.known.get(subject, at); ok {
			return c, nil
		}
	}
	turn := a.known.turn()
	entries, err := a.readSubject(ctx, subject.String())
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, access.ErrUnknown
	case err != nil:
		return nil, unavailable("read "+subject.String(), err)
	}
	entries, span := alive(entries, at)
	c, err := a.join(subject, entries)
	if err != nil {
		return nil, err
	}
	a.known.put(subject, remembered{c, span}, turn)
	return c, nil
}

// join checks the entries of one credential and joins them. A record that no trusted key signed, or that lies where it does
// not belong, is an error: somebody wrote to the store, and an answer made from the rest could be what they want. The store's
// word for the subject does not count: with it, a record of the writer's own credential would get them into this one.
func (a *Authority) join(subject id.ID, entries []Entry) (*credential.Credential, error) {
	records := make([]*ledger.Record, 0, len(entries))
	for _, e := range entries {
		r, err := a.verifier.Open(e.Data)
		if err != nil {
			return nil, fmt.Errorf("%w: record %s:%d of %s: %w", access.ErrUnavailable, e.Region, e.Seq, e.Subject, err)
		}
		if r.Subject != subject || r.Seq != e.Seq || r.Region != e.Region {
			return nil, fmt.Errorf("%w: record %s:%d of %s lies at %s:%d of %s",
				access.ErrUnavailable, r.Region, r.Seq, r.Subject, e.Region, e.Seq, subject)
		}
		records = append(records, r)
	}
	c := ledger.JoinCredential(records)
	if c == nil || len(c.Versions) == 0 && c.RevokedAt.IsZero() {
		return nil, access.ErrUnknown // the rest of the transaction that made it has not arrived yet
	}
	for _, e := range entries {
		if e.Secret != nil {
			ledger.AttachHash(c, e.Region, e.Seq, e.Secret)
		}
	}
	return c, nil
}

// alive leaves out what the clock has ended, whether or not the store has deleted it: the answer does not depend on when a
// store gets round to it. The span says when the clock would leave out the same.
func alive(entries []Entry, at time.Time) ([]Entry, span) {
	kept := entries[:0]
	var s span
	for _, e := range entries {
		if s.over(e.CopyExpires, at) {
			continue
		}
		if s.over(e.SecretExpires, at) {
			e.Secret = nil
		}
		kept = append(kept, e)
	}
	return kept, s
}

// span is the time in which no date passes: from is in it, until is not. A zero end is open.
type span struct{ from, until time.Time }

// over reports whether a date has passed at instant at, and narrows the span to the side of it on which at is. Zero never
// passes.
func (s *span) over(date, at time.Time) bool {
	switch {
	case date.IsZero():
		return false
	case at.Before(date):
		if s.until.IsZero() || date.Before(s.until) {
			s.until = date
		}
		return false
	}
	if date.After(s.from) {
		s.from = date
	}
	return true
}

func (s span) holds(at time.Time) bool {
	return !at.Before(s.from) && (s.until.IsZero() || at.Before(s.until))
}

// memory keeps joined credentials where nobody else writes to the store. Its size is bounded: what was used since the last
// turn survives the next one.
type memory struct {
	mu         sync.RWMutex
	young, old map[id.ID]remembered
	turns      uint64          // counts commits, so that a read which a commit overtook is not kept
	writing    map[string]bool // subjects of the batch that is being committed: nobody knows which side of it a read is on
}

// remembered is a joined credential, and when it is what a read would say: a clock that jumps must not decide for later.
type remembered struct {
	*credential.Credential
	span
}

const memoryLimit = 4 << 10

func newMemory() *memory { return &memory{young: map[id.ID]remembered{}} }

func (m *memory) get(subject id.ID, at time.Time) (*credential.Credential, bool) {
	m.mu.RLock()
	r, young := m.young[subject]
	_, old := m.old[subject]
	m.mu.RUnlock()
	if !young && old {
		r = m.renew(subject)
	}
	if r.Credential == nil || !r.holds(at) {
		return nil, false
	}
	return r.Credential, true
}

// renew keeps an old one for another turn. What was forgotten meanwhile is none.
func (m *memory) renew(subject id.ID) remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, young := m.young[subject]; young {
		return r
	}
	r, old := m.old[subject]
	if old {
		m.insert(subject, r)
	}
	return r
}

func (m *memory) turn() uint64 {
	if m == nil {
		return 0
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.turns
}

func (m *memory) put(subject id.ID, r remembered, turn uint64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.turns == turn && !m.writing[subject.String()] {
		m.insert(subject, r)
	}
}

func (m *memory) insert(subject id.ID, r remembered) {
	if len(m.young) >= memoryLimit {
		m.old, m.young = m.young, map[id.ID]remembered{}
	}
	m.young[subject] = r
}

// begin drops what a commit is about to change, and remembers nothing of it until end: from the instant of the commit on
// somebody may hold its answer (a replay finds it in the store), so no reader may go on with what was before.
func (m *memory) begin(subjects map[string]bool) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turns++
	m.writing = subjects
	for s := range subjects {
		delete(m.young, id.ID(s))
		delete(m.old, id.ID(s))
	}
}

// end says that the commit is over, whatever came of it.
func (m *memory) end() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turns++
	m.writing = nil
}
