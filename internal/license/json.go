package license

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gowebpki/jcs"

	"github.com/keyturn/keyturn/internal/id"
)

const (
	maxSize    = 64 << 10 // bytes of a license file
	timeLayout = "2006-01-02T15:04:05Z"
)

// wire is a license as JSON, its members in the order in which they are written.
type wire struct {
	LicenseID   id.ID  `json:"license_id"`
	CustomerID  id.ID  `json:"customer_id"`
	IssuedAt    string `json:"issued_at"`
	ExpiresAt   string `json:"expires_at"`
	MaxNodes    int    `json:"max_nodes"`
	MaxServices int    `json:"max_services"`
	KeyID       string `json:"key_id,omitempty"`
	Signature   string `json:"signature,omitempty"`
}

// Parse reads a license of at most 64 KiB. Every member but key_id has to be there. It refuses unknown members, a member
// given twice, anything after the object, times that are not YYYY-MM-DDThh:mm:ssZ (RFC 3339 §5.6), a license that
// expires before it is issued, negative limits, and a signature that is not 64 bytes in base64url. The error wraps
// ErrMalformed. The signature may still be anybody's: see Verify.
func Parse(b []byte) (License, error) {
	var l License
	values, err := members(b)
	if err != nil {
		return l, err
	}
	for _, name := range slices.Sorted(maps.Keys(values)) { // so that the same text gives the same error
		if err := l.set(name, values[name]); err != nil {
			return License{}, err
		}
	}
	for _, name := range []string{"license_id", "customer_id", "issued_at", "expires_at", "max_nodes", "max_services", "signature"} {
		if _, ok := values[name]; !ok {
			return License{}, fmt.Errorf("%w: %s is missing", ErrMalformed, name)
		}
	}
	if err := l.check(); err != nil {
		return License{}, err
	}
	return l, nil
}

// members reads b as one object. RFC 8785 wants I-JSON, so jcs refuses what encoding/json would let through: a name
// given twice, text that is not UTF-8, and halves of surrogate pairs. A map, unlike a struct, matches names exactly.
func members(b []byte) (map[string]json.RawMessage, error) {
	if len(b) > maxSize {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrMalformed, maxSize)
	}
	if _, err := jcs.Transform(b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var values map[string]json.RawMessage
	if json.Unmarshal(b, &values) != nil {
		return nil, fmt.Errorf("%w: not a JSON object", ErrMalformed)
	}
	return values, nil
}

// set puts the value of one member into l.
func (l *License) set(name string, value json.RawMessage) (err error) {
	switch name {
	case "license_id":
		err = decode(value, &l.LicenseID)
	case "customer_id":
		err = decode(value, &l.CustomerID)
	case "issued_at":
		l.IssuedAt, err = decodeTime(value)
	case "expires_at":
		l.ExpiresAt, err = decodeTime(value)
	case "max_nodes":
		err = decode(value, &l.MaxNodes)
	case "max_services":
		err = decode(value, &l.MaxServices)
	case "key_id":
		if err = decode(value, &l.KeyID); err == nil && l.KeyID == "" {
			err = errValue
		}
	case "signature":
		l.Signature, err = decodeSignature(value)
	default:
		return fmt.Errorf("%w: unknown member %.64q", ErrMalformed, name)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMalformed, name, err)
	}
	return nil
}

// MarshalJSON returns the license as Parse reads it, its members always in the same order.
func (l License) MarshalJSON() ([]byte, error) {
	w := l.unsigned()
	w.Signature = base64.RawURLEncoding.EncodeToString(l.Signature)
	return json.Marshal(w)
}

// UnmarshalJSON reads what Parse reads, with its errors.
func (l *License) UnmarshalJSON(b []byte) (err error) {
	*l, err = Parse(b)
	return err
}

// signed returns the bytes that the signature is over: the RFC 8785 form of l without the signature.
func (l License) signed() ([]byte, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	b, err := json.Marshal(l.unsigned())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	canonical, err := jcs.Transform(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return canonical, nil
}

func (l License) unsigned() wire {
	return wire{
		LicenseID: l.LicenseID, CustomerID: l.CustomerID,
		IssuedAt: l.IssuedAt.UTC().Format(timeLayout), ExpiresAt: l.ExpiresAt.UTC().Format(timeLayout),
		MaxNodes: l.MaxNodes, MaxServices: l.MaxServices, KeyID: l.KeyID,
	}
}

// errValue is all that is said of a value: those of encoding/json name Go types.
var errValue = errors.New("not a value that it can have")

// decode takes null for wrong, as encoding/json does not.
func decode(value json.RawMessage, to any) error {
	if string(value) == "null" || json.Unmarshal(value, to) != nil {
		return errValue
	}
	return nil
}

// decodeTime accepts one spelling of each instant, so that what was signed can be written again from the instant.
func decodeTime(value json.RawMessage) (time.Time, error) {
	var s string
	if err := decode(value, &s); err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(timeLayout, s)
	if err != nil || t.Format(timeLayout) != s {
		return time.Time{}, errors.New("want a time such as 2026-01-31T23:59:59Z")
	}
	return t, nil
}

// decodeSignature takes base64url with or without its padding: RFC 4648 §5 has it, JOSE does not.
func decodeSignature(value json.RawMessage) ([]byte, error) {
	var s string
	if err := decode(value, &s); err != nil {
		return nil, err
	}
	s = strings.TrimSuffix(s, "==")
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != ed25519.SignatureSize || base64.RawURLEncoding.EncodeToString(b) != s {
		return nil, fmt.Errorf("want %d bytes in base64url", ed25519.SignatureSize)
	}
	return b, nil
}
