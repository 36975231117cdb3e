package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/duration"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/token"
)

// announced is how long a token key is known before it signs where the authority could do it: verifiers cache key sets.
const announced = 15 * time.Minute

// learnTimeout bounds one look into the authority's ledger for what is not known here.
const learnTimeout = 4 * time.Second

// Cluster implements httpapi.Node.
func (a *Agent) Cluster(ctx context.Context) (*access.Cluster, error) { return a.replica.Cluster(ctx) }

// Authenticate implements httpapi.Node. Whether the copy is fresh enough depends on what the client asks for: see Issue. A
// client assertion is ErrBeyond: only the authority can claim it once. So is what somebody who knows more may accept.
func (a *Agent) Authenticate(ctx context.Context, at time.Time, p access.Proof) (access.Client, error) {
	if p.Assertion != "" {
		return access.Client{}, a.passOn(p, nil)
	}
	if err := a.rightClock(at); err != nil {
		return access.Client{}, err
	}
	c, err := a.cached.Authenticate(ctx, at, p)
	if errors.Is(err, access.ErrUnknown) {
		known := func() bool { return a.knowsClient(ctx, at, p.ClientID) }
		err = a.learn(ctx, known, func(ctx context.Context) error {
			c, err = a.cached.Authenticate(ctx, at, p)
			return err
		})
	}
	if errors.Is(err, access.ErrUnknown) {
		err = a.unknown(ctx, at, p, err)
	}
	if err != nil {
		return access.Client{}, a.nothingHere(ctx, err)
	}
	if a.denied.has(c.ID(), c.Number()) {
		return access.Client{}, errDenied()
	}
	return c, nil
}

// Check implements httpapi.Node. The bound that holds is the shortest of the token's scopes; a peer's own token has none,
// for it is what peers help each other with when the authority is gone.
func (a *Agent) Check(ctx context.Context, at time.Time, text, audience string) (access.Caller, error) {
	if c, ok, err := a.checkReader(ctx, at, text); ok {
		return c, err
	}
	c, err := a.check(ctx, at, text, audience)
	if err == nil && c.Peer == nil {
		err = a.fresh(at, c.Scopes)
	}
	return c, err
}

// check is Check of a copy of any age.
func (a *Agent) check(ctx context.Context, at time.Time, text, audience string) (access.Caller, error) {
	if err := a.rightClock(at); err != nil {
		return access.Caller{}, err
	}
	c, err := a.cached.Check(ctx, at, text, audience)
	if errors.Is(err, access.ErrUnknown) {
		known := func() bool { return a.knowsSubject(ctx, at, text) }
		err = a.learn(ctx, known, func(ctx context.Context) error {
			c, err = a.cached.Check(ctx, at, text, audience)
			return err
		})
	}
	if errors.Is(err, access.ErrUnknown) && a.farFromHome(ctx) {
		err = errNotArrived()
	}
	if errors.Is(err, access.ErrEarly) {
		err = a.early(ctx, at, err)
	}
	if err != nil {
		return access.Caller{}, a.nothingHere(ctx, err)
	}
	if a.denied.has(c.ID(), c.Claims.Version) || a.denied.has(id.ID(c.Claims.PeerID), 0) {
		return access.Caller{}, fmt.Errorf("%w: it is denied on this host", access.ErrToken)
	}
	return c, nil
}

// fresh returns ErrStale where the last proof of freshness is older than what these scopes allow.
func (a *Agent) fresh(at time.Time, scopes credential.Scopes) error {
	bound := a.bound(scopes)
	fresh := a.replica.Fresh()
	switch {
	case a.clockBehind(at):
		return access.ErrClock
	case fresh.IsZero():
		return fmt.Errorf("%w: there was no proof of freshness yet", access.ErrStale)
	case at.Sub(fresh) > bound:
		return fmt.Errorf("%w: the last proof of freshness is from %s, and what is asked for may be %s old at most",
			access.ErrStale, fresh.Format(time.RFC3339), duration.Format(bound))
	}
	return nil
}

// bound is the shortest of those that hold for these scopes.
func (a *Agent) bound(scopes credential.Scopes) time.Duration {
	for _, s := range scopes {
		if !s.Read() {
			return min(a.c.OfflineRead, a.c.OfflineWrite)
		}
	}
	return a.c.OfflineRead
}

// Issue implements httpapi.Node. What is beyond this peer's max_scopes is ErrBeyond, and so is everything for as long as
// verifiers may not have seen its key and the authority may answer, or this host has been removed. An authority whose ledger does
// not continue this copy is not asked: it would refuse what it has forgotten, and let in what it has forgotten to revoke.
func (a *Agent) Issue(ctx context.Context, at time.Time, c access.Client, r access.TokenRequest) (access.Token, error) {
	if err := a.fresh(at, asked(c, r)); err != nil {
		return access.Token{}, err
	}
	forked := a.forked()
	alone := forked != nil || httpapi.Alone(ctx)
	switch {
	case !alone && (a.removed(at) || a.unseen(ctx, at) && !a.up.gone.Load()):
		return access.Token{}, access.ErrBeyond
	case a.removed(at): // what it signs is dead everywhere
		return access.Token{}, fmt.Errorf("%w: this host is no peer of the cluster any more, and the authority does not answer", access.ErrStale)
	}
	t, err := a.gate.Issue(ctx, at, c, r)
	if forked != nil && errors.Is(err, access.ErrBeyond) {
		err = forked
	}
	return t, err
}

