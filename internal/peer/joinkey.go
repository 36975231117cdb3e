package peer

import (
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
)

// How long a join key can be used.
const (
	DefaultTTL = 10 * time.Minute
	MaxTTL     = 24 * time.Hour
)

// KeyStatus says how a join key stands at an instant.
type KeyStatus string

// A join key is active until it is used, revoked or expired: whichever came first stays.
const (
	KeyActive  KeyStatus = "active"
	KeyUsed    KeyStatus = "used"
	KeyRevoked KeyStatus = "revoked"
	KeyExpired KeyStatus = "expired"
)

// JoinKey is what the records of one join key say together. The key itself, a JWT, is kept nowhere.
type JoinKey struct {
	ID        id.ID
	Name      string
	Region    string // "": any
	MaxScopes credential.Scopes
	CreatedAt time.Time
	CreatedBy string // a client id
	ExpiresAt time.Time
	UsedBy    id.ID // the peer that joined with it; "" where none has
	RevokedAt time.Time
}

// Status is active, used, revoked or expired.
func (k *JoinKey) Status(at time.Time) KeyStatus {
	switch {
	case k.UsedBy != "":
		return KeyUsed
	case !k.RevokedAt.IsZero():
		return KeyRevoked
	case !at.Before(k.ExpiresAt):
		return KeyExpired
	}
	return KeyActive
}

// CheckTTL returns credential.ErrInput for a time to live that is not within 1 s and 24 h.
func CheckTTL(ttl time.Duration) error {
	if ttl < time.Second || ttl > MaxTTL {
		return fmt.Errorf("%w: ttl_seconds must be 1 to %d (24 h)", credential.ErrInput, int(MaxTTL/time.Second))
	}
	return nil
}

// DefaultScopes are the max_scopes of a join key that names none: what ends in .read of what its maker's token has.
func DefaultScopes(has credential.Scopes) credential.Scopes {
	var reads []credential.Scope
	for _, s := range slices.Concat(has, credential.KnownScopes()) {
		if s.Read() && s != credential.LedgerRead && has.Allow(s) {
			reads = append(reads, s)
		}
	}
	return credential.NewScopes(reads...)
}
