package credential

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"strings"
)

const (
	secretPrefix = "sec_"
	randomLen    = 43 // base62 digits of 256 random bits
	sumLen       = 6  // base62 digits of a CRC-32
	secretLen    = len(secretPrefix) + randomLen + sumLen
	base62       = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	redacted     = "[redacted]"

	hashDomain   = "keyturn-secret-v1\n"
	digestDomain = "keyturn-digest-v1\n"
)

// ErrSecretForm says that a text is not a secret of ours: wrong prefix, length, alphabet or checksum. It never repeats
// the text.
var ErrSecretForm = errors.New("not a keyturn secret: want sec_ and 49 letters and digits, with a valid checksum")

// Secret is what a client proves itself with: "sec_", 43 base62 digits of 256 random bits, and 6 base62 digits of
// CRC-32 (IEEE) over all before them. It prints as "[redacted]" everywhere; Reveal is the only way to its text.
//
// The text is behind a pointer because fmt calls no method of a value in an unexported field of another struct: it prints
// what it finds there, and of a pointer that is the address. So == says nothing about two secrets: compare their hashes.
type Secret struct{ text *string }

// NewSecret makes a secret from the system's random source.
func NewSecret() Secret {
	var random [32]byte
	rand.Read(random[:]) // never fails: crypto/rand aborts the program instead
	body := secretPrefix + pad62(new(big.Int).SetBytes(random[:]), randomLen)
	return secretOf(body + checksum(body))
}

// ParseSecret reads a secret's text, or returns ErrSecretForm.
func ParseSecret(text string) (Secret, error) {
	if len(text) != secretLen || !strings.HasPrefix(text, secretPrefix) {
		return Secret{}, ErrSecretForm
	}
	for i := len(secretPrefix); i < secretLen; i++ {
		if !isBase62(text[i]) {
			return Secret{}, ErrSecretForm
		}
	}
	body := text[:secretLen-sumLen]
	if checksum(body) != text[secretLen-sumLen:] {
		return Secret{}, ErrSecretForm
	}
	return secretOf(text), nil
}

func secretOf(text string) Secret { return Secret{&text} }

// Reveal returns the secret's text, "" for no secret. Whoever calls it answers for where the text goes.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return *s.text
}

// IsZero reports whether s is no secret at all.
func (s Secret) IsZero() bool { return s.text == nil }

// Hash is what an authority keeps of s: SHA-256 with a domain prefix. 256 random bits need no slow hash.
func (s Secret) Hash() Hash { return sha256.Sum256([]byte(hashDomain + s.Reveal())) }

// String implements fmt.Stringer without the secret.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer without the secret.
func (Secret) GoString() string { return redacted }

// Format implements fmt.Formatter, so that no verb prints the secret.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements encoding.TextMarshaler without the secret: JSON and loggers get "[redacted]".
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Hash is a secret's hash. Who holds it cannot find the secret, but could answer for it: it is kept apart from the
// records and printed nowhere.
type Hash [sha256.Size]byte

// Equal compares in constant time.
func (h Hash) Equal(other Hash) bool { return subtle.ConstantTimeCompare(h[:], other[:]) == 1 }

// Digest names h without being of any use to authenticate.
func (h Hash) Digest() Digest {
	sum := sha256.Sum256(append([]byte(digestDomain), h[:]...))
	return Digest(base64.RawURLEncoding.EncodeToString(sum[:]))
}

// String implements fmt.Stringer without the hash.
func (Hash) String() string { return redacted }

// Format implements fmt.Formatter, so that no verb but %p, which vet refuses here, prints the hash. Keep a Hash in exported
// fields: fmt calls no method of what it finds in others.
func (Hash) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements encoding.TextMarshaler without the hash.
func (Hash) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Digest is the name of one version's proof inside records: the digest of a secret's hash, or "jwk:" and the RFC 7638
// thumbprint of a public key. It authenticates nobody.
type Digest string

func checksum(body string) string {
	var digits [sumLen]byte
	rest := crc32.ChecksumIEEE([]byte(body))
	for i := sumLen - 1; i >= 0; i-- {
		digits[i] = base62[rest%uint32(len(base62))]
		rest /= uint32(len(base62))
	}
	return string(digits[:])
}

func pad62(n *big.Int, width int) string {
	digits := make([]byte, width)
	base, rest := big.NewInt(int64(len(base62))), new(big.Int)
	for i := width - 1; i >= 0; i-- {
		n, rest = new(big.Int).QuoRem(n, base, rest)
		digits[i] = base62[rest.Int64()]
	}
	return string(digits)
}

func isBase62(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}
