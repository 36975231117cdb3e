package jwk

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
)

const maxKey = 8 << 10 // bytes of one JWK

// errUnsupported marks a key that may be right but is of no use here. A set skips those (RFC 7517 §5).
var errUnsupported = errors.New("unsupported key")

// Parse reads one public JWK of at most 8 KiB. It refuses private members, kinds and curves that the package does not
// know, numbers that are too short or too long, points that are not on their curve, a use other than sig, an alg that
// is not the key's, key_ops without verify, a member given twice, and anything after the object. It ignores kid and
// members that it does not know.
func Parse(b []byte) (Key, error) {
	m, err := readMembers(b, maxKey)
	if err != nil {
		return Key{}, err
	}
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if m.has(name) {
			return Key{}, fmt.Errorf("jwk: a public key must not have the private member %s", name)
		}
	}
	return m.key("verify")
}

// members are those of one JSON object, by their exact names.
type members map[string]json.RawMessage

// readMembers reads b as one object. encoding/json alone would take the last of two equal members, and match names in
// any case.
func readMembers(b []byte, limit int) (members, error) {
	if len(b) > limit {
		return nil, fmt.Errorf("jwk: more than %d bytes", limit)
	}
	if !json.Valid(b) {
		return nil, errors.New("jwk: not JSON, or more than one value")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("jwk: not a JSON object")
	}
	m := members{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		var value json.RawMessage
		if err != nil || !ok || d.Decode(&value) != nil {
			return nil, errors.New("jwk: not a JSON object")
		}
		if m.has(name) {
			return nil, errors.New("jwk: a member is given twice")
		}
		m[name] = value
	}
	return m, nil
}

func (m members) has(name string) bool {
	_, ok := m[name]
	return ok
}

// text returns a string member, "" where there is none or it is no string.
func (m members) text(name string) string {
	var s string
	if json.Unmarshal(m[name], &s) != nil {
		return ""
	}
	return s
}

// bytes returns a base64url member (RFC 7518 §2) in its only spelling. The decoder would skip line ends.
func (m members) bytes(name string) ([]byte, error) {
	s := m.text(name)
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || s == "" || encode(b) != s {
		return nil, fmt.Errorf("jwk: member %s is missing, or not base64url without padding", name)
	}
	return b, nil
}

// fixed returns a base64url member of exactly n bytes.
func (m members) fixed(name string, n int) ([]byte, error) {
	b, err := m.bytes(name)
	if err == nil && len(b) != n {
		return nil, fmt.Errorf("jwk: member %s has %d bytes, not %d", name, len(b), n)
	}
	return b, err
}

// number returns a Base64urlUInt (RFC 7518 §2) of at most maxModulus bits: no leading zero byte.
func (m members) number(name string) (*big.Int, error) {
	b, err := m.bytes(name)
	if err != nil {
		return nil, err
	}
	if b[0] == 0 || len(b) > maxModulus/8 {
		return nil, fmt.Errorf("jwk: member %s begins with a zero byte or has more than %d bytes", name, maxModulus/8)
	}
	return new(big.Int).SetBytes(b), nil
}

// key reads the public part. op is what key_ops has to hold where it is there.
func (m members) key(op string) (Key, error) {
	pub, err := m.public()
	if err != nil {
		return Key{}, err
	}
	k, err := New(pub)
	if err != nil {
		return Key{}, err
	}
	if err := m.fits(k, op); err != nil {
		return Key{}, err
	}
	return k, nil
}

func (m members) public() (crypto.PublicKey, error) {
	switch kty, crv := m.text("kty"), m.text("crv"); {
	case kty == "EC" && crv == "P-256":
		return m.ec()
	case kty == "OKP" && crv == "Ed25519":
		x, err := m.fixed("x", ed25519.PublicKeySize)
		return ed25519.PublicKey(x), err
	case kty == "RSA":
		return m.rsa()
	}
	return nil, fmt.Errorf("jwk: %w: not EC on P-256, OKP on Ed25519 or RSA", errUnsupported)
}

func (m members) ec() (*ecdsa.PublicKey, error) {
	x, err := m.fixed("x", coordinate)
	if err != nil {
		return nil, err
	}
	y, err := m.fixed("y", coordinate)
	if err != nil {
		return nil, err
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, errors.New("jwk: the point is not on P-256")
	}
	return pub, nil
}

func (m members) rsa() (*rsa.PublicKey, error) {
	n, err := m.number("n")
	if err != nil {
		return nil, err
	}
	e, err := m.number("e")
	if err != nil {
		return nil, err
	}
	if e.Cmp(big.NewInt(math.MaxInt32)) > 0 {
		return nil, errors.New("jwk: the RSA exponent is too large")
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}

// fits says whether use, alg and key_ops, where they are there, allow k to be used for op.
func (m members) fits(k Key, op string) error {
	if m.has("use") && m.text("use") != "sig" {
		return fmt.Errorf("jwk: %w: its use is not sig", errUnsupported)
	}
	if m.has("alg") && m.text("alg") != k.Alg() {
		return fmt.Errorf("jwk: %w: its alg is not %s", errUnsupported, k.Alg())
	}
	if !m.has("key_ops") {
		return nil
	}
	var ops []string
	if json.Unmarshal(m["key_ops"], &ops) != nil {
		return errors.New("jwk: key_ops is not an array of strings")
	}
	if !slices.Contains(ops, op) {
		return fmt.Errorf("jwk: %w: its key_ops lack %s", errUnsupported, op)
	}
	return nil
}
