package token

import (
	"encoding/json"

	"github.com/golang-jwt/jwt/v5"
)

// Assertion are the claims of a client assertion (RFC 7523 §3). A missing instant is 0. The audience has to be a single
// string: an assertion that several servers would take could be shown to each of them.
type Assertion struct {
	Issuer    string      `json:"iss"`
	Subject   string      `json:"sub"`
	Audience  string      `json:"aud"`
	ExpiresAt NumericDate `json:"exp"`
	NotBefore NumericDate `json:"nbf,omitempty"`
	IssuedAt  NumericDate `json:"iat,omitempty"`
	ID        string      `json:"jti"`
}

// NumericDate is an instant in seconds since 1970, UTC (RFC 7519 §2). Fractions are read and dropped.
type NumericDate int64

// UnmarshalJSON reads a JSON number.
func (d *NumericDate) UnmarshalJSON(b []byte) error {
	var seconds float64
	if err := json.Unmarshal(b, &seconds); err != nil {
		return err
	}
	if seconds < 0 || seconds > 1<<40 {
		return ErrToken
	}
	*d = NumericDate(seconds)
	return nil
}

// SignAssertion returns the assertion in compact form.
func (s *Signer) SignAssertion(a Assertion) (string, error) { return s.sign("JWT", a) }

// UnverifiedSubject reads the subject of an assertion before its signature can be checked: it says whose keys to try.
func UnverifiedSubject(text string) (string, error) {
	var a Assertion
	if err := unverified(text, &a); err != nil {
		return "", err
	}
	return a.Subject, nil
}

// Unverified reads the claims of an access token without a look at its signature: whoever refuses by them refuses no more than
// what they say of themselves. It returns ErrToken for what no key could make a token.
func Unverified(text string) (Claims, error) {
	var c Claims
	if err := unverified(text, &c); err != nil {
		return Claims{}, err
	}
	return c, nil
}

func unverified(text string, into jwt.Claims) error {
	if !compact(text) {
		return ErrToken
	}
	if _, _, err := jwt.NewParser(jwt.WithStrictDecoding()).ParseUnverified(text, into); err != nil {
		return ErrToken
	}
	return nil
}

// GetExpirationTime implements jwt.Claims.
func (Assertion) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuedAt implements jwt.Claims.
func (Assertion) GetIssuedAt() (*jwt.NumericDate, error) { return nil, nil }

// GetNotBefore implements jwt.Claims.
func (Assertion) GetNotBefore() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuer implements jwt.Claims.
func (a Assertion) GetIssuer() (string, error) { return a.Issuer, nil }

// GetSubject implements jwt.Claims.
func (a Assertion) GetSubject() (string, error) { return a.Subject, nil }

// GetAudience implements jwt.Claims.
func (a Assertion) GetAudience() (jwt.ClaimStrings, error) { return jwt.ClaimStrings{a.Audience}, nil }
