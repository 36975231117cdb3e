package httpapi

import (
	"context"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/token"
)

// Node answers what every peer of a cluster answers by itself: an authority, or a sidecar from its copy of the ledgers.
// Methods return the errors of access.Gate; those of a sidecar can be access.ErrStale too, or access.ErrBeyond for what its
// authority has to be asked.
type Node interface {
	// Cluster is access.View's.
	Cluster(ctx context.Context) (*access.Cluster, error)
	// Authenticate is access.Gate's.
	Authenticate(ctx context.Context, at time.Time, p access.Proof) (access.Client, error)
	// Issue is access.Gate's (RFC 9068).
	Issue(ctx context.Context, at time.Time, c access.Client, r access.TokenRequest) (access.Token, error)
	// Check is access.Gate's.
	Check(ctx context.Context, at time.Time, text, audience string) (access.Caller, error)
	// Introspect is access.Gate's (RFC 7662).
	Introspect(ctx context.Context, at time.Time, asker id.ID, scopes credential.Scopes, text string) (token.Claims, bool, error)

	// KeySet is every key that signs tokens of the cluster (RFC 7517 §5).
	KeySet(ctx context.Context, at time.Time) (jwk.Set, error)
	// LedgerAfter is a page of the ledgers for a caller with ledger.read; see authority.Authority.
	LedgerAfter(ctx context.Context, caller access.Caller, at time.Time, after authority.Cursor, limit int) (authority.LedgerPage, error)
	// Changed returns a channel that is closed when there is more in the ledgers.
	Changed() <-chan struct{}
	// Ready says what is not usable, by name; empty when all is well.
	Ready(ctx context.Context, at time.Time) map[string]string
	// Region is the region of the node's authority.
	Region() string
	// Self is the node's peer id.
	Self() id.ID
}

var _ Node = (*authority.Authority)(nil)
