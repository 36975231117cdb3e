package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/token"
)

// Caller is who holds a token that has been checked: a client, or a peer.
type Caller struct {
	Claims     token.Claims
	Credential *credential.Credential // nil for a peer
	Peer       *peer.Peer             // nil for a client
	Issuer     *peer.Peer             // the sidecar that issued the token; nil for an authority
	Scopes     credential.Scopes
}

// ID is the caller's credential, the same through all rotations, or the peer.
func (c Caller) ID() id.ID {
	if c.Peer != nil {
		return c.Peer.ID
	}
	return c.Credential.ID
}

// Require returns ErrForbidden where the token lacks the scope.
func (c Caller) Require(s credential.Scope) error {
	if !c.Scopes.Allow(s) {
		return ErrForbidden
	}
	return nil
}

// Check says whose token text is, if it is one for audience ("" for the issuer) and good at instant at. It returns ErrToken
// (ErrAudience for another audience, ErrEarly for one from the future), ErrNotBootstrapped or ErrUnavailable. The ErrToken is an
// ErrUnknown too where the token is well signed but its credential or version is not in the view: a replica may only not have it
// yet, and unknown is not revoked.
func (g *Gate) Check(ctx context.Context, at time.Time, text, audience string) (Caller, error) {
	cluster, err := g.view.Cluster(ctx)
	if err != nil {
		return Caller{}, err
	}
	if audience == "" {
		audience = cluster.Issuer
	}
	caller, err := g.check(ctx, at, cluster, text)
	if err == nil && !slices.Contains(caller.Claims.Audience, audience) {
		return Caller{}, ErrAudience
	}
	return caller, err
}

