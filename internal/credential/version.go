package credential

import (
	"time"

	"github.com/keyturn/keyturn/internal/jwk"
)

// Status says how a credential or a version stands at an instant.
type Status string

// A credential is active, expired or revoked; a version is current, superseded, retired or revoked.
const (
	Active     Status = "active"
	Expired    Status = "expired"
	Revoked    Status = "revoked"
	Current    Status = "current"
	Superseded Status = "superseded"
	Retired    Status = "retired"
)

// Version is one secret, or one public key, of a credential, as the join of its records says.
type Version struct {
	Number    int
	Digest    Digest    // names it; two regions that rotated unheard of each other make two versions of one number
	Trunk     []Digest  // the emergencies that it is, or descends from, newest last
	Key       jwk.Key   // the public key of a private_key_jwt client; zero for a secret
	CreatedAt time.Time // UTC, whole seconds
	NotAfter  time.Time // from then on it is refused; zero: no deadline
	DeadSince time.Time // revoked by itself, or killed by an emergency; zero: not. The credential's own tombstone is apart
	Hash      *Hash     // the secret's hash; nil where it is gone, or was never fetched
	Region    string    // where its record stands
	Seq       uint64
	CreatedBy string // the client id that rotated, or created
}

// Dead reports whether the version has a tombstone of its own.
func (v *Version) Dead() bool { return !v.DeadSince.IsZero() }

// Closed reports whether the version's window is over at instant at: at exactly NotAfter it is.
func (v *Version) Closed(at time.Time) bool { return !v.NotAfter.IsZero() && !at.Before(v.NotAfter) }

// Acceptable reports whether the version's proof would be accepted at instant at, as far as the version itself says.
func (v *Version) Acceptable(at time.Time) bool {
	return !v.Dead() && !v.Closed(at) && (v.Hash != nil || !v.Key.IsZero())
}
