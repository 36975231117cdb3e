package authority

import (
	"errors"
	"fmt"

	"github.com/keyturn/keyturn/internal/access"
)

// Errors of the package, beside those of access and credential.
var (
	ErrNotKnown            = errors.New("not found")
	ErrRaced               = errors.New("somebody else changed it at the same time: look at it and try again")
	ErrAlreadyBootstrapped = errors.New("the cluster is bootstrapped already")
	ErrBootstrapToken      = errors.New("bootstrapping takes the bootstrap token")
	ErrSelfRevocation      = errors.New("this is what you are authenticated with: use another credential or version to revoke it")
	ErrLastAdmin           = errors.New("nothing that can write credentials would be left: create or rotate one first")
	ErrLicense             = errors.New("the license is not valid here")
	ErrLicenseExpired      = errors.New("the license has expired")
	ErrLicenseLimit        = errors.New("the license is used up")
	ErrJoinKey             = errors.New("the join key lets nobody in")
	ErrNotHome             = errors.New("another region is home") // only home may do this
	ErrMismatch            = errors.New("this idempotency key was used for another request")
	// ErrInput is access.ErrRequest: what was asked cannot be done as it was asked.
	ErrInput = access.ErrRequest
)

// unavailable hides a store's error behind ErrUnavailable, and keeps it for the log.
func unavailable(doing string, err error) error {
	return fmt.Errorf("%w: %s: %w", access.ErrUnavailable, doing, err)
}
