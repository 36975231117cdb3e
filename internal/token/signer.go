package token

import (
	"crypto"
	"fmt"

	"github.com/golang-jwt/jwt/v5"

	"github.com/keyturn/keyturn/internal/jwk"
)

// accessType is the header's typ (RFC 9068 §2.1).
const accessType = "at+jwt"

// Signer signs access tokens with one key.
type Signer struct {
	key    crypto.Signer
	public jwk.Key
	method jwt.SigningMethod
}

// NewSigner returns a Signer for a P-256, Ed25519 or RSA private key: ES256, EdDSA or RS256.
func NewSigner(key crypto.Signer) (*Signer, error) {
	public, err := jwk.New(key.Public())
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	return &Signer{key, public, jwt.GetSigningMethod(public.Alg())}, nil
}

// Key is the public half.
func (s *Signer) Key() jwk.Key { return s.public }

// Sign returns the token in compact form. Whether it is longer than MaxLen is for the caller to see.
func (s *Signer) Sign(c Claims) (string, error) {
	return s.sign(accessType, c)
}

func (s *Signer) sign(typ string, c jwt.Claims) (string, error) {
	t := jwt.NewWithClaims(s.method, c)
	t.Header["typ"], t.Header["kid"] = typ, s.public.ID()
	text, err := t.SignedString(s.key)
	if err != nil {
		return "", fmt.Errorf("token: sign with %s: %w", s.public.Alg(), err)
	}
	return text, nil
}
