package token

import (
	"github.com/golang-jwt/jwt/v5"

	"github.com/keyturn/keyturn/internal/jwk"
)

// joinType is the typ of a join key, so that nothing takes one for an access token or an assertion (RFC 8725 §3.11).
const joinType = "keyturn-join+jwt"

// JoinKey are the claims of a join key: with it one host joins the cluster, once. Instants are seconds since 1970, UTC.
type JoinKey struct {
	Issuer    string   `json:"iss"` // the cluster's
	ID        string   `json:"jti"` // jk_<26>
	ClusterID string   `json:"cluster_id"`
	Anchor    string   `json:"anchor"` // RFC 7638 thumbprint of the ledger key that founded the cluster
	MaxScopes []string `json:"max_scopes"`
	Region    string   `json:"region,omitempty"`
	IssuedAt  int64    `json:"iat"`
	ExpiresAt int64    `json:"exp"`
}

// SignJoinKey returns the join key in compact form.
func (s *Signer) SignJoinKey(k JoinKey) (string, error) { return s.sign(joinType, k) }

// VerifyJoinKey checks the signature of a join key with the set's keys and returns its claims. It does not look at the time.
// The error is ErrToken.
func (s *KeySet) VerifyJoinKey(text string) (JoinKey, error) {
	var k JoinKey
	err := s.verify(text, &k, func(header map[string]any) (jwk.Key, bool) {
		keyID, _ := header["kid"].(string)
		key, known := s.keys[keyID]
		return key, known && isJoinKey(header)
	})
	return k, err
}

// UnverifiedJoinKey reads a join key before its signature can be checked: the host that joins with it learns from it which
// cluster it was told to join, and which ledger key founded that. The error is ErrToken.
func UnverifiedJoinKey(text string) (JoinKey, error) {
	var k JoinKey
	if !compact(text) {
		return k, ErrToken
	}
	t, _, err := jwt.NewParser(jwt.WithStrictDecoding()).ParseUnverified(text, &k)
	if err != nil || !isJoinKey(t.Header) {
		return JoinKey{}, ErrToken
	}
	return k, nil
}

func isJoinKey(header map[string]any) bool { return header["typ"] == joinType }

// GetExpirationTime implements jwt.Claims.
func (JoinKey) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuedAt implements jwt.Claims.
func (JoinKey) GetIssuedAt() (*jwt.NumericDate, error) { return nil, nil }

// GetNotBefore implements jwt.Claims.
func (JoinKey) GetNotBefore() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuer implements jwt.Claims.
func (k JoinKey) GetIssuer() (string, error) { return k.Issuer, nil }

// GetSubject implements jwt.Claims.
func (JoinKey) GetSubject() (string, error) { return "", nil }

// GetAudience implements jwt.Claims.
func (JoinKey) GetAudience() (jwt.ClaimStrings, error) { return nil, nil }
