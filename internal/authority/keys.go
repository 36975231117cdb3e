package authority

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/token"
)

// announced is how long a token key is published before it signs: verifiers cache key sets.
const announced = 15 * time.Minute

// signer implements access.Options.Signer.
func (a *Authority) signer(ctx context.Context, at time.Time) (*token.Signer, id.ID, error) {
	c, err := a.Cluster(ctx)
	if err != nil {
		return nil, "", err
	}
	s, k, err := a.signing(ctx, c, at)
	return s, k.PeerID, err
}

// signing chooses the key that signs tokens at instant at: the newest that verifiers have had time to fetch. Where there is
// none yet (after bootstrap, after an import) the oldest signs at once. Only the chosen one is opened. All regions share
// their custody, so a key of another region's authority is as good: its tokens name the peer that published it.
func (a *Authority) signing(ctx context.Context, c *access.Cluster, at time.Time) (*token.Signer, ledger.Key, error) {
	var known, fresh []ledger.Key
	for _, k := range inUse(c) {
		if a.o.SignAtOnce || !at.Before(k.PublishedAt.Add(announced)) {
			known = append([]ledger.Key{k}, known...)
		} else {
			fresh = append(fresh, k)
		}
	}
	why := errors.New("no published key to sign tokens with")
	for _, k := range append(known, fresh...) {
		s, err := a.custody.Token(ctx, c.Cluster, k.Key.ID())
		if err == nil {
			return s, k, nil
		}
		if !errors.Is(err, ErrNoKey) {
			why = err
		}
	}
	return nil, ledger.Key{}, hidden("sign a token", why)
}

// inUse are the token keys that are not retired, the oldest first.
func inUse(c *access.Cluster) []ledger.Key {
	var keys []ledger.Key
	for _, k := range c.Keys {
		if k.RetiredAt.IsZero() {
			keys = append(keys, k)
		}
	}
	return keys
}

// EnsureKeys publishes a token key of the configured algorithm where the newest is of another, or there is none. Before
// bootstrap, and where another region is home, it does nothing. An authority that is the only writer makes itself home
// first, where an import has brought the ledger of another region.
func (a *Authority) EnsureKeys(ctx context.Context, at time.Time) error {
	c, err := a.Cluster(ctx)
	if errors.Is(err, access.ErrNotBootstrapped) {
		return nil
	}
	if err != nil {
		return err
	}
	if !a.isHome(c) {
		return nil
	}
	if c.Home != a.o.Region {
		if _, err := a.TakeHome(ctx, Origin{At: at, Reason: "the only writer is home"}); err != nil {
			return err
		}
	}
	for _, k := range slices.Backward(inUse(c)) {
		_, err := a.custody.Token(ctx, c.Cluster, k.Key.ID())
		if errors.Is(err, ErrNoKey) {
			continue
		}
		if err != nil || k.Key.Alg() == a.o.TokenAlg {
			return hidden("look after the token keys", err)
		}
		break
	}
	seen := len(c.Keys)
	_, err = a.publishKey(ctx, Origin{At: at, Reason: "token keys of " + a.o.TokenAlg}, access.Caller{}, func(now *access.Cluster) bool {
		return len(now.Keys) == seen // else another writer had the same idea: the next round looks again
	})
	return err
}

// PublishedKey is a token key that was just published.
type PublishedKey struct {
	Key         jwk.Key
	PublishedAt time.Time
	SignsAt     time.Time // from then on tokens are signed with it: verifiers have had time to fetch it
}

// RotateTokenKey publishes a new token key. It signs once verifiers have had time to fetch it; the one before is retired
// when its last token is dead (RetireKeys). It returns access.ErrForbidden without admin, or ErrUnavailable.
func (a *Authority) RotateTokenKey(ctx context.Context, caller access.Caller, o Origin) (PublishedKey, error) {
	if err := caller.Require(credential.Admin); err != nil {
		return PublishedKey{}, err
	}
	key, err := a.publishKey(ctx, o, caller, func(*access.Cluster) bool { return true })
	p := PublishedKey{Key: key, PublishedAt: o.At, SignsAt: o.At.Add(announced)}
	if a.o.SignAtOnce {
		p.SignsAt = o.At
	}
	return p, err
}

// publishKey makes a token key and puts it into the key set, if that is still needed when it is written.
func (a *Authority) publishKey(ctx context.Context, o Origin, caller access.Caller, needed func(*access.Cluster) bool) (jwk.Key, error) {
	c, err := a.Cluster(ctx)
	if err != nil {
		return jwk.Key{}, err
	}
	made, err := a.tokenKey(ctx)
	if err != nil {
		return jwk.Key{}, err
	}
	err = a.commit(ctx, o, change{
		by: caller, touches: []string{c.ID.String()},
		decide: func(ctx context.Context, d *draft) error {
			now, err := a.Cluster(ctx)
			if err != nil || !needed(now) {
				return err
			}
			self := now.Authority(a.o.Region)
			if self == "" { // the first key of this region's authority: so it is a peer from now on
				self = id.New(id.Peer, d.At)
				d.add(fact{
					kind: ledger.KindPeer, subject: self, lists: []string{listPeers},
					body: ledger.PeerBody{Name: a.o.Region, Role: peer.Authority},
				})
			}
			body := ledger.KeyBody{Use: ledger.UseToken, Key: made.Key, PeerID: self, Sealed: made.Sealed}
			d.add(fact{kind: ledger.KindKey, subject: c.ID, body: body})
			return nil
		},
	})
	if err != nil {
		return jwk.Key{}, err
	}
	_, err = a.Cluster(ctx)
	return made.Key, err
}

// tokenKey returns a key of the configured algorithm that was made and never published, or makes one.
func (a *Authority) tokenKey(ctx context.Context) (NewKey, error) {
	c := a.cluster.Load()
	made, err := a.custody.NewToken(ctx, a.o.TokenAlg, func(keyID string) bool { return c != nil && published(c, keyID) })
	return made, hidden("make a token key", err)
}

func published(c *access.Cluster, keyID string) bool {
	for _, k := range c.Keys {
		if k.Key.ID() == keyID {
			return true
		}
	}
	return false
}

// RetireKeys takes token keys out of the key set once a newer one signs and the last token of the old one is dead. Where
// another region is home it does nothing.
func (a *Authority) RetireKeys(ctx context.Context, at time.Time) error {
	c, err := a.Cluster(ctx)
	if errors.Is(err, access.ErrNotBootstrapped) {
		return nil
	}
	if err != nil {
		return err
	}
	if !a.isHome(c) || len(inUse(c)) < 2 {
		return nil
	}
	_, signing, err := a.signing(ctx, c, at)
	if err != nil {
		return err
	}
	if at.Before(signing.PublishedAt.Add(announced + access.Lifetime + 2*access.Leeway)) {
		return nil
	}
	older := func(c *access.Cluster) (keyIDs []string) { // in the order in which they were published, be it in one second
		keys := inUse(c)
		for _, k := range keys[:max(0, slices.IndexFunc(keys, func(k ledger.Key) bool { return k.Key.Equal(signing.Key) }))] {
			keyIDs = append(keyIDs, k.Key.ID())
		}
		return keyIDs
	}
	if len(older(c)) == 0 {
		return nil
	}
	return a.commit(ctx, Origin{At: at, Reason: "a newer key signs"}, change{
		touches: []string{c.ID.String()},
		decide: func(ctx context.Context, d *draft) error {
			now, err := a.Cluster(ctx)
			if err != nil {
				return err
			}
			for _, keyID := range older(now) {
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
