package authority

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyturn/keyturn/internal/id"
)

// Snapshot returns a context for one request that writes: the first read under it reads the head before all else, and no
// read is made twice. The write is appended to that very head, so it counts only if nothing has changed since; where
// something has, it is decided again on reads of its own. Claims are not read at all: the write takes its own or fails, and
// is decided again. Where this authority is the only writer, ctx itself comes back.
func (a *Authority) Snapshot(ctx context.Context) context.Context {
	if a.o.SoleWriter {
		return ctx
	}
	return context.WithValue(ctx, snapshotKey{}, &snapshot{store: a.store})
}

type snapshotKey struct{}

func snapshotOf(ctx context.Context) *snapshot {
	s, _ := ctx.Value(snapshotKey{}).(*snapshot)
	return s
}

// snapshot remembers what one request has read. A read that failed is not remembered.
type snapshot struct {
	store Store

	over     atomic.Bool // nothing is remembered any more
	mu       sync.Mutex
	heads    map[string]Head // nil: not read yet
	subjects map[string]kept
}

// kept is the outcome of a read: entries, or ErrNotFound.
type kept struct {
	entries []Entry
	err     error
}

// begin reads the heads where that has not been done. It returns false where nothing may be remembered.
func (s *snapshot) begin(ctx context.Context) (bool, error) {
	if s.over.Load() || s.heads != nil {
		return !s.over.Load(), nil
	}
	heads, err := s.store.Heads(ctx)
	if err != nil {
		return false, err
	}
	s.heads, s.subjects = heads, map[string]kept{}
	return true, nil
}

// end makes every later read a new one.
func (s *snapshot) end() {
	if s != nil {
		s.over.Store(true)
	}
}

// readHeads is Store.Heads, seen from a snapshot where there is one.
func (a *Authority) readHeads(ctx context.Context) (map[string]Head, error) {
	s := snapshotOf(ctx)
	if s == nil {
		return a.store.Heads(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	remember, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	if !remember {
		return a.store.Heads(ctx)
	}
	return s.heads, nil
}

// entries is Store.Subject, seen from a snapshot where there is one.
func (r *Reader) entries(ctx context.Context, subject string) ([]Entry, error) {
	s := snapshotOf(ctx)
	if s == nil {
		return r.store.Subject(ctx, subject)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	remember, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	if !remember {
		return r.store.Subject(ctx, subject)
	}
	k, ok := s.subjects[subject]
	if !ok {
		k.entries, k.err = r.store.Subject(ctx, subject)
		if k.err == nil || errors.Is(k.err, ErrNotFound) {
			s.subjects[subject] = k
		}
	}
	return slices.Clone(k.entries), k.err // callers cut them down in place
}

// readClaim is Store.Claimed, for a claim that the write takes. From a snapshot nobody holds it: where somebody does, in any
// region that Heads has told of, Append fails, and what is decided then is decided on the claim that is there.
func (a *Authority) readClaim(ctx context.Context, key string) (Claim, error) {
	if s := snapshotOf(ctx); s != nil && !s.over.Load() {
		return Claim{}, ErrNotFound
	}
	return a.store.Claimed(ctx, key)
}

// Former is the Gate's. Whoever shows a token that is dead asks for an earlier answer, not for a write: it is looked for.
func (a *Authority) Former(ctx context.Context, at time.Time, text string) (id.ID, error) {
	snapshotOf(ctx).end()
	return a.Gate.Former(ctx, at, text)
}