// check is Check for any audience.
func (g *Gate) check(ctx context.Context, at time.Time, cluster *Cluster, text string) (Caller, error) {
	claims, issuer, err := g.verify(ctx, at, cluster, text)
	if err != nil {
		return Caller{}, err
	}
	if err := checkClaims(cluster, claims, at); err != nil {
		return Caller{}, err
	}
	if peerID, err := id.Parse(id.Peer, claims.Subject); err == nil {
		return g.checkPeer(ctx, at, claims, issuer, peerID)
	}
	scopes, err := credential.SplitScopes(claims.Scope)
	if err != nil {
		return Caller{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if issuer != nil && !issuer.MayGrant(scopes) {
		return Caller{}, fmt.Errorf("%w: its scopes are beyond what the peer that issued it may grant", ErrToken)
	}
	c, err := g.view.Credential(ctx, at, id.ID(claims.Subject))
	switch {
	case errors.Is(err, ErrUnknown) || err == nil && claims.Version > c.Number():
		return Caller{}, fmt.Errorf("%w: %w", ErrToken, ErrUnknown)
	case err != nil:
		return Caller{}, err
	case c.TokenDead(claims.Version):
		return Caller{}, fmt.Errorf("%w: its credential is revoked", ErrToken)
	case claims.ClientID != c.ClientID(claims.Version):
		return Caller{}, fmt.Errorf("%w: its client_id is not that of its credential", ErrToken)
	case !c.ExpiresAt.IsZero() && !at.Before(c.ExpiresAt):
		return Caller{}, fmt.Errorf("%w: its credential is over", ErrToken)
	case !c.Scopes.Cover(scopes):
		return Caller{}, fmt.Errorf("%w: its scopes are beyond its credential's", ErrToken)
	}
	return Caller{Claims: claims, Credential: c, Issuer: issuer, Scopes: scopes}, nil
}

// checkPeer is check for a peer's own token: only an authority issues those, for ledger.read alone.
func (g *Gate) checkPeer(ctx context.Context, at time.Time, claims token.Claims, issuer *peer.Peer, peerID id.ID) (Caller, error) {
	if issuer != nil || claims.Scope != string(credential.LedgerRead) {
		return Caller{}, fmt.Errorf("%w: it is not what an authority gives a peer", ErrToken)
	}
	p, err := g.view.Peer(ctx, at, peerID)
	switch {
	case errors.Is(err, ErrUnknown):
		return Caller{}, fmt.Errorf("%w: %w", ErrToken, ErrUnknown)
	case err != nil:
		return Caller{}, err
	case p.Status() != peer.Active:
		return Caller{}, fmt.Errorf("%w: its peer has been removed", ErrToken)
	}
	return Caller{Claims: claims, Peer: p, Scopes: credential.NewScopes(credential.LedgerRead)}, nil
}

// verify checks the signature of a token, and whether its key is that of the issuer it names: the cluster's own, or the
// token key of a sidecar, which is returned then. A peer that is not in the view, and an authority's key that is not, make the
// ErrToken an ErrUnknown.
func (g *Gate) verify(ctx context.Context, at time.Time, cluster *Cluster, text string) (token.Claims, *peer.Peer, error) {
	return g.verifyWith(ctx, at, cluster, cluster.keys, text)
}

func (g *Gate) verifyWith(ctx context.Context, at time.Time, cluster *Cluster, keys *token.KeySet, text string) (token.Claims, *peer.Peer, error) {
	var issuer *peer.Peer
	why := fmt.Errorf("%w: it is not signed by a key of this cluster", ErrToken)
	claims, keyID, err := keys.VerifyOr(text, func(keyID string, c token.Claims) (jwk.Key, bool) {
		if cluster.issuers[keyID] != "" { // the cluster's own, and retired
			return jwk.Key{}, false
		}
		p, err := g.issuer(ctx, at, c.PeerID)
		if err != nil {
			why = err
			return jwk.Key{}, false
		}
		if p.TokenKey.ID() != keyID {
			return jwk.Key{}, false
		}
		issuer = p
		return p.TokenKey, true
	})
	switch {
	case err != nil:
		return token.Claims{}, nil, why
	case issuer == nil && claims.PeerID != cluster.issuers[keyID].String():
		return token.Claims{}, nil, fmt.Errorf("%w: it names another issuer than the one whose key signed it", ErrToken)
	}
	return claims, issuer, nil
}

// issuer finds the sidecar that a token says to be from.
func (g *Gate) issuer(ctx context.Context, at time.Time, name string) (*peer.Peer, error) {
	peerID, err := id.Parse(id.Peer, name)
	if err != nil {
		return nil, fmt.Errorf("%w: it names no issuer", ErrToken)
	}
	p, err := g.view.Peer(ctx, at, peerID)
	switch {
	case errors.Is(err, ErrUnknown):
		return nil, fmt.Errorf("%w: %w", ErrToken, ErrUnknown)
	case err != nil:
		return nil, err
	case p.Status() != peer.Active:
		return nil, fmt.Errorf("%w: the peer that issued it has been removed", ErrToken)
	case p.TokenKey.IsZero(): // an authority, whose keys are the cluster's: it may have published one since
		return nil, fmt.Errorf("%w: %w", ErrToken, ErrUnknown)
	}
	return p, nil
}

func checkClaims(cluster *Cluster, c token.Claims, at time.Time) error {
	switch {
	case c.ClusterID != cluster.ID.String() || c.Issuer != cluster.Issuer && c.Issuer != c.PeerID:
		return fmt.Errorf("%w: it names another cluster or issuer", ErrToken)
	case c.ExpiresAt <= at.Unix():
		return fmt.Errorf("%w: it expired on %s", ErrToken, time.Unix(c.ExpiresAt, 0).UTC().Format(time.RFC3339))
	case c.IssuedAt < c.ExpiresAt-int64(Lifetime/time.Second):
		return fmt.Errorf("%w: it lasts longer than a token does", ErrToken)
	case c.IssuedAt > at.Add(Leeway).Unix():
		return ErrEarly
	}
	return nil
}

// Former says whose token text is or was: signed by a key of this cluster, maybe expired, maybe of a credential that is
// dead by now. It proves only who asked before, for the replay of an answer. It returns ErrToken,
// ErrNotBootstrapped or ErrUnavailable.
func (g *Gate) Former(ctx context.Context, at time.Time, text string) (id.ID, error) {
	cluster, err := g.view.Cluster(ctx)
	if err != nil {
		return "", err
	}
	claims, issuer, err := g.verifyWith(ctx, at, cluster, cluster.all, text)
	if errors.Is(err, ErrUnavailable) {
		return "", err
	}
	if err == nil && issuer != nil {
		if scopes, bad := credential.SplitScopes(claims.Scope); bad != nil || !issuer.MayGrant(scopes) {
			return "", ErrToken
		}
	}
	if err != nil || claims.ClusterID != cluster.ID.String() || !slices.Contains(claims.Audience, cluster.Issuer) {
		return "", ErrToken
	}
	return id.ID(claims.Subject), nil
}

// Introspect returns the claims of a token that is good at instant at and that the asker may see: its own credential's,
// or any with credentials.read. Everything else is false, without a reason (RFC 7662 §2.2). A well-signed token whose
// credential or version is not in the view is false with an ErrUnknown, for whoever can ask somebody who knows more.
func (g *Gate) Introspect(ctx context.Context, at time.Time, asker id.ID, scopes credential.Scopes, text string) (token.Claims, bool, error) {
	cluster, err := g.view.Cluster(ctx)
	if err != nil {
		return token.Claims{}, false, err
	}
	caller, err := g.check(ctx, at, cluster, text)
	switch {
	case errors.Is(err, ErrUnknown):
		return token.Claims{}, false, err
	case isToken(err):
		return token.Claims{}, false, nil
	case err != nil:
		return token.Claims{}, false, err
	}
	if caller.ID() != asker && !scopes.Allow(credential.CredentialsRead) {
		return token.Claims{}, false, nil
	}
	return caller.Claims, true, nil
}
