package agent

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/token"
)

// ledgerRoute is the one route that answers who rebuilds a lost authority.
const ledgerRoute = "/v1/ledger"

// readingKey marks the context of a request for the ledgers; the value is a reading.
type readingKey struct{}

// reading is a request for the ledgers.
type reading struct {
	local bool // a process of this host asks for itself
}

// markReading lets Check know which requests are for the ledgers: what it lets in there is good for nothing else.
func markReading(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == ledgerRoute && r.Method == http.MethodGet {
			r = r.WithContext(context.WithValue(r.Context(), readingKey{}, reading{httpapi.FromThisHost(r)}))
		}
		next.ServeHTTP(w, r)
	})
}

// checkReader is Check for who reads the ledgers to rebuild an authority that is lost: who holds a ledger key of the cluster
// and shows a token made with it, or who can read this host's data directory and shows its control token. ok is false for
// anybody else, who is checked as everywhere. How old the copy is does not matter: it may be the best there is.
func (a *Agent) checkReader(ctx context.Context, at time.Time, text string) (c access.Caller, ok bool, err error) {
	r, ok := ctx.Value(readingKey{}).(reading)
	if !ok {
		return access.Caller{}, false, nil
	}
	if r.local && subtle.ConstantTimeCompare([]byte(text), []byte(a.control)) == 1 {
		return reader(&peer.Peer{ID: a.Self(), Role: peer.Sidecar}), true, nil
	}
	if !token.IsImport(text) {
		return access.Caller{}, false, nil
	}
	if err := a.checkImport(ctx, at, text); err != nil {
		return access.Caller{}, true, err
	}
	return reader(&peer.Peer{Role: peer.Authority}), true, nil
}

func reader(p *peer.Peer) access.Caller {
	return access.Caller{Peer: p, Scopes: credential.NewScopes(credential.LedgerRead)}
}

// checkImport holds an import token to the ledger keys that this copy trusts, to this cluster, to this peer, and to the time.
func (a *Agent) checkImport(ctx context.Context, at time.Time, text string) error {
	cluster, err := a.replica.Cluster(ctx)
	if err != nil {
		return err
	}
	t, err := token.NewKeySet(cluster.LedgerKeys).VerifyImport(text)
	leeway := int64(access.Leeway / time.Second)
	switch {
	case err != nil:
		err = fmt.Errorf("%w: it is not signed by a ledger key of this cluster", access.ErrToken)
	case t.ClusterID != cluster.ID.String() || t.Issuer != cluster.Issuer:
		err = fmt.Errorf("%w: it names another cluster or issuer", access.ErrToken)
	case t.Audience != a.Self().String():
		err = access.ErrAudience
	case t.ID == "":
		err = fmt.Errorf("%w: it has no jti", access.ErrToken)
	case t.IssuedAt > at.Unix()+leeway && a.clockBehind(at):
		err = access.ErrClock
	case t.IssuedAt > at.Unix()+leeway:
		err = fmt.Errorf("%w: it is from the future: a clock is wrong", access.ErrToken)
	case t.ExpiresAt > t.IssuedAt+token.MaxImport:
		err = fmt.Errorf("%w: it is good for more than %d seconds", access.ErrToken, token.MaxImport)
	case t.ExpiresAt <= at.Unix()-leeway:
		err = fmt.Errorf("%w: it has expired", access.ErrToken)
	}
	if err != nil {
		a.log.Warn().Err(err).Msg("an import token was refused")
		return err
	}
	a.log.Warn().Str("jti", t.ID).Msg("the copy of the ledgers is read with a ledger key: somebody rebuilds the authority")
	return nil
}
