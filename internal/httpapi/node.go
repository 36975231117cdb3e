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
	Cluster(ctx context.Context) (*access.Cluster, error)
	Authenticate(ctx context.Context, at time.Time, p access.Proof) (access.Client, error)
	Issue(ctx context.Context, at time.Time, c access.Client, r access.TokenRequest) (access.Token, error)
	Check(ctx context.Context, at time.Time, text, audience string) (access.Caller, error)
	Introspect(ctx context.Context, at time.Time, asker id.ID, scopes credential.Scopes, text string) (token.Claims, bool, error)

	// KeySet is every key that signs tokens of the cluster (RFC 7517 §5).
	KeySet(ctx context.Context, at time.Time) (jwk.Set, error)
	// Ready says what is not usable, by name; empty when all is well.
	Ready(ctx context.Context, at time.Time) map[string]string
	// Region is the region of the node's authority.
	Region() string
	// Self is the node's peer id.
	Self() id.ID
}

var _ Node = (*authority.Authority)(nil)
