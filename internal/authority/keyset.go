package authority

import (
	"context"
	"time"

	"github.com/keyturn/keyturn/internal/jwk"
)

// KeySet returns every key that signs tokens of the cluster: its own that are not retired (RFC 7517 §5). It returns
// access.ErrNotBootstrapped or access.ErrUnavailable.
func (a *Authority) KeySet(ctx context.Context, _ time.Time) (jwk.Set, error) {
	c, err := a.Cluster(ctx)
	if err != nil {
		return jwk.Set{}, err
	}
	return c.JWKS(), nil
}
