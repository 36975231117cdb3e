package token

import (
	"github.com/golang-jwt/jwt/v5"

	"github.com/keyturn/keyturn/internal/jwk"
)

// importType is the typ of an import token, so that nothing takes one for an access token, an assertion or a join key
// (RFC 8725 §3.11).
const importType = "keyturn-import+jwt"

// MaxImport is how long an import token may be good for, in seconds.
const MaxImport = 60

// ImportToken are the claims with which the holder of a ledger key asks one peer for its copy of the ledgers, when the
// authority's own is lost. Instants are seconds since 1970, UTC.
type ImportToken struct {
	Issuer    string `json:"iss"` // the cluster's
	ClusterID string `json:"cluster_id"`
	Audience  string `json:"aud"` // the peer's id: who is shown a token cannot show it to another peer
	ID        string `json:"jti"`
	IssuedAt  int64  `json:"iat"`
	ExpiresAt int64  `json:"exp"` // at most MaxImport after iat
}

// SignImport returns an import token in compact form. The signer has to be one of a ledger key.
func (s *Signer) SignImport(t ImportToken) (string, error) { return s.sign(importType, t) }

// VerifyImport checks the signature of an import token with the set's keys and returns its claims. It does not look at the
// time, the audience or the cluster. The error is ErrToken.
func (s *KeySet) VerifyImport(text string) (ImportToken, error) {
	var t ImportToken
	err := s.verify(text, &t, func(header map[string]any) (jwk.Key, bool) {
		keyID, _ := header["kid"].(string)
		key, known := s.keys[keyID]
		return key, known && header["typ"] == importType
	})
	if err != nil {
		return ImportToken{}, err
	}
	return t, nil
}

// IsImport reports whether text says to be an import token. Nothing of it has been checked.
func IsImport(text string) bool {
	if !compact(text) {
		return false
	}
	var claims ImportToken
	t, _, err := jwt.NewParser(jwt.WithStrictDecoding()).ParseUnverified(text, &claims)
	return err == nil && t.Header["typ"] == importType
}

// GetExpirationTime implements jwt.Claims.
func (ImportToken) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuedAt implements jwt.Claims.
func (ImportToken) GetIssuedAt() (*jwt.NumericDate, error) { return nil, nil }

// GetNotBefore implements jwt.Claims.
func (ImportToken) GetNotBefore() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuer implements jwt.Claims.
func (t ImportToken) GetIssuer() (string, error) { return t.Issuer, nil }

// GetSubject implements jwt.Claims.
func (ImportToken) GetSubject() (string, error) { return "", nil }

// GetAudience implements jwt.Claims.
func (t ImportToken) GetAudience() (jwt.ClaimStrings, error) {
	return jwt.ClaimStrings{t.Audience}, nil
}
