package token_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/testkey"
	"github.com/keyturn/keyturn/internal/token"
)

func TestSigner_TokenReadsBack(t *testing.T) {
	t.Parallel()
	all := signers(t)
	set := token.NewKeySet([]jwk.Key{all["ES256"].Key(), all["EdDSA"].Key(), all["RS256"].Key()})
	for alg, s := range all {
		text, err := s.Sign(claims)
		if err != nil {
			t.Fatal(err)
		}
		got, keyID, err := set.Verify(text)
		if diff := cmp.Diff(claims, got); err != nil || diff != "" || keyID != s.Key().ID() || s.Key().Alg() != alg {
			t.Errorf("%s: key %s, %v, %s", alg, keyID, err, diff)
		}
		head, err := base64.RawURLEncoding.DecodeString(cut(text)[0])
		if want := `{"alg":"` + alg + `","kid":"` + keyID + `","typ":"at+jwt"}`; err != nil || string(head) != want {
			t.Errorf("the header is %s, want %s", head, want)
		}
		other := signer(t, testkey.Ed25519("b"))
		if _, _, err := token.NewKeySet([]jwk.Key{other.Key()}).Verify(text); !errors.Is(err, token.ErrToken) {
			t.Errorf("%s: of an unknown key: %v", alg, err)
		}
		if _, _, err := token.NewKeySet(nil).Verify(text); !errors.Is(err, token.ErrToken) {
			t.Errorf("%s: without keys: %v", alg, err)
		}
	}
}

// The claims as RFC 9068 names them, in one order. EdDSA is deterministic, so the whole token is fixed.
func TestSigner_GoldenToken(t *testing.T) {
	t.Parallel()
	text, err := signer(t, testkey.Ed25519("a")).Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	const payload = `{"iss":"https://a.example","sub":"cli_01jd6y0e00f2bvwrw0xk3y4t5z","client_id":"cli_01jd6y0e00f2bvwrw0xk3y4t5z-7","ver":7,` +
		`"aud":"https://a.example","exp":1772370000,"iat":1772366400,"jti":"AAAAAAAAAAAAAAAAAAAAAA","scope":"peers.read services.read",` +
		`"cluster_id":"clu_01jd6y0e00f2bvwrw0xk3y4t5z","peer_id":"peer_01jd6y0e00f2bvwrw0xk3y4t5z"}`
	kid := signer(t, testkey.Ed25519("a")).Key().ID()
	want := forge(t, "a", map[string]any{"alg": "EdDSA", "kid": kid, "typ": "at+jwt"}, payload)
	if text != want {
		t.Errorf("signed %s, want %s", text, want)
	}
}

// What readers outside do, who know RFC 9068 and not keyturn.
func TestSigner_OthersReadItsTokens(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return time.Unix(claims.IssuedAt+1, 0) }
	for alg, s := range signers(t) {
		text, err := s.Sign(claims)
		if err != nil {
			t.Fatal(err)
		}
		var plain jwt.RegisteredClaims
		_, err = jwt.ParseWithClaims(text, &plain, func(*jwt.Token) (any, error) { return s.Key().Public(), nil },
			jwt.WithValidMethods([]string{alg}), jwt.WithIssuer(claims.Issuer), jwt.WithAudience("https://a.example"), jwt.WithSubject(claims.Subject),
			jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithTimeFunc(now))
		if err != nil || plain.ID != claims.ID {
			t.Errorf("%s: golang-jwt: %v", alg, err)
		}
		verifier := oidc.NewVerifier(claims.Issuer, &oidc.StaticKeySet{PublicKeys: []crypto.PublicKey{s.Key().Public()}},
			&oidc.Config{ClientID: "https://a.example", SupportedSigningAlgs: []string{alg}, Now: now})
		got, err := verifier.Verify(context.Background(), text)
		if err != nil || got.Subject != claims.Subject || got.Expiry.Unix() != claims.ExpiresAt {
			t.Errorf("%s: go-oidc: %v", alg, err)
		}
	}
}

func TestNewSigner_RefusesOtherKeys(t *testing.T) {
	t.Parallel()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := token.NewSigner(p384); err == nil || s != nil {
		t.Error("P-384 signs")
	}
}

// The public key as everybody has it, in each form that a confused verifier could take for an HMAC secret.
func publicForms(t *testing.T, k jwk.Key) map[string][]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"DER": der, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "JWK": doc, "KID": []byte(k.ID()), "Empty": nil}
}

