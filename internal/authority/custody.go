package authority

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/token"
)

// ErrNoKey says that a custody does not hold a key: another one made it.
var ErrNoKey = errors.New("the key is not in this custody")

// Custody holds the private keys of an authority: in places of its own, or sealed in the records that publish them. All
// methods may be called from many goroutines. What they return in error holds no key material. An error that is not named
// here means that the key cannot be had at the moment.
type Custody interface {
	// Anchor returns the key that founded the cluster: trust in all others comes from it. A custody with places of its own
	// knows it from there. Another one looks for its own word among those that the ledger holds about the founders; anybody
	// who can write to the store may have put words of theirs beside it. ErrNoKey where there is none.
	Anchor(ctx context.Context, founders []jwk.Key, words [][]byte) (jwk.Key, error)

	// LedgerKey names the key that signs records; the zero Key where the ledger says which it is.
	LedgerKey() jwk.Key

	// Ledger opens the key that signs records of c. ErrNoKey where c trusts none that is in this custody.
	Ledger(ctx context.Context, c *ledger.Cluster) (ledger.Signer, error)

	// Found returns the key that founds a cluster where there is none yet: the same one each time until there is one.
	Found(ctx context.Context) (Founding, error)

	// Token opens the token key of c with that thumbprint. ErrNoKey where it is not in this custody.
	Token(ctx context.Context, c *ledger.Cluster, keyID string) (*token.Signer, error)

	// NewToken makes a token key for alg (ES256, EdDSA or RS256), or returns one that was made before and is not published.
	// It is on durable media before NewToken returns, or else it is Sealed and lasts once it is published.
	NewToken(ctx context.Context, alg string, published func(keyID string) bool) (NewKey, error)
}

// Founding is what a cluster is founded with. Sealed and Anchor go into the founding record; they are nil where a custody
// has places of its own.
type Founding struct {
	Signer ledger.Signer
	Sealed []byte // the private half
	Anchor []byte // the custody's word that this key is the founder
}

// NewKey is a key that is to be published. Sealed is its private half where the record has to carry it.
type NewKey struct {
	Key    jwk.Key
	Sealed []byte
}

// anchor finds out, once, which key founded the cluster whose records these are.
func (a *Authority) anchor(ctx context.Context, data [][]byte) error {
	if a.anchored.Load() {
		return nil
	}
	founders, words := ledger.Founders(data)
	key, err := a.custody.Anchor(ctx, founders, words)
	switch {
	case errors.Is(err, ErrNoKey):
		return errors.New("nothing in the ledger is this custody's word on who founded the cluster: the keys do not belong to this store")
	case err != nil:
		return unavailable("find the key that founded the cluster", err)
	}
	a.verifier.Anchor(key)
	a.anchored.Store(true)
	return nil
}

// ledgerKey opens the key that signs records.
func (a *Authority) ledgerKey(ctx context.Context) (ledger.Signer, error) {
	c := a.cluster.Load()
	if c == nil {
		f, err := a.custody.Found(ctx)
		return f.Signer, hidden("make the ledger key", err)
	}
	s, err := a.custody.Ledger(ctx, c.Cluster)
	if err == nil && !a.verifier.Trusts(s.KeyID()) {
		err = fmt.Errorf("%w: the ledger does not trust %s", ErrNoKey, s.KeyID())
	}
	return s, hidden("open the ledger key", err)
}

func hidden(doing string, err error) error {
	if err == nil || errors.Is(err, access.ErrUnavailable) {
		return err
	}
	return unavailable(doing, err)
}
