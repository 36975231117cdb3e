package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/token"
)

// Errors of the package.
var (
	// ErrNotBootstrapped says that there is no cluster yet.
	ErrNotBootstrapped = errors.New("the cluster is not bootstrapped")
	// ErrUnknown says that there is no such credential or peer, or no such key of an authority.
	ErrUnknown = errors.New("no such credential, peer or key")
	// ErrUnavailable says that the answer cannot be known at the moment, which is neither yes nor no.
	ErrUnavailable = errors.New("not available at the moment")
	// ErrClock says that the clock is known to be wrong, so no deadline can be judged. It matches ErrUnavailable.
	ErrClock = fmt.Errorf("%w: the clock is behind the newest record", ErrUnavailable)
	// ErrRefused says that a client did not prove who it is. It is credential.ErrRefused, so that a RetiredError matches it.
	ErrRefused = credential.ErrRefused
	// ErrToken says that a token is malformed, expired, dead, or not for this audience.
	ErrToken = errors.New("invalid token")
	// ErrAudience says that a token is good, and for another audience. It matches ErrToken.
	ErrAudience = fmt.Errorf("%w: it is for another audience", ErrToken)
	// ErrEarly says that a token is well signed, and from the future by more than Leeway: a clock is wrong, be it that of the
	// issuer or the one here. It matches ErrToken.
	ErrEarly = fmt.Errorf("%w: it is from the future: a clock is wrong", ErrToken)
	// ErrScope says that a scope is malformed or beyond what the client has.
	ErrScope = errors.New("invalid scope")
	// ErrRequest says that a request cannot be understood; the text names what is wrong.
	ErrRequest = errors.New("invalid request")
	// ErrForbidden says that a token is good and lacks the scope.
	ErrForbidden = errors.New("insufficient scope")
	// ErrBeyond says that this peer cannot do it: issue tokens beyond its max_scopes, or claim an assertion. An authority can.
	ErrBeyond = errors.New("only the authority can answer this")
	// ErrStale says that this peer's copy of the ledgers is too old for an answer, which is neither yes nor no. The text gives
	// the reason.
	ErrStale = errors.New("this copy of the ledgers cannot tell")
)

// View is the state that decisions are made on. Its answers are shared: nobody changes them.
type View interface {
	// Cluster returns the cluster, or ErrNotBootstrapped, or ErrUnavailable.
	Cluster(ctx context.Context) (*Cluster, error)
	// Credential returns a credential, with the hashes that are there at instant at, or ErrUnknown, or ErrUnavailable.
	Credential(ctx context.Context, at time.Time, credential id.ID) (*credential.Credential, error)
	// Peer returns a peer, be it removed, or ErrUnknown, or ErrUnavailable.
	Peer(ctx context.Context, at time.Time, peer id.ID) (*peer.Peer, error)
}

// Cluster is a snapshot of the cluster's state, made ready for checking tokens.
type Cluster struct {
	*ledger.Cluster
	keys    *token.KeySet
	all     *token.KeySet // retired keys too: only for proof of an earlier caller
	issuers map[string]id.ID
}

// NewCluster prepares c. It keeps c and does not change it.
func NewCluster(c *ledger.Cluster) *Cluster {
	var live, all []jwk.Key
	issuers := map[string]id.ID{}
	for _, k := range c.Keys {
		all = append(all, k.Key)
		issuers[k.Key.ID()] = k.PeerID
		if k.RetiredAt.IsZero() {
			live = append(live, k.Key)
		}
	}
	return &Cluster{Cluster: c, keys: token.NewKeySet(live), all: token.NewKeySet(all), issuers: issuers}
}

// JWKS returns the keys that tokens are checked with: published and not retired (RFC 7517 §5).
func (c *Cluster) JWKS() jwk.Set {
	set := jwk.Set{Keys: []jwk.Key{}}
	for _, k := range c.Keys {
		if k.RetiredAt.IsZero() {
			set.Keys = append(set.Keys, k.Key)
		}
	}
	return set
}

func isToken(err error) bool { return errors.Is(err, ErrToken) }
