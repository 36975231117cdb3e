package token

import (
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/keyturn/keyturn/internal/jwk"
)

// MaxLen is the longest token that is looked at, in bytes.
const MaxLen = 8 << 10

// KeySet verifies tokens with the keys that it was made of. It does not change and may be shared.
type KeySet struct {
	keys   map[string]jwk.Key
	parser *jwt.Parser
}

// NewKeySet makes a set of keys, each known by its RFC 7638 thumbprint.
func NewKeySet(keys []jwk.Key) *KeySet {
	s := &KeySet{
		keys:   make(map[string]jwk.Key, len(keys)),
		parser: jwt.NewParser(jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding()),
	}
	for _, k := range keys {
		s.keys[k.ID()] = k
	}
	return s
}

// Verify checks the signature of an access token and returns its claims and its key's id. It does not look at the time,
// the audience or the issuer. The error is ErrToken.
func (s *KeySet) Verify(text string) (Claims, string, error) {
	return s.VerifyOr(text, func(string, Claims) (jwk.Key, bool) { return jwk.Key{}, false })
}

// VerifyOr is Verify that asks other for a key that is not in the set. What other is shown has not been checked: the key's
// id that the header names, and the claims.
func (s *KeySet) VerifyOr(text string, other func(keyID string, c Claims) (jwk.Key, bool)) (Claims, string, error) {
	var c Claims
	keyID := ""
	err := s.verify(text, &c, func(header map[string]any) (jwk.Key, bool) {
		if !isAccess(header) {
			return jwk.Key{}, false
		}
		keyID, _ = header["kid"].(string)
		if key, known := s.keys[keyID]; known {
			return key, true
		}
		key, known := other(keyID, c)
		return key, known && key.ID() == keyID
	})
	return c, keyID, err
}

// VerifyAssertion checks the signature of a client assertion (RFC 7523 §3) with whichever key of the set fits, and
// returns its claims. An access token is no assertion. The error is ErrToken.
func (s *KeySet) VerifyAssertion(text string) (Assertion, error) {
	for _, key := range s.keys {
		var a Assertion
		err := s.verify(text, &a, func(header map[string]any) (jwk.Key, bool) {
			keyID, named := header["kid"].(string)
			return key, !isAccess(header) && !isJoinKey(header) && (!named || keyID == key.ID() || !s.has(keyID))
		})
		if err == nil {
			return a, nil
		}
	}
	return Assertion{}, ErrToken
}

func (s *KeySet) has(keyID string) bool {
	_, ok := s.keys[keyID]
	return ok
}

// verify takes the algorithm from the key that choose returns. A header with "crit" asks for extensions that keyturn does
// not know, and has to be refused (RFC 7515 §4.1.11).
func (s *KeySet) verify(text string, into jwt.Claims, choose func(header map[string]any) (jwk.Key, bool)) error {
	if !compact(text) {
		return ErrToken
	}
	_, err := s.parser.ParseWithClaims(text, into, func(t *jwt.Token) (any, error) {
		key, ok := choose(t.Header)
		if _, critical := t.Header["crit"]; !ok || critical || t.Method.Alg() != key.Alg() {
			return nil, ErrToken
		}
		return key.Public(), nil
	})
	if err != nil {
		return ErrToken
	}
	return nil
}

// compact looks at the form before anything is decoded: the decoder of base64 skips line ends even when it is strict, and
// one token would have many spellings.
func compact(text string) bool { return len(text) <= MaxLen && !strings.ContainsAny(text, "\r\n") }

// isAccess compares the media type as RFC 7515 §4.1.9 says: without regard to case, "application/" may be left out.
func isAccess(header map[string]any) bool {
	typ, _ := header["typ"].(string)
	return strings.TrimPrefix(strings.ToLower(typ), "application/") == accessType
}
