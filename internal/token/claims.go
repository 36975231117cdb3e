package token

import (
	"encoding/json"
	"errors"

	"github.com/golang-jwt/jwt/v5"
)

// ErrToken says that a text is no token of ours: malformed, of another type, of an unknown key, or with a bad signature.
var ErrToken = errors.New("token: not a valid token")

// Claims are those of an access token (RFC 9068 §2.2). Instants are seconds since 1970, UTC.
type Claims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"` // the credential: cli_<26>, the same through all rotations
	ClientID  string   `json:"client_id"`
	Version   int      `json:"ver"` // the version whose secret was shown
	Audience  Audience `json:"aud"`
	ExpiresAt int64    `json:"exp"`
	IssuedAt  int64    `json:"iat"`
	ID        string   `json:"jti"`
	Scope     string   `json:"scope"`
	ClusterID string   `json:"cluster_id"`
	PeerID    string   `json:"peer_id"` // who issued it
}

// Audience is one or more audiences: a string in JSON when it is one (RFC 7519 §4.1.3).
type Audience []string

// MarshalJSON writes one audience as a string.
func (a Audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// UnmarshalJSON reads a string or a list of strings.
func (a *Audience) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var one string
		if err := json.Unmarshal(b, &one); err != nil {
			return err
		}
		*a = Audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// The methods below make Claims golang-jwt's; times and audience are compared by who calls Verify.

// GetExpirationTime implements jwt.Claims.
func (Claims) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuedAt implements jwt.Claims.
func (Claims) GetIssuedAt() (*jwt.NumericDate, error) { return nil, nil }

// GetNotBefore implements jwt.Claims.
func (Claims) GetNotBefore() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuer implements jwt.Claims.
func (c Claims) GetIssuer() (string, error) { return c.Issuer, nil }

// GetSubject implements jwt.Claims.
func (c Claims) GetSubject() (string, error) { return c.Subject, nil }

// GetAudience implements jwt.Claims.
func (c Claims) GetAudience() (jwt.ClaimStrings, error) { return jwt.ClaimStrings(c.Audience), nil }