func TestVerify_TakesTheAlgorithmFromTheKey(t *testing.T) {
	t.Parallel()
	all := signers(t)
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	head := func(alg any, kid string) string {
		h, err := json.Marshal(map[string]any{"alg": alg, "typ": "at+jwt", "kid": kid})
		if err != nil {
			t.Fatal(err)
		}
		return b64(h) + "." + b64(payload)
	}
	set := token.NewKeySet([]jwk.Key{all["ES256"].Key(), all["EdDSA"].Key(), all["RS256"].Key()})
	refuse := func(what, text string) {
		t.Helper()
		if _, _, err := set.Verify(text); !errors.Is(err, token.ErrToken) {
			t.Errorf("%s is accepted: %v", what, err)
		}
	}
	for alg, s := range all {
		for _, none := range []any{"none", "None", "NONE", "", nil, 1} {
			refuse("none under "+alg, head(none, s.Key().ID())+".")
			refuse("none under "+alg+" with a signature", head(none, s.Key().ID())+".AAAA")
		}
		for name, secret := range publicForms(t, s.Key()) {
			text := head("HS256", s.Key().ID())
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(text))
			refuse("HS256 with "+alg+"'s public key as "+name, text+"."+b64(mac.Sum(nil)))
		}
		for other := range all { // well signed by one key, in the name of another
			if other == alg {
				continue
			}
			method := jwt.GetSigningMethod(other)
			private := map[string]any{"ES256": testkey.P256("a"), "EdDSA": testkey.Ed25519("a"), "RS256": testkey.RSA()}[other]
			for _, kid := range []string{s.Key().ID(), ""} {
				text := head(other, kid)
				sig, err := method.Sign(text, private)
				if err != nil {
					t.Fatal(err)
				}
				refuse(other+" in the name of "+alg+" "+kid, text+"."+b64(sig))
			}
		}
	}
	rs := testkey.RSA() // PS256 and RS512 are RSA too, and not the key's algorithm
	for _, method := range []jwt.SigningMethod{jwt.SigningMethodPS256, jwt.SigningMethodRS512, jwt.SigningMethodRS384} {
		text := head(method.Alg(), all["RS256"].Key().ID())
		sig, err := method.Sign(text, rs)
		if err != nil {
			t.Fatal(err)
		}
		refuse(method.Alg()+" with an RS256 key", text+"."+b64(sig))
	}
}

