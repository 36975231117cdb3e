package authority

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/jwk"
)

// keySet remembers the key set of the cluster and its peers.
type keySet struct {
	changed atomic.Uint64 // counts the ends of writes to peers

	mu      sync.Mutex
	keys    []jwk.Key       // nil: not made yet
	cluster *access.Cluster // of which it was made
	seen    uint64          // how many of the changes it has seen
	at      time.Time       // when it was made
}

// KeySet returns the keys with which tokens of this cluster can be checked: the cluster's own, published and not retired,
// and the token keys of active sidecars. Where others write to the store, a peer's key can come and go a minute late; whether
// a token counts is decided on the peer itself. It returns access.ErrNotBootstrapped or ErrUnavailable.
func (a *Authority) KeySet(ctx context.Context, at time.Time) (jwk.Set, error) {
	c, err := a.Cluster(ctx)
	if err != nil {
		return jwk.Set{}, err
	}
	s := &a.keySet
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := s.changed.Load() // before the peers are read: a later write counts again
	if s.keys == nil || s.cluster != c || s.seen != changed || !a.o.SoleWriter && !s.fresh(at) {
		active, err := a.sidecars(ctx, at)
		switch {
		case err != nil && s.keys != nil && s.cluster == c && s.seen == changed:
			return jwk.Set{Keys: slices.Clone(s.keys)}, nil // where the store cannot be read, what was read before stands
		case err != nil:
			return jwk.Set{}, err
		}
		s.keys, s.cluster, s.seen, s.at = c.JWKS().Keys, c, changed, at
		for _, p := range active {
			s.keys = append(s.keys, p.TokenKey)
		}
	}
	return jwk.Set{Keys: slices.Clone(s.keys)}, nil
}

func (s *keySet) fresh(at time.Time) bool {
	return !at.Before(s.at) && at.Before(s.at.Add(refreshEvery))
}
