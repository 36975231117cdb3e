package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/token"
)

// Caller is who holds a token that has been checked.
type Caller struct {
	Claims     token.Claims
	Credential *credential.Credential
	Scopes     credential.Scopes
}

// ID is the caller's credential, the same through all rotations.
func (c Caller) ID() id.ID { return c.Credential.ID }

// Require returns ErrForbidden where the token lacks the scope.
func (c Caller) Require(s credential.Scope) error {
	if !c.Scopes.Allow(s) {
		return ErrForbidden
	}
	return nil
}

// Check says whose token text is, if it is one for audience ("" for the issuer) and good at instant at. It returns
// ErrToken, ErrNotBootstrapped or ErrUnavailable. The ErrToken is an ErrUnknown too where the token is well signed but its
// credential or version is not in the view: a replica may only not have it yet, and unknown is not revoked.
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
		return Caller{}, fmt.Errorf("%w: it is for another audience", ErrToken)
	}
	return caller, err
}

// check is Check for any audience.
func (g *Gate) check(ctx context.Context, at time.Time, cluster *Cluster, text string) (Caller, error) {
	claims, keyID, err := cluster.keys.Verify(text)
	if err != nil {
		return Caller{}, fmt.Errorf("%w: it is not signed by a key of this cluster", ErrToken)
	}
	if err := checkClaims(cluster, keyID, claims, at); err != nil {
		return Caller{}, err
	}
	scopes, err := credential.SplitScopes(claims.Scope)
	if err != nil {
		return Caller{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	c, err := g.view.Credential(ctx, at, id.ID(claims.Subject))
	switch {
	case errors.Is(err, ErrUnknown) || err == nil && claims.Version > c.Number():
		return Caller{}, fmt.Errorf("%w: %w", ErrToken, ErrUnknown)
	case err != nil:
		return Caller{}, err
	case c.TokenDead(claims.Version):
		return Caller{}, fmt.Errorf("%w: its credential is revoked", ErrToken)
	}
	return Caller{claims, c, scopes}, nil
}

func checkClaims(cluster *Cluster, keyID string, c token.Claims, at time.Time) error {
	peer := cluster.issuers[keyID].String()
	switch {
	case c.ClusterID != cluster.ID.String() || c.PeerID != peer || c.Issuer != cluster.Issuer && c.Issuer != peer:
		return fmt.Errorf("%w: it names another cluster or issuer", ErrToken)
	case c.ExpiresAt <= at.Unix():
		return fmt.Errorf("%w: it expired on %s", ErrToken, time.Unix(c.ExpiresAt, 0).UTC().Format(time.RFC3339))
	case c.IssuedAt > at.Add(Leeway).Unix():
		return fmt.Errorf("%w: it is from the future: a clock is wrong", ErrToken)
	}
	return nil
}

// Former says whose token text is or was: signed by a key of this cluster, maybe expired, maybe of a credential that is
// dead by now. It proves only who asked before, for the replay of an answer. It returns ErrToken or ErrNotBootstrapped.
func (g *Gate) Former(ctx context.Context, text string) (id.ID, error) {
	cluster, err := g.view.Cluster(ctx)
	if err != nil {
		return "", err
	}
	claims, _, err := cluster.all.Verify(text)
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