func TestVerify_LooksAtTheHeader(t *testing.T) {
	t.Parallel()
	set := token.NewKeySet([]jwk.Key{signer(t, testkey.Ed25519("a")).Key(), signer(t, testkey.Ed25519("b")).Key(), {}})
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		changes  map[string]any
		accepted bool
	}{
		"Good": {nil, true}, "MediaType": {map[string]any{"typ": "application/at+jwt"}, true}, "UpperType": {map[string]any{"typ": "AT+JWT"}, true},
		"TypeJWT": {map[string]any{"typ": "JWT"}, false}, "NoType": {map[string]any{"typ": nil}, false}, "EmptyType": {map[string]any{"typ": ""}, false},
		"NumberType": {map[string]any{"typ": 1}, false}, "TwiceApplication": {map[string]any{"typ": "application/application/at+jwt"}, false},
		"NoKid": {map[string]any{"kid": nil}, false}, "EmptyKid": {map[string]any{"kid": ""}, false}, "UnknownKid": {map[string]any{"kid": "x"}, false},
		"KidOfAnother": {map[string]any{"kid": signer(t, testkey.Ed25519("b")).Key().ID()}, false}, "NumberKid": {map[string]any{"kid": 1}, false},
		"Crit": {map[string]any{"crit": []string{"b64"}, "b64": true}, false}, "EmptyCrit": {map[string]any{"crit": []string{}}, false}, "NullCrit": {map[string]any{"crit": json.RawMessage("null")}, false},
		"OwnKey": {map[string]any{"jwk": map[string]string{"kty": "OKP"}, "jku": "https://evil.example"}, true}, // not read
	} {
		_, _, err := set.Verify(forge(t, "a", header(t, "a", row.changes), string(payload)))
		if (err == nil) != row.accepted || err != nil && !errors.Is(err, token.ErrToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// One token has one spelling, and no part of it can change.
func TestVerify_RefusesEveryOtherText(t *testing.T) {
	t.Parallel()
	for alg, s := range signers(t) {
		set := token.NewKeySet([]jwk.Key{s.Key()})
		text, err := s.Sign(claims)
		if err != nil {
			t.Fatal(err)
		}
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		for i := range len(text) {
			next := "A"
			if at := strings.IndexByte(alphabet, text[i]); at >= 0 {
				next = alphabet[at^1 : at^1+1] // the last bit: in a last character it may be of no use
			}
			for _, c := range []string{next, "", "\n" + text[i:i+1], "\r" + text[i:i+1], " " + text[i:i+1], "=" + text[i:i+1], "+", "/"} {
				if _, _, err := set.Verify(text[:i] + c + text[i+1:]); !errors.Is(err, token.ErrToken) {
					t.Fatalf("%s: %q instead of %q at %d is accepted", alg, c, text[i], i)
				}
			}
		}
		for _, tail := range []string{"\n", "\r\n", "=", "==", ".", ".x", " ", "A"} {
			if _, _, err := set.Verify(text + tail); !errors.Is(err, token.ErrToken) {
				t.Errorf("%s: with %q behind it is accepted", alg, tail)
			}
		}
	}
}

func TestVerify_RefusesWhatIsNoToken(t *testing.T) {
	t.Parallel()
	set := token.NewKeySet([]jwk.Key{signer(t, testkey.Ed25519("a")).Key()})
	for _, text := range []string{"", ".", "..", "...", "a.b.c", "null", "e30.e30.", "bnVsbA.bnVsbA.AA", strings.Repeat(".", 9000), strings.Repeat("A", 100_000)} {
		if _, _, err := set.Verify(text); !errors.Is(err, token.ErrToken) || err.Error() != token.ErrToken.Error() {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	for _, payload := range []string{"", "[]", `"a"`, `{"exp":"1"}`, `{"exp":1.5}`, `{"aud":1}`, `{"aud":[1]}`, `{"ver":"7"}`, `{"iss":1}`, `{} {}`} {
		if _, _, err := set.Verify(forge(t, "a", header(t, "a", nil), payload)); !errors.Is(err, token.ErrToken) {
			t.Errorf("claims %s: %v", payload, err)
		}
	}
}

func TestVerify_LengthIsBounded(t *testing.T) {
	t.Parallel()
	s := signer(t, testkey.Ed25519("a"))
	set := token.NewKeySet([]jwk.Key{s.Key()})
	long := claims
	sizes := map[bool]bool{}
	for n := 5000; n < 6500; n++ {
		long.Scope = strings.Repeat("a", n)
		text, err := s.Sign(long)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = set.Verify(text)
		if (err == nil) != (len(text) <= token.MaxLen) {
			t.Fatalf("%d bytes: %v", len(text), err)
		}
		sizes[err == nil] = true
	}
	if len(sizes) != 2 {
		t.Error("the limit was not crossed")
	}
}

func TestAudience_StringOrList(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]token.Audience{
		`"a"`: {"a"}, `["a"]`: {"a"}, `["a","b"]`: {"a", "b"}, `[]`: {}, `null`: nil, `""`: {""},
	} {
		var got token.Audience
		if err := json.Unmarshal([]byte(doc), &got); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s = %#v, %v", doc, got, err)
		}
	}
	for doc, a := range map[string]token.Audience{`"a"`: {"a"}, `["a","b"]`: {"a", "b"}, `[]`: {}, `null`: nil} {
		if b, err := json.Marshal(a); err != nil || string(b) != doc {
			t.Errorf("%#v is written as %s, %v", a, b, err)
		}
	}
	for _, doc := range []string{`1`, `{}`, `[1]`, `["a",null,{}]`, `true`, `[["a"]]`} {
		var got token.Audience
		if err := json.Unmarshal([]byte(doc), &got); err == nil {
			t.Errorf("%s = %v", doc, got)
		}
	}
}

func FuzzClaims(f *testing.F) {
	b, err := json.Marshal(claims)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"aud":["a","b"],"exp":1,"AUD":"c"}`))
	f.Add([]byte(`{"aud":null}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		var c token.Claims
		if json.Unmarshal(doc, &c) != nil {
			return
		}
		written, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var again token.Claims
		if err := json.Unmarshal(written, &again); err != nil || !cmp.Equal(c, again) {
			t.Fatalf("%s reads back as %+v, %v", written, again, err)
		}
	})
}

func FuzzVerify(f *testing.F) {
	for alg, s := range signers(f) {
		text, err := s.Sign(claims)
		if err != nil {
			f.Fatal(alg, err)
		}
		f.Add(text)
	}
	f.Add("e30.e30.e30")
	set := token.NewKeySet([]jwk.Key{signer(f, testkey.P256("a")).Key(), signer(f, testkey.Ed25519("a")).Key()})
	f.Fuzz(func(t *testing.T, text string) {
		c, keyID, err := set.Verify(text)
		if err == nil && (!cmp.Equal(c, claims) || keyID == "") {
			t.Fatalf("a token that nobody signed: %+v", c)
		}
		if _, err := set.VerifyAssertion(text); err == nil {
			t.Fatal("an assertion that nobody signed")
		}
		if subject, err := token.UnverifiedSubject(text); err != nil && (subject != "" || !errors.Is(err, token.ErrToken)) {
			t.Fatalf("%q, %v", subject, err)
		}
	})
}
