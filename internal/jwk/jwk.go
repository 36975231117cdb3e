// Package jwk reads and writes signature keys as JSON Web Keys (RFC 7517; RFC 7518 §6; RFC 8037 §2) and names them by
// their RFC 7638 thumbprints. It knows three kinds: EC on P-256 for ES256, OKP on Ed25519 for EdDSA, and RSA with 2048
// to 4096 bits for RS256. A key has exactly one algorithm, so nobody ever has to ask a token for it.
//
// It signs nothing, verifies nothing, and reads no files. Its errors say what is wrong with a key and never hold any
// part of one.
package jwk

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
)

const (
	minModulus  = 2048  // bits
	maxModulus  = 4096  // bits: a larger one only makes verifiers slow
	minExponent = 65537 // FIPS 186-5 §5.1
	coordinate  = 32    // bytes of a number on P-256
)

// Key is a public key with its algorithm and its name. The zero Key is none: in JSON it is null. A Key prints as its
// thumbprint.
type Key struct {
	pub  crypto.PublicKey
	wire wire
}

// wire is a JWK with its members in the order in which they are written.
type wire struct {
	Kty string `json:"kty"`
	Crv string `json:"crv,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
	N   string `json:"n,omitempty"`
	E   string `json:"e,omitempty"`
	Kid string `json:"kid"`
	Alg string `json:"alg"`
	Use string `json:"use"`

	D  string `json:"d,omitempty"`
	P  string `json:"p,omitempty"`
	Q  string `json:"q,omitempty"`
	DP string `json:"dp,omitempty"`
	DQ string `json:"dq,omitempty"`
	QI string `json:"qi,omitempty"`
}

// New returns the Key of an *ecdsa.PublicKey on P-256, an ed25519.PublicKey or an *rsa.PublicKey. It copies pub. An
// error says what rules the key out: its type, its size, or a point that is not on its curve.
func New(pub crypto.PublicKey) (Key, error) {
	k, err := newKey(pub)
	if err != nil {
		return Key{}, err
	}
	k.wire.Kid = k.wire.thumbprint()
	k.wire.Use = "sig"
	return k, nil
}

func newKey(pub crypto.PublicKey) (Key, error) {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		return newEC(pub)
	case ed25519.PublicKey:
		return newEd25519(pub)
	case *rsa.PublicKey:
		return newRSA(pub)
	}
	return Key{}, fmt.Errorf("jwk: %w: a %T", errUnsupported, pub)
}

func newEC(pub *ecdsa.PublicKey) (Key, error) {
	if pub == nil || pub.Curve != elliptic.P256() {
		return Key{}, fmt.Errorf("jwk: %w: an EC key that is not on P-256", errUnsupported)
	}
	point, err := pub.Bytes()
	if err != nil {
		return Key{}, errors.New("jwk: the point is not on P-256")
	}
	own, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return Key{}, errors.New("jwk: the point is not on P-256")
	}
	x, y := point[1:1+coordinate], point[1+coordinate:]
	return Key{own, wire{Kty: "EC", Crv: "P-256", X: encode(x), Y: encode(y), Alg: "ES256"}}, nil
}

func newEd25519(pub ed25519.PublicKey) (Key, error) {
	if !onEd25519(pub) {
		return Key{}, errors.New("jwk: not a point on Ed25519 that can be a key")
	}
	return Key{slices.Clone(pub), wire{Kty: "OKP", Crv: "Ed25519", X: encode(pub), Alg: "EdDSA"}}, nil
}

func newRSA(pub *rsa.PublicKey) (Key, error) {
	if pub == nil || pub.N == nil || pub.N.Sign() < 0 {
		return Key{}, errors.New("jwk: an RSA key without a modulus")
	}
	if n := pub.N.BitLen(); n < minModulus || n > maxModulus {
		return Key{}, fmt.Errorf("jwk: %w: an RSA key of %d bits, not %d to %d", errUnsupported, n, minModulus, maxModulus)
	}
	if pub.N.Bit(0) == 0 {
		return Key{}, errors.New("jwk: the RSA modulus is even")
	}
	if pub.E < minExponent || pub.E > math.MaxInt32 || pub.E%2 == 0 {
		return Key{}, fmt.Errorf("jwk: the RSA exponent is not an odd number from %d to %d", minExponent, math.MaxInt32)
	}
	own := &rsa.PublicKey{N: new(big.Int).Set(pub.N), E: pub.E}
	e := big.NewInt(int64(pub.E)).Bytes()
	return Key{own, wire{Kty: "RSA", N: encode(pub.N.Bytes()), E: encode(e), Alg: "RS256"}}, nil
}

// Public returns the key for the crypto packages: an *ecdsa.PublicKey, an ed25519.PublicKey or an *rsa.PublicKey, nil
// for the zero Key. It is shared with k: read it only.
func (k Key) Public() crypto.PublicKey { return k.pub }

// Alg returns the one algorithm of the key as JWTs name it (RFC 7518 §3.1, RFC 8037 §3.1): ES256, EdDSA or RS256.
func (k Key) Alg() string { return k.wire.Alg }

// ID returns the SHA-256 thumbprint (RFC 7638) in base64url without padding: 43 characters, or "" for the zero Key.
func (k Key) ID() string { return k.wire.Kid }

// String returns what ID returns.
func (k Key) String() string { return k.wire.Kid }

// IsZero says that k is none.
func (k Key) IsZero() bool { return k.pub == nil }

// Equal says that k and other are the same key, or both none.
func (k Key) Equal(other Key) bool { return k.wire == other.wire }

// MarshalJSON returns the members that the key's kind requires, then kid (the thumbprint), alg and "use":"sig", always
// in the same order. The zero Key is null.
func (k Key) MarshalJSON() ([]byte, error) {
	if k.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(k.wire)
}

// UnmarshalJSON reads what Parse reads, with its errors, and null as the zero Key.
func (k *Key) UnmarshalJSON(b []byte) (err error) {
	if string(b) == "null" {
		*k = Key{}
		return nil
	}
	*k, err = Parse(b)
	return err
}

// thumbprint hashes the required members of the key's kind, in the order of their names (RFC 7638 §3). No value needs
// escaping: all are base64url, or names from this package.
func (w wire) thumbprint() string {
	var canonical string
	switch w.Kty {
	case "EC":
		canonical = fmt.Sprintf(`{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`, w.Crv, w.X, w.Y)
	case "OKP":
		canonical = fmt.Sprintf(`{"crv":"%s","kty":"OKP","x":"%s"}`, w.Crv, w.X)
	case "RSA":
		canonical = fmt.Sprintf(`{"e":"%s","kty":"RSA","n":"%s"}`, w.E, w.N)
	}
	sum := sha256.Sum256([]byte(canonical))
	return encode(sum[:])
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
