package authority

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// Snapshot returns a context for one request that writes: the first read under it reads the head before all else, and no
// read is made twice. The write is appended to that very head, so it counts only if nothing has changed since; where
// something has, it is decided again on reads of its own. Where this authority is the only writer, ctx itself comes back.
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
	subjects map[string]kept[[]Entry]
	claims   map[string]kept[Claim]
}

// kept is the outcome of a read: a value, or ErrNotFound.
type kept[T any] struct {
	value T
	err   error
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
	s.heads, s.subjects, s.claims = heads, map[string]kept[[]Entry]{}, map[string]kept[Claim]{}
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
	entries, err := through(ctx, subject, r.store.Subject, func(s *snapshot) map[string]kept[[]Entry] { return s.subjects })
	return slices.Clone(entries), err // callers cut it down in place
}

// readClaim is Store.Claimed, seen from a snapshot where there is one.
func (a *Authority) readClaim(ctx context.Context, key string) (Claim, error) {
	return through(ctx, key, a.store.Claimed, func(s *snapshot) map[string]kept[Claim] { return s.claims })
}

func through[T any](ctx context.Context, name string, read func(context.Context, string) (T, error), in func(*snapshot) map[string]kept[T]) (T, error) {
	s := snapshotOf(ctx)
	if s == nil {
		return read(ctx, name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	remember, err := s.begin(ctx)
	if err != nil {
		var none T
		return none, err
	}
	if !remember {
		return read(ctx, name)
	}
	if k, ok := in(s)[name]; ok {
		return k.value, k.err
	}
	value, err := read(ctx, name)
	if err == nil || errors.Is(err, ErrNotFound) {
		in(s)[name] = kept[T]{value, err}
	}
	return value, err
}