// forked is an ErrStale where the authority's ledger does not continue this copy, else nil.
func (a *Agent) forked() error {
	if a.replica.Broken() == nil {
		return nil
	}
	return fmt.Errorf("%w: the authority's ledger does not continue it, so the authority is not asked before somebody has looked at this host",
		access.ErrStale)
}

// asked are the scopes that a token would get; what cannot be read is refused elsewhere.
func asked(c access.Client, r access.TokenRequest) credential.Scopes {
	if r.Scope == "" {
		return c.Scopes()
	}
	scopes, err := credential.SplitScopes(r.Scope)
	if err != nil || len(scopes) == 0 {
		return c.Scopes()
	}
	return scopes
}

// unseen reports whether verifiers may not have fetched this peer's key yet.
func (a *Agent) unseen(ctx context.Context, at time.Time) bool {
	if a.c.SignAtOnce {
		return false
	}
	me, err := a.replica.Peer(ctx, at, a.Self())
	return err != nil || at.Before(me.JoinedAt.Add(announced))
}

// mayGrant implements access.Options.MayGrant.
func (a *Agent) mayGrant(ctx context.Context, at time.Time, scopes credential.Scopes) bool {
	me, err := a.replica.Peer(ctx, at, a.Self())
	return err == nil && me.MayGrant(scopes)
}

// clockBehind implements access.Options.ClockBehind: by the proofs of freshness.
func (a *Agent) clockBehind(at time.Time) bool { return a.replica.ClockBehind(at) }

// rightClock is access.ErrClock where the clock is behind what is proven: nothing is decided with it. The next answer of the
// authority tells whether it has been set right.
func (a *Agent) rightClock(at time.Time) error {
	if !a.clockBehind(at) {
		return nil
	}
	a.replica.Nudge()
	return access.ErrClock
}

// Introspect implements httpapi.Node.
func (a *Agent) Introspect(ctx context.Context, at time.Time, asker id.ID, scopes credential.Scopes, text string) (token.Claims, bool, error) {
	if err := a.rightClock(at); err != nil {
		return token.Claims{}, false, err
	}
	claims, active, err := a.gate.Introspect(ctx, at, asker, scopes, text)
	if err == nil && !active {
		_, why := a.gate.Check(ctx, at, text, "")
		if errors.Is(why, access.ErrEarly) {
			why = a.early(ctx, at, why)
		}
		if errors.Is(why, access.ErrClock) || errors.Is(why, access.ErrStale) {
			return token.Claims{}, false, why
		}
	}
	if errors.Is(err, access.ErrUnknown) {
		known := func() bool { return a.knowsSubject(ctx, at, text) }
		err = a.learn(ctx, known, func(ctx context.Context) error {
			claims, active, err = a.gate.Introspect(ctx, at, asker, scopes, text)
			return err
		})
	}
	if errors.Is(err, access.ErrUnknown) {
		if a.farFromHome(ctx) {
			err = errNotArrived()
		} else {
			err = nil // the authority does not know it either
		}
	}
	if err != nil || !active {
		return token.Claims{}, false, err
	}
	if a.denied.has(id.ID(claims.Subject), claims.Version) || a.denied.has(id.ID(claims.PeerID), 0) {
		return token.Claims{}, false, nil
	}
	granted, err := credential.SplitScopes(claims.Scope)
	if err == nil {
		err = a.fresh(at, granted)
	}
	return claims, err == nil, err
}

// Authorize implements httpapi.Sidecar.
func (a *Agent) Authorize(ctx context.Context, at time.Time, r httpapi.Attempt) (httpapi.Allowed, error) {
	if r.AtOnce {
		ctx = a.hurried
	}
	if r.Token == "" {
		return a.authorizeClient(ctx, at, r)
	}
	c, err := a.check(ctx, at, r.Token, r.Audience)
	if r.Audience != "" && errors.Is(err, access.ErrAudience) {
		return httpapi.Allowed{}, access.ErrForbidden
	}
	if err != nil {
		return httpapi.Allowed{}, err
	}
	if c.Peer != nil {
		return httpapi.Allowed{}, access.ErrForbidden
	}
	if err := a.suffices(at, c.Scopes, r.Scopes); err != nil {
		return httpapi.Allowed{}, err
	}
	return httpapi.Allowed{
		ClientID: c.Claims.ClientID, Credential: c.Claims.Subject, Scope: c.Claims.Scope, Version: c.Claims.Version, Age: a.replica.Age(at),
	}, nil
}

// authorizeClient is Authorize for who shows a secret.
func (a *Agent) authorizeClient(ctx context.Context, at time.Time, r httpapi.Attempt) (httpapi.Allowed, error) {
	c, err := a.Authenticate(ctx, at, r.Proof)
	if errors.Is(err, access.ErrBeyond) { // a proxy's question is not passed on
		err = errNotArrived()
	}
	if err != nil {
		return httpapi.Allowed{}, err
	}
	if err := a.suffices(at, c.Scopes(), r.Scopes); err != nil {
		return httpapi.Allowed{}, err
	}
	return httpapi.Allowed{
		ClientID: c.ClientID(), Credential: c.ID().String(), Scope: c.Scopes().String(), Version: c.Number(), Age: a.replica.Age(at),
	}, nil
}

// suffices: the scopes that are there cover those that are asked for, and the copy is fresh enough for these; for all that
// are there, where none is asked for.
func (a *Agent) suffices(at time.Time, has, wanted credential.Scopes) error {
	if !has.Cover(wanted) {
		return access.ErrForbidden
	}
	if len(wanted) == 0 {
		wanted = has
	}
	return a.fresh(at, wanted)
}
