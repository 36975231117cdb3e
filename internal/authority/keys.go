package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/token"
)

// announced is how long a token key is published before it signs: verifiers cache key sets.
const announced = 15 * time.Minute

// signer chooses the key that signs tokens at instant at: the newest that verifiers have had time to fetch. Where there is
// none yet (after bootstrap, after an import) the oldest signs at once.
func (a *Authority) signer(at time.Time) (*token.Signer, id.ID, error) {
	c := a.cluster.Load()
	if c == nil {
		return nil, "", access.ErrNotBootstrapped
	}
	var chosen, oldest *token.Signer
	for _, s := range a.custody.Tokens() {
		published, ok := a.inUse(c, s)
		if !ok {
			continue
		}
		if oldest == nil {
			oldest = s
		}
		if a.o.SignAtOnce || !at.Before(published.Add(announced)) {
			chosen = s
		}
	}
	if chosen == nil {
		chosen = oldest
	}
	if chosen == nil {
		return nil, "", fmt.Errorf("%w: no published key to sign tokens with", access.ErrUnavailable)
	}
	return chosen, a.Self(), nil
}

// inUse reports whether a key of ours is published and not retired, and since when.
func (a *Authority) inUse(c *access.Cluster, s *token.Signer) (time.Time, bool) {
	for _, k := range c.Keys {
		if k.PeerID == a.Self() && k.Key.ID() == s.Key().ID() {
			return k.PublishedAt, k.RetiredAt.IsZero()
		}
	}
	return time.Time{}, false
}

// EnsureKeys publishes a token key of the configured algorithm where the newest is of another, or there is none. Before
// bootstrap it does nothing.
func (a *Authority) EnsureKeys(ctx context.Context, at time.Time) error {
	c, err := a.Cluster(ctx)
	if errors.Is(err, access.ErrNotBootstrapped) {
		return nil
	}
	if err != nil {
		return err
	}
	newest := ""
	for _, s := range a.custody.Tokens() {
		if _, ok := a.inUse(c, s); ok {
			newest = s.Key().Alg()
		}
	}
	if newest == a.o.TokenAlg {
		return nil
	}
	s, err := a.tokenKey()
	if err != nil {
		return err
	}
	self := a.Self()
	if self == "" {
		self = id.New(id.Peer, at)
	}
	err = a.commit(ctx, Origin{At: at, Reason: "token keys of " + a.o.TokenAlg}, change{
		touches: []string{c.ID.String()},
		decide: func(_ context.Context, d *draft) error {
			d.add(fact{kind: ledger.KindKey, subject: c.ID, body: ledger.KeyBody{Use: ledger.UseToken, Key: s.Key(), PeerID: self}})
			return nil
		},
	})
	if err != nil {
		return err
	}
	_, err = a.Cluster(ctx)
	return err
}

// tokenKey returns a key of the configured algorithm that was made and never published, or makes one.
func (a *Authority) tokenKey() (*token.Signer, error) {
	c := a.cluster.Load()
	for _, s := range a.custody.Tokens() {
		if s.Key().Alg() == a.o.TokenAlg && (c == nil || !published(c, s)) {
			return s, nil
		}
	}
	return a.custody.NewToken(a.o.TokenAlg)
}

func published(c *access.Cluster, s *token.Signer) bool {
	for _, k := range c.Keys {
		if k.Key.ID() == s.Key().ID() {
			return true
		}
	}
	return false
}

// RetireKeys takes token keys of this authority out of the key set once a newer one signs and the last token of the old
// one is dead.
func (a *Authority) RetireKeys(ctx context.Context, at time.Time) error {
	c, err := a.Cluster(ctx)
	if errors.Is(err, access.ErrNotBootstrapped) {
		return nil
	}
	if err != nil {
		return err
	}
	signing, _, err := a.signer(at)
	if err != nil {
		return err
	}
	since, _ := a.inUse(c, signing)
	if at.Before(since.Add(announced + access.Lifetime + 2*access.Leeway)) {
		return nil
	}
	var old []string
	for _, k := range c.Keys {
		if k.PeerID == a.Self() && k.RetiredAt.IsZero() && k.PublishedAt.Before(since) {
			old = append(old, k.Key.ID())
		}
	}
	if len(old) == 0 {
		return nil
	}
	return a.commit(ctx, Origin{At: at, Reason: "a newer key signs"}, change{
		touches: []string{c.ID.String()},
		decide: func(_ context.Context, d *draft) error {
			for _, keyID := range old {
				d.add(fact{kind: ledger.KindKeyRetired, subject: c.ID, body: ledger.KeyRetiredBody{KeyID: keyID}})
			}
			return nil
		},
	})
}

// claimOnce implements access.Options.Claim.
func (a *Authority) claimOnce(ctx context.Context, key string, at, until time.Time) (bool, error) {
	err := a.store.Claim(ctx, Claim{Key: key, At: at, ExpiresAt: until})
	switch {
	case errors.Is(err, ErrConflict):
		return false, nil
	case err != nil:
		return false, unavailable("claim a jti", err)
	}
	return true, nil
}
