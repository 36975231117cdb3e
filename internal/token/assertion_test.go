package token_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/testkey"
	"github.com/keyturn/keyturn/internal/token"
)

func TestAssertion_ReadsBack(t *testing.T) {
	t.Parallel()
	for alg, s := range signers(t) {
		text, err := s.SignAssertion(assertion)
		if err != nil {
			t.Fatal(err)
		}
		got, err := token.NewKeySet([]jwk.Key{signer(t, testkey.Ed25519("b")).Key(), s.Key()}).VerifyAssertion(text)
		if diff := cmp.Diff(assertion, got); err != nil || diff != "" {
			t.Errorf("%s: %v, %s", alg, err, diff)
		}
		if subject, err := token.UnverifiedSubject(text); err != nil || subject != assertion.Subject {
			t.Errorf("%s: subject %q, %v", alg, subject, err)
		}
		if _, err := token.NewKeySet([]jwk.Key{signer(t, testkey.Ed25519("b")).Key()}).VerifyAssertion(text); !errors.Is(err, token.ErrToken) {
			t.Errorf("%s: of another key: %v", alg, err)
		}
	}
}

func TestAssertion_AccessTokensAreNone(t *testing.T) {
	t.Parallel()
	s := signer(t, testkey.Ed25519("a"))
	set := token.NewKeySet([]jwk.Key{s.Key()})
	access, err := s.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	asserted, err := s.SignAssertion(assertion)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.VerifyAssertion(access); !errors.Is(err, token.ErrToken) {
		t.Errorf("an access token as an assertion: %v", err)
	}
	if _, _, err := set.Verify(asserted); !errors.Is(err, token.ErrToken) {
		t.Errorf("an assertion as an access token: %v", err)
	}
}

func TestVerifyAssertion_LooksAtTheHeader(t *testing.T) {
	t.Parallel()
	doc, err := json.Marshal(assertion)
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewKeySet([]jwk.Key{signer(t, testkey.Ed25519("a")).Key(), signer(t, testkey.Ed25519("b")).Key(), {}})
	for name, row := range map[string]struct {
		changes  map[string]any
		accepted bool
	}{
		"JWT": {map[string]any{"typ": "JWT"}, true}, "NoType": {map[string]any{"typ": nil}, true}, "ClientAuthentication": {map[string]any{"typ": "client-authentication+jwt"}, true},
		"AccessToken": {nil, false}, "AccessTokenUpper": {map[string]any{"typ": "At+Jwt"}, false}, "AccessTokenMediaType": {map[string]any{"typ": "APPLICATION/at+jwt"}, false},
		"NoKid": {map[string]any{"typ": "JWT", "kid": nil}, true}, "OwnKid": {map[string]any{"typ": "JWT", "kid": "my-key-1"}, true},
		"KidOfAnother": {map[string]any{"typ": "JWT", "kid": signer(t, testkey.Ed25519("b")).Key().ID()}, false},
		"Crit":         {map[string]any{"typ": "JWT", "crit": []string{"x"}}, false}, "None": {map[string]any{"typ": "JWT", "alg": "none"}, false},
		"HS256": {map[string]any{"typ": "JWT", "alg": "HS256"}, false}, "ES256": {map[string]any{"typ": "JWT", "alg": "ES256"}, false},
	} {
		_, err := set.VerifyAssertion(forge(t, "a", header(t, "a", row.changes), string(doc)))
		if (err == nil) != row.accepted || err != nil && !errors.Is(err, token.ErrToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerifyAssertion_ReadsTheClaimsStrictly(t *testing.T) {
	t.Parallel()
	set := token.NewKeySet([]jwk.Key{signer(t, testkey.Ed25519("a")).Key()})
	jwtType := header(t, "a", map[string]any{"typ": "JWT"})
	for payload, want := range map[string]*token.Assertion{
		`{"exp":1772370000}`:            {ExpiresAt: 1772370000},
		`{"exp":1772370000.9}`:          {ExpiresAt: 1772370000},
		`{"exp":1.77237e9}`:             {ExpiresAt: 1772370000},
		`{"exp":0,"iat":1,"nbf":2}`:     {IssuedAt: 1, NotBefore: 2},
		`{}`:                            {},
		`{"aud":"a","other":[1]}`:       {Audience: "a"},
		`{"aud":["https://a.example"]}`: nil,
		`{"aud":[]}`:                    nil,
		`{"aud":{}}`:                    nil,
		`{"aud":1}`:                     nil,
		`{"exp":"1772370000"}`:          nil,
		`{"exp":-1}`:                    nil,
		`{"exp":-0.5}`:                  nil,
		`{"exp":1e300}`:                 nil,
		`{"exp":1e999}`:                 nil,
		`{"exp":1099511627777}`:         nil,
		`{"iat":true}`:                  nil,
		`{"nbf":[]}`:                    nil,
		`{"sub":1}`:                     nil,
		`[]`:                            nil,
		`{`:                             nil,
	} {
		got, err := set.VerifyAssertion(forge(t, "a", jwtType, payload))
		if want == nil {
			if !errors.Is(err, token.ErrToken) || !cmp.Equal(got, token.Assertion{}) {
				t.Errorf("%s = %+v, %v", payload, got, err)
			}
			continue
		}
		if err != nil || !cmp.Equal(got, *want) {
			t.Errorf("%s = %+v, %v", payload, got, err)
		}
	}
}

func TestAssertion_OtherTextsAreRefused(t *testing.T) {
	t.Parallel()
	s := signer(t, testkey.Ed25519("a"))
	set := token.NewKeySet([]jwk.Key{s.Key()})
	text, err := s.SignAssertion(assertion)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{text + "\n", text[:20] + "\n" + text[20:], text + "=", "", "a.b.c", text + strings.Repeat("A", token.MaxLen), cut(text)[0] + "." + cut(text)[1] + "."} {
		if _, err := set.VerifyAssertion(bad); !errors.Is(err, token.ErrToken) {
			t.Errorf("%.20q is accepted: %v", bad, err)
		}
	}
	for _, bad := range []string{text + "\n", "", "a.b.c", text + strings.Repeat("A", token.MaxLen), text + "="} {
		if subject, err := token.UnverifiedSubject(bad); !errors.Is(err, token.ErrToken) || subject != "" {
			t.Errorf("%.20q has the subject %q, %v", bad, subject, err)
		}
	}
}

// What is read without a look at the signature is what the signed token says, or nothing.
func TestUnverified_ReadsWhatVerifyReads(t *testing.T) {
	t.Parallel()
	s := signer(t, testkey.Ed25519("token"))
	text, err := s.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	verified, _, err := token.NewKeySet([]jwk.Key{s.Key()}).Verify(text)
	if err != nil {
		t.Fatal(err)
	}
	cut := text[:strings.LastIndex(text, ".")+1] + "AAAA"
	for _, readable := range []string{text, cut} {
		if got, err := token.Unverified(readable); err != nil || cmp.Diff(verified, got) != "" {
			t.Errorf("%+v, %v", got, err)
		}
	}
	header, _, _ := strings.Cut(text, ".")
	half := header + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"cli","exp":"soon"}`)) + ".AAAA"
	for _, bad := range []string{"", "x", "a.b.c", half, text + "\n", strings.Repeat("a", token.MaxLen+1)} {
		if got, err := token.Unverified(bad); !errors.Is(err, token.ErrToken) || cmp.Diff(token.Claims{}, got) != "" {
			t.Errorf("%.20q: %+v, %v", bad, got, err)
		}
	}
}
