// Package license parses, verifies and issues licenses: JSON objects that say how far a cluster may grow and until
// when, signed by a vendor with Ed25519 over their RFC 8785 form without the signature. It is the only importer of
// github.com/gowebpki/jcs.
//
// It trusts no key by itself, reads no clock and no files, and enforces no limit. Its errors wrap ErrMalformed or
// ErrUntrusted, but for those of Renews.
package license

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
)

var (
	// ErrMalformed says that something is no license: its form or a value in it is wrong.
	ErrMalformed = errors.New("malformed license")
	// ErrUntrusted says that no trusted key signed this license.
	ErrUntrusted = errors.New("untrusted license")
)

// maxLimit is the largest integer that RFC 8785 keeps apart from its neighbours (§3.2.2.3: numbers are IEEE doubles).
// Above it two different licenses would have one signature.
const maxLimit = 1<<53 - 1

// License is what a vendor grants to a customer. Parse checks its form, and only Verify its signature.
type License struct {
	LicenseID  id.ID // of kind id.License
	CustomerID id.ID // of kind id.Customer

	IssuedAt  time.Time // UTC, whole seconds, like ExpiresAt
	ExpiresAt time.Time // from this instant on the license is expired; after IssuedAt

	MaxNodes    int // peers; from 0 to 2^53-1, like MaxServices
	MaxServices int // services

	KeyID     string // RFC 7638 thumbprint of the key that signed, "" where the license does not say
	Signature []byte // 64 bytes, Ed25519
}

// Issue returns l with KeyID and Signature filled in for signer, whose key has to be Ed25519. Its times are cut to whole
// seconds, in UTC. A value that Parse would refuse is ErrMalformed, and so is a signer of another kind. A signer that
// fails gives its own error; one that signs with another key than it shows gives ErrUntrusted.
func Issue(signer crypto.Signer, l License) (License, error) {
	key, err := keyOf(signer)
	if err != nil {
		return License{}, err
	}
	l.IssuedAt = l.IssuedAt.UTC().Truncate(time.Second)
	l.ExpiresAt = l.ExpiresAt.UTC().Truncate(time.Second)
	l.KeyID = key.ID()
	signed, err := l.signed()
	if err != nil {
		return License{}, err
	}
	if l.Signature, err = signer.Sign(rand.Reader, signed, crypto.Hash(0)); err != nil {
		return License{}, fmt.Errorf("license %s: sign: %w", l.LicenseID, err)
	}
	if err := l.Verify([]jwk.Key{key}); err != nil {
		return License{}, err
	}
	return l, nil
}

// keyOf returns the public key of signer. An ed25519.PrivateKey of the wrong length would panic when it is asked.
func keyOf(signer crypto.Signer) (jwk.Key, error) {
	private, raw := signer.(ed25519.PrivateKey)
	if signer == nil || raw && len(private) != ed25519.PrivateKeySize {
		return jwk.Key{}, fmt.Errorf("%w: the signer is no Ed25519 key", ErrMalformed)
	}
	pub, ok := signer.Public().(ed25519.PublicKey)
	if !ok {
		return jwk.Key{}, fmt.Errorf("%w: the signer is no Ed25519 key", ErrMalformed)
	}
	key, err := jwk.New(pub)
	if err != nil {
		return jwk.Key{}, fmt.Errorf("%w: the signer: %w", ErrMalformed, err)
	}
	return key, nil
}

// Verify says whether one of vendors signed l: the key that KeyID names, or any where l does not say. Keys that are not
// Ed25519 count for nothing. The error is ErrUntrusted, or ErrMalformed where a value of l is not allowed.
func (l License) Verify(vendors []jwk.Key) error {
	signed, err := l.signed()
	if err != nil {
		return err
	}
	known := false
	for _, vendor := range vendors {
		pub, ok := vendor.Public().(ed25519.PublicKey)
		if !ok || l.KeyID != "" && l.KeyID != vendor.ID() {
			continue
		}
		if ed25519.Verify(pub, signed, l.Signature) {
			return nil
		}
		known = true
	}
	switch {
	case known:
		return fmt.Errorf("%w: %s: the signature does not fit", ErrUntrusted, l.LicenseID)
	case l.KeyID != "":
		return fmt.Errorf("%w: %s: key %.64q is not one of the trusted vendor keys", ErrUntrusted, l.LicenseID, l.KeyID)
	}
	return fmt.Errorf("%w: %s: there is no trusted vendor key", ErrUntrusted, l.LicenseID)
}

// Expired says whether l has expired at that instant. At exactly ExpiresAt it has.
func (l License) Expired(at time.Time) bool { return !at.Before(l.ExpiresAt) }

// Renews returns nil where l may take the place of old: it is for the same customer and was not issued before old. It
// does not look at signatures.
func (l License) Renews(old License) error {
	switch {
	case l.CustomerID != old.CustomerID:
		return fmt.Errorf("license %s is for customer %s, the present one for %s", l.LicenseID, l.CustomerID, old.CustomerID)
	case l.IssuedAt.Before(old.IssuedAt):
		return fmt.Errorf("license %s was issued at %s, before the present one (%s)",
			l.LicenseID, l.IssuedAt.Format(time.RFC3339), old.IssuedAt.Format(time.RFC3339))
	}
	return nil
}

// Equal says that l and other are the same license with the same signature.
func (l License) Equal(other License) bool {
	return l.LicenseID == other.LicenseID && l.CustomerID == other.CustomerID &&
		l.IssuedAt.Equal(other.IssuedAt) && l.ExpiresAt.Equal(other.ExpiresAt) &&
		l.MaxNodes == other.MaxNodes && l.MaxServices == other.MaxServices &&
		l.KeyID == other.KeyID && bytes.Equal(l.Signature, other.Signature)
}

// check says what Parse would not let through, apart from the signature.
func (l License) check() error {
	if _, err := id.Parse(id.License, string(l.LicenseID)); err != nil {
		return fmt.Errorf("%w: license_id: %w", ErrMalformed, err)
	}
	if _, err := id.Parse(id.Customer, string(l.CustomerID)); err != nil {
		return fmt.Errorf("%w: customer_id: %w", ErrMalformed, err)
	}
	if !writable(l.IssuedAt) || !writable(l.ExpiresAt) {
		return fmt.Errorf("%w: its times are not whole seconds of the years 1970 to 9999", ErrMalformed)
	}
	if !l.ExpiresAt.After(l.IssuedAt) {
		return fmt.Errorf("%w: it expires before it is issued, or at once", ErrMalformed)
	}
	if min(l.MaxNodes, l.MaxServices) < 0 || int64(max(l.MaxNodes, l.MaxServices)) > maxLimit {
		return fmt.Errorf("%w: its limits are not from 0 to %d", ErrMalformed, maxLimit)
	}
	return nil
}

func writable(t time.Time) bool {
	year := t.UTC().Year()
	return t.Nanosecond() == 0 && year >= 1970 && year <= 9999
}
