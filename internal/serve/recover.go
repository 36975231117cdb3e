package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
)

// Recover mints the next version of the shared credential from the data directory alone, for when every admin secret is
// lost. It needs the directory for itself: while somebody serves it, the error is bolt.ErrLocked. The record names the
// reason and the instant now; whoever can read the directory may do this, so there is no other actor.
func Recover(ctx context.Context, path, reason string, now time.Time) (done authority.Rotation, err error) {
	if err := credential.CheckReason(reason); err != nil {
		return authority.Rotation{}, err
	}
	d, err := openDir(path, toRecover)
	if err != nil {
		return authority.Rotation{}, err
	}
	a, err := authority.Open(ctx, d.store, d.custody, authority.Options{SoleWriter: true})
	if err != nil {
		return authority.Rotation{}, errors.Join(err, d.store.Close())
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	return a.Recover(ctx, authority.Origin{
		At: now.UTC().Truncate(time.Second), RequestID: rand.Text(), Source: "local", Reason: reason,
	})
}
