package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/token"
)

// Lifetime of an access token, and the leeway between the clocks of two hosts.
const (
	Lifetime = time.Hour
	Leeway   = 30 * time.Second
)

// Gate lets clients in.
type Gate struct {
	view View
	o    Options
}

// Options of a Gate. Without Signer it issues nothing; without Claim it accepts no client assertion.
type Options struct {
	// Signer returns the key that signs tokens at instant at, and the peer that it belongs to.
	Signer func(ctx context.Context, at time.Time) (*token.Signer, id.ID, error)
	// Claim takes a key once until it expires; false when it is taken already.
	Claim func(ctx context.Context, key string, at, until time.Time) (bool, error)
	// ClockBehind reports whether the clock is known to be wrong at instant at: then no superseded secret is accepted.
	ClockBehind func(at time.Time) bool
	// PeerIssuer puts the id of the issuing peer into "iss" instead of the cluster's issuer URL.
	PeerIssuer bool
	// MayGrant reports whether this peer may issue tokens with these scopes at instant at. nil: whatever a client has.
	MayGrant func(ctx context.Context, at time.Time, scopes credential.Scopes) bool
}

// NewGate returns a Gate over a view.
func NewGate(view View, o Options) *Gate { return &Gate{view, o} }

// Proof is what a client shows to authenticate: a secret or an assertion. It prints as its client id.
type Proof struct {
	ClientID  string
	Secret    string `json:"-"`
	Assertion string `json:"-"` // RFC 7523 §2.2
}

// Format implements fmt.Formatter, so that no verb prints what proves the client.
func (p Proof) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "{%q [redacted]}", p.ClientID) }

// Client is a client that has authenticated with one version of its credential, or a peer that has with its identity.
type Client struct {
	Credential *credential.Credential
	Version    *credential.Version
	Peer       *peer.Peer // then the other two are nil
}

// ID is the client's credential, or the peer.
func (c Client) ID() id.ID {
	if c.Peer != nil {
		return c.Peer.ID
	}
	return c.Credential.ID
}

// ClientID is the client id of the version that was used, or the peer's id.
func (c Client) ClientID() string {
	if c.Peer != nil {
		return c.Peer.ID.String()
	}
	return c.Credential.ClientID(c.Version.Number)
}

// Number is the version that was used; 0 for a peer.
func (c Client) Number() int {
	if c.Peer != nil {
		return 0
	}
	return c.Version.Number
}

// Scopes are what the client can get a token for: its credential's, and ledger.read for a peer, which nobody else gets.
func (c Client) Scopes() credential.Scopes {
	if c.Peer != nil {
		return credential.NewScopes(credential.LedgerRead)
	}
	return c.Credential.Scopes
}

// unheard is the refusal of what is not known in this view: a copy of the ledgers may only not have it yet, and unknown is
// not revoked. It reads like any other refusal.
type unheard struct{}

func (unheard) Error() string { return ErrRefused.Error() }

func (unheard) Is(target error) bool { return target == ErrRefused || target == ErrUnknown }

// Authenticate says who p is. It returns ErrRefused, a *credential.RetiredError, ErrNotBootstrapped or ErrUnavailable. The
// ErrRefused is an ErrUnknown too where the view does not know what was shown, rather than knowing that it is dead.
// What has the wrong form is refused before any state is read.
func (g *Gate) Authenticate(ctx context.Context, at time.Time, p Proof) (Client, error) {
	if p.Assertion != "" {
		return g.assertion(ctx, at, p)
	}
	clientID, err := id.ParseClientID(p.ClientID)
	if err != nil {
		return Client{}, ErrRefused
	}
	secret, err := credential.ParseSecret(p.Secret)
	if err != nil {
		return Client{}, ErrRefused
	}
	if _, err := g.view.Cluster(ctx); err != nil {
		return Client{}, err
	}
	c, err := g.credential(ctx, at, clientID)
	if err != nil {
		return Client{}, err
	}
	version, err := c.Accept(secret, at)
	if err != nil && !c.Knows(secret, at) {
		err = unheard{}
	}
	if err != nil {
		return Client{}, err
	}
	if err := g.inTime(at, version); err != nil {
		return Client{}, err
	}
	return Client{Credential: c, Version: version}, nil
}

// credential finds the credential behind any of its client ids, and refuses a version that never was.
func (g *Gate) credential(ctx context.Context, at time.Time, clientID id.ClientID) (*credential.Credential, error) {
	c, err := g.view.Credential(ctx, at, clientID.Credential)
	if errors.Is(err, ErrUnknown) || err == nil && clientID.Version > c.Number() {
		return nil, unheard{}
	}
	return c, err
}

// inTime refuses to judge a deadline by a clock that is known to be wrong.
func (g *Gate) inTime(at time.Time, v *credential.Version) error {
	if !v.NotAfter.IsZero() && g.o.ClockBehind != nil && g.o.ClockBehind(at) {
		return fmt.Errorf("%w: the clock is behind the ledger, so no superseded secret can be judged", ErrUnavailable)
	}
	return nil
}
