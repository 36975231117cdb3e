package httpapi_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/e2e"
	"github.com/keyturn/keyturn/internal/jwk"
)

// Clients that people have: golang.org/x/oauth2 in each of its styles, as its documentation uses it.
func TestServer_OAuth2Client(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	for name, style := range map[string]oauth2.AuthStyle{"Basic": oauth2.AuthStyleInHeader, "form": oauth2.AuthStyleInParams, "either": oauth2.AuthStyleAutoDetect} {
		config := clientcredentials.Config{
			ClientID: f.id, ClientSecret: f.secret, TokenURL: f.URL + "/v1/oauth/token", AuthStyle: style,
			Scopes: []string{"urn:keyturn:credentials.read", "peers.read"},
		}
		resp, err := config.Client(t.Context()).Get(f.URL + "/v1/credentials")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		resp.Body.Close() //nolint:errcheck // not read
		if resp.StatusCode != 200 {
			t.Errorf("%s: %s", name, resp.Status)
		}
		config.ClientSecret = goodSecret
		_, err = config.Token(t.Context())
		var refused *oauth2.RetrieveError
		if !errors.As(err, &refused) || refused.ErrorCode != "invalid_client" || refused.ErrorDescription == "" {
			t.Errorf("%s with a wrong secret: %v", name, err)
		}
	}
}

// coreos/go-oidc: discovery with its comparison of issuers, and the verifier with the published keys.
func TestServer_OIDCClient(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ES256", "EdDSA", "RS256"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, setup{options: authority.Options{TokenAlg: alg}})
			provider, err := oidc.NewProvider(t.Context(), f.URL)
			if err != nil {
				t.Fatal(err)
			}
			text := f.Token(f.id, f.secret, "audience", "https://billing.example.com")
			verify := func(audience string, at time.Time) (*oidc.IDToken, error) {
				v := provider.VerifierContext(t.Context(), &oidc.Config{ClientID: audience, Now: func() time.Time { return at }})
				return v.Verify(t.Context(), text)
			}
			got, err := verify("https://billing.example.com", f.clock.Now())
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(f.id, got.Subject+"-") || got.Issuer != f.URL || got.Expiry.Sub(got.IssuedAt) != time.Hour {
				t.Errorf("%+v", got)
			}
			if _, err := verify("https://other.example.com", f.clock.Now()); err == nil {
				t.Error("a token for another audience was taken")
			}
			if _, err := verify("https://billing.example.com", f.clock.Now().Add(2*time.Hour)); err == nil {
				t.Error("an expired token was taken")
			}
		})
	}
}

// assertion is a client assertion as clients make them by hand.
func assertion(t *testing.T, key crypto.Signer, method jwt.SigningMethod, header map[string]any, claims jwt.MapClaims) string {
	t.Helper()
	j := jwt.NewWithClaims(method, claims)
	for name, value := range header {
		j.Header[name] = value
	}
	text, err := j.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (f *fixture) assert(text string, pairs ...string) e2e.Answer {
	f.T.Helper()
	form := append([]string{
		"grant_type", "client_credentials", "client_assertion", text,
		"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
	}, pairs...)
	return f.Do("POST", "/v1/oauth/token", e2e.Form(form...))
}

// private_key_jwt (RFC 7523) with golang-jwt, for each kind of key.
func TestServer_PrivateKeyJWT(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	ec, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, ed, err2 := ed25519.GenerateKey(rand.Reader)
	rs, err3 := rsa.GenerateKey(rand.Reader, 2048)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	issuer := f.URL
	for _, key := range []struct {
		private crypto.Signer
		method  jwt.SigningMethod
	}{{ec, jwt.SigningMethodES256}, {ed, jwt.SigningMethodEdDSA}, {rs, jwt.SigningMethodRS256}} {
		public, err := jwk.New(key.private.Public())
		if err != nil {
			t.Fatal(err)
		}
		id, secret := f.create(map[string]any{"public_key": public, "scopes": []string{"peers.read"}})
		if secret != "" {
			t.Error("a client with a key got a secret")
		}
		now := f.clock.Now().Unix()
		claims := func(change ...any) jwt.MapClaims {
			c := jwt.MapClaims{"iss": id, "sub": id, "aud": issuer, "exp": now + 300, "iat": now, "jti": rand.Text()}
			for i := 0; i < len(change); i += 2 {
				name := change[i].(string)
				if delete(c, name); change[i+1] != nil {
					c[name] = change[i+1]
				}
			}
			return c
		}
		sign := func(c jwt.MapClaims) string { return assertion(t, key.private, key.method, nil, c) }
		for name, c := range map[string]jwt.MapClaims{
			"as usual":        claims(),
			"token endpoint":  claims("aud", issuer+"/v1/oauth/token"),
			"without iat":     claims("iat", nil),
			"nbf now":         claims("nbf", now),
			"30 s ahead":      claims("iat", now+30, "exp", now+330),
			"another claim":   claims("client_name", "x"),
			"fractions":       claims("exp", float64(now)+0.5+60),
			"versioned names": claims("iss", id+"-1", "sub", id+"-1"),
		} {
			if a := f.assert(sign(c)); a.Status != 200 || a.Text("scope") != "peers.read" {
				t.Errorf("%s, %s: %s", key.method.Alg(), name, a.Body)
			}
		}
		if a := f.assert(sign(claims()), "client_id", id); a.Status != 200 {
			t.Errorf("with its client id: %s", a.Body)
		}
		if a := f.assert(assertion(t, key.private, key.method, map[string]any{"kid": public.ID()}, claims())); a.Status != 200 {
			t.Errorf("with kid: %s", a.Body)
		}
		once := sign(claims())
		if a := f.assert(once); a.Status != 200 {
			t.Errorf("the first time: %s", a.Body)
		}
		jti := rand.Text()
		f.assert(sign(claims("jti", jti)))
		f.unchanged("a bad assertion", func() {
			for name, text := range map[string]string{
				"the second time":  once,
				"jti again":        sign(claims("jti", jti, "exp", now+200)),
				"aud is a list":    sign(claims("aud", []string{issuer})),
				"another aud":      sign(claims("aud", "https://other.example.com")),
				"issuer and slash": sign(claims("aud", issuer+"/")),
				"no aud":           sign(claims("aud", nil)),
				"long":             sign(claims("exp", now+301)),
				"long, no iat":     sign(claims("exp", now+331, "iat", nil)),
				"expired":          sign(claims("exp", now-30)),
				"no exp":           sign(claims("exp", nil)),
				"from the future":  sign(claims("iat", now+31, "exp", now+200)),
				"not yet":          sign(claims("nbf", now+31)),
				"no jti":           sign(claims("jti", nil)),
				"long jti":         sign(claims("jti", strings.Repeat("x", 257))),
				"iss is another":   sign(claims("iss", "someone")),
				"another client":   sign(claims("iss", "cli_00000000000000000000000000", "sub", "cli_00000000000000000000000000")),
				"a secret's":       sign(claims("iss", f.id, "sub", f.id)),
				"access token":     assertion(t, key.private, key.method, map[string]any{"typ": "at+jwt"}, claims()),
				"crit":             assertion(t, key.private, key.method, map[string]any{"crit": []string{"x"}, "x": 1}, claims()),
				"no algorithm":     unsigned(sign(claims())),
				"HS256":            hmacOf(t, public, claims()),
				"one of our own":   f.admin(),
				"nonsense":         "a.b.c",
				"cut off":          sign(claims())[:100],
			} {
				a := f.assert(text)
				if a.Status != 401 || a.Text("error") != "invalid_client" || a.Header.Get("WWW-Authenticate") != "" {
					t.Errorf("%s, %s: %d %s", key.method.Alg(), name, a.Status, a.Body)
				}
			}
		})
		if a := f.assert(sign(claims()), "client_id", f.id); a.Status != 401 {
			t.Errorf("beside another client id: %d %s", a.Status, a.Body)
		}
	}
}

// hmacOf signs with the public key as if it were a shared secret: the oldest trick there is.
func hmacOf(t *testing.T, public jwk.Key, claims jwt.MapClaims) string {
	t.Helper()
	b, err := public.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(b)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A rotation of a client with a key takes a new key; the old one is accepted inside its window.
func TestServer_RotatedKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	var keys []ed25519.PrivateKey
	var publics []jwk.Key
	for range 2 {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key, err := jwk.New(public)
		if err != nil {
			t.Fatal(err)
		}
		keys, publics = append(keys, private), append(publics, key)
	}
	id, _ := f.create(map[string]any{"public_key": publics[0]})
	path, admin := "/v1/credentials/"+id+"/rotate", e2e.Bearer(f.admin())
	f.Want(400, "POST", path, admin)                                                                                 // it needs a key
	f.Want(400, "POST", path, admin, e2e.JSON(map[string]any{"public_key": publics[0]}))                             // another one
	f.Want(400, "POST", "/v1/cluster/credentials/rotate", admin, e2e.JSON(map[string]any{"public_key": publics[1]})) // that one has a secret
	a := f.Want(200, "POST", path, admin, e2e.JSON(map[string]any{"public_key": publics[1], "window_seconds": 60}))
	if a.Text("client_id") != id || a.Text("version") != "2" || a.Text("client_secret") != "" {
		t.Errorf("%s", a.Body)
	}
	try := func(key ed25519.PrivateKey) e2e.Answer {
		now := f.clock.Now().Unix()
		return f.assert(assertion(t, key, jwt.SigningMethodEdDSA, nil, jwt.MapClaims{"iss": id, "sub": id, "aud": f.URL, "exp": now + 60, "jti": rand.Text()}))
	}
	if old := try(keys[0]); old.Status != 200 || old.Text("secret_version_current") != "2" || old.Text("expires_in") != "60" {
		t.Errorf("the old key inside its window: %s", old.Body)
	}
	f.clock.Advance(60 * time.Second)
	if old := try(keys[0]); old.Status != 401 {
		t.Errorf("the old key after its window: %s", old.Body)
	}
	if fresh := try(keys[1]); fresh.Status != 200 || fresh.Text("expires_in") != "3600" {
		t.Errorf("the new key: %s", fresh.Body)
	}
}
