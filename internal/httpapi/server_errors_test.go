package httpapi_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/authority/storetest"
	"github.com/keyturn/keyturn/internal/e2e"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/token"
)

const (
	unauthorized = `{"error":"unauthorized","code":"UNAUTHORIZED"}`
	forbidden    = `{"error":"insufficient scope","code":"FORBIDDEN"}`
)

// protected are the routes that take a Bearer token, as "METHOD path".
func (f *fixture) protected() []string {
	var list []string
	for path, item := range theSpec(f.T).doc["paths"].(map[string]any) {
		for method, operation := range item.(map[string]any) {
			if method != "parameters" && scopeOf(operation) != "" {
				list = append(list, strings.ToUpper(method)+" "+strings.ReplaceAll(path, "{client_id}", f.id))
			}
		}
	}
	return list
}

// scopeOf is the scope that an operation of the file takes; "" for one without.
func scopeOf(operation any) string {
	described, _ := operation.(map[string]any)
	ways, _ := described["security"].([]any)
	for _, way := range ways {
		if scopes, _ := way.(map[string]any)["token"].([]any); len(ways) == 1 && len(scopes) == 1 {
			return scopes[0].(string)
		}
	}
	return ""
}

func header(name string, values ...string) e2e.Option {
	return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(name)] = values }
}

func TestServer_BearerChallenges(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	token := f.admin()
	const plain, invalid = `Bearer realm="keyturn"`, `Bearer realm="keyturn", error="invalid_token"`
	other := f.Token(f.id, f.secret, "audience", "https://other.example.com")
	cut := token[:len(token)-4]
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(f.id+":"+f.secret))
	routes := f.protected()
	if len(routes) < 10 {
		t.Fatalf("protected routes: %v", routes)
	}
	f.unchanged("a request without a good token", func() {
		for _, route := range routes {
			method, path, _ := strings.Cut(route, " ")
			for _, c := range []struct {
				name   string
				values []string
				want   string
			}{
				{"none", nil, plain},
				{"empty", []string{""}, plain},
				{"no token", []string{"Bearer"}, plain},
				{"a space", []string{"Bearer "}, plain},
				{"Basic", []string{basic}, plain},
				{"another scheme", []string{"Token " + token}, plain},
				{"no scheme", []string{token}, plain},
				{"nonsense", []string{"Bearer x"}, invalid},
				{"cut off", []string{"Bearer " + cut}, invalid},
				{"with a tail", []string{"Bearer " + token + "="}, invalid},
				{"another audience", []string{"Bearer " + other}, invalid},
				{"a secret", []string{"Bearer " + f.secret}, invalid},
				{"two tokens", []string{"Bearer " + token + " " + token}, invalid},
				{"twice", []string{"Bearer " + token, "Bearer " + token}, invalid},
				{"Basic first", []string{basic, "Bearer " + token}, invalid},
				{"long", []string{"Bearer " + strings.Repeat("a", 10000)}, invalid},
				{"no algorithm", []string{"Bearer " + unsigned(token)}, invalid},
			} {
				a := f.Do(method, path, header("Authorization", c.values...))
				if a.Status != 401 || string(a.Body) != unauthorized || a.Header.Get("WWW-Authenticate") != c.want {
					t.Errorf("%s, %s: %d %s, challenge %q", route, c.name, a.Status, a.Body, a.Header.Get("WWW-Authenticate"))
				}
			}
		}
	})
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER ", "Bearer  "} {
		f.Want(200, "GET", "/v1/credentials", header("Authorization", scheme+token))
	}
	f.Want(401, "GET", "/v1/credentials?access_token="+token) // RFC 6750 §2.3 is not for us
	f.clock.Advance(time.Hour)
	a := f.Want(401, "GET", "/v1/credentials", e2e.Bearer(token))
	if string(a.Body) != unauthorized || a.Header.Get("WWW-Authenticate") != invalid {
		t.Errorf("expired: %s", a.Body)
	}
}

// unsigned is a token under "alg":"none".
func unsigned(text string) string {
	payload := strings.Split(text, ".")[1]
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + payload + "."
}

func basicHeader(pair string) e2e.Option {
	return header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
}

func TestServer_BasicAuthentication(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	grant := e2e.Form("grant_type", "client_credentials")
	percent := func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, "%%%02x", s[i])
		}
		return b.String()
	}
	bare, _, _ := strings.Cut(f.id, "-")
	for name, o := range map[string]e2e.Option{
		"plain":          basicHeader(f.id + ":" + f.secret),
		"all in percent": basicHeader(percent(f.id) + ":" + percent(f.secret)),
		"bare":           basicHeader(bare + ":" + f.secret),
		"lower case":     header("Authorization", "basic "+base64.StdEncoding.EncodeToString([]byte(f.id+":"+f.secret))),
	} {
		if a := f.Do("POST", "/v1/oauth/token", o, grant); a.Status != 200 {
			t.Errorf("%s: %s", name, a.Body)
		}
	}
	f.unchanged("a bad client", func() {
		for name, o := range map[string]e2e.Option{
			"empty":               basicHeader(""),
			"no colon":            basicHeader(f.id),
			"only a colon":        basicHeader(":"),
			"no secret":           basicHeader(f.id + ":"),
			"no client":           basicHeader(":" + f.secret),
			"colon at the end":    basicHeader(f.id + ":" + f.secret + ":"),
			"colon in percent":    basicHeader(f.id + "%3a" + f.secret),
			"broken percent":      basicHeader(f.id + ":%zz"),
			"half a percent":      basicHeader(f.id + ":" + f.secret + "%"),
			"twice in percent":    basicHeader(strings.ReplaceAll(percent(f.id), "%", "%25") + ":" + f.secret),
			"NUL":                 basicHeader(f.id + ":" + f.secret + "\x00"),
			"NUL in percent":      basicHeader(f.id + ":" + f.secret + "%00"),
			"a space":             basicHeader(f.id + ":" + f.secret + " "),
			"plus":                basicHeader(f.id + "+:" + f.secret),
			"not UTF-8":           basicHeader(f.id + "\xff:" + f.secret),
			"not base64":          header("Authorization", "Basic !!!"),
			"nothing":             header("Authorization", "Basic"),
			"unpadded":            header("Authorization", "Basic "+strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(f.id+":"+f.secret)), "=")+"x"),
			"wrong secret":        basicHeader(f.id + ":" + goodSecret),
			"malformed secret":    basicHeader(f.id + ":" + f.secret[:len(f.secret)-1] + "!"),
			"upper case":          basicHeader(strings.ToUpper(f.id) + ":" + f.secret),
			"version never seen":  basicHeader(bare + "-2:" + f.secret),
			"version zero":        basicHeader(bare + "-0:" + f.secret),
			"leading zero":        basicHeader(bare + "-01:" + f.secret),
			"a cluster's id":      basicHeader("clu_" + bare[4:] + ":" + f.secret),
			"unknown client":      basicHeader("cli_00000000000000000000000000:" + goodSecret),
			"newline in the pair": basicHeader(f.id + ":\n" + f.secret),
		} {
			for _, path := range []string{"/v1/oauth/token", "/v1/oauth/introspect"} {
				a := f.Do("POST", path, o, e2e.Form("grant_type", "client_credentials", "token", "x"))
				want := `Basic realm="keyturn", error="invalid_client", error_description="` + a.Text("error_description") + `"`
				if a.Status != 401 || a.Text("error") != "invalid_client" || a.Text("code") != "UNAUTHORIZED" || a.Header.Get("WWW-Authenticate") != want {
					t.Errorf("%s: %s: %d %s, challenge %q", path, name, a.Status, a.Body, a.Header.Get("WWW-Authenticate"))
				}
			}
		}
	})
	for name, o := range map[string]e2e.Option{
		"none":           grant,
		"another scheme": header("Authorization", "Digest x"),
	} {
		a := f.Want(401, "POST", "/v1/oauth/token", o, grant)
		if a.Text("error") != "invalid_client" || a.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %s, challenge %q", name, a.Body, a.Header.Get("WWW-Authenticate"))
		}
	}
	form := e2e.Form("grant_type", "client_credentials", "client_id", f.id, "client_secret", goodSecret)
	if a := f.Want(401, "POST", "/v1/oauth/token", form); a.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("a client that did not try Basic got the challenge %q", a.Header.Get("WWW-Authenticate"))
	}
	same, unknown := f.Refused(f.id, goodSecret), f.Refused("cli_00000000000000000000000000", goodSecret)
	if same != unknown {
		t.Errorf("a stranger learns which clients there are: %q, %q", same, unknown)
	}
}

func TestServer_Forms(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	const form = "application/x-www-form-urlencoded"
	ok := "grant_type=client_credentials"
	basic := e2e.Basic(f.id, f.secret)
	pair := "&client_id=" + f.id + "&client_secret=" + f.secret
	jwt := "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
	for name, c := range map[string]struct {
		body  string
		error string
		o     e2e.Option
	}{
		"nothing":                   {"", "invalid_request", basic},
		"no grant":                  {"scope=admin", "invalid_request", basic},
		"empty grant":               {"grant_type=", "invalid_request", basic},
		"another grant":             {"grant_type=password", "unsupported_grant_type", basic},
		"grant in another case":     {"grant_type=Client_Credentials", "unsupported_grant_type", basic},
		"parameter in another case": {"Grant_Type=client_credentials", "invalid_request", basic},
		"grant twice":               {ok + "&" + ok, "invalid_request", basic},
		"scope twice":               {ok + "&scope=admin&scope=admin", "invalid_request", basic},
		"scope twice, once empty":   {ok + "&scope=&scope=admin", "invalid_request", basic},
		"unknown twice":             {ok + "&x=1&x=2", "invalid_request", basic},
		"resource twice":            {ok + "&resource=https://a&resource=https://b", "invalid_request", basic},
		"broken percent":            {ok + "&scope=%zz", "invalid_request", basic},
		"semicolon":                 {ok + ";scope=admin", "invalid_request", basic},
		"JSON":                      {`{"grant_type":"client_credentials"}`, "invalid_request", basic},
		"two secrets":               {ok + pair, "invalid_request", basic},
		"another client":            {ok + "&client_id=cli_00000000000000000000000000", "invalid_request", basic},
		"the same, spelled bare":    {ok + "&client_id=" + strings.TrimSuffix(f.id, "-1"), "invalid_request", basic},
		"Basic and assertion":       {ok + jwt + "&client_assertion=a.b.c", "invalid_request", basic},
		"secret and assertion":      {ok + pair + jwt + "&client_assertion=a.b.c", "invalid_request", nil},
		"assertion without type":    {ok + "&client_assertion=a.b.c", "invalid_request", nil},
		"assertion of another type": {ok + "&client_assertion=a.b.c&client_assertion_type=saml", "invalid_request", nil},
		"type without assertion":    {ok + jwt, "invalid_request", nil},
		"scope beyond":              {ok + "&scope=ledger.read", "invalid_scope", basic},
		"scope malformed":           {ok + "&scope=Admin", "invalid_scope", basic},
		"scope with NUL":            {ok + "&scope=admin%00", "invalid_scope", basic},
		"scope not UTF-8":           {ok + "&scope=%ff", "invalid_scope", basic},
		"scope a secret":            {ok + "&scope=" + f.secret, "invalid_scope", basic},
		"65 scopes":                 {ok + "&scope=" + strings.Repeat("a.b+", 65), "invalid_scope", basic},
		"audience with a space":     {ok + "&audience=a+b", "invalid_request", basic},
		"audience with NUL":         {ok + "&audience=%00", "invalid_request", basic},
		"audience too long":         {ok + "&audience=" + strings.Repeat("x", 513), "invalid_request", basic},
		"relative resource":         {ok + "&resource=/x", "invalid_request", basic},
		"resource with a fragment":  {ok + "&resource=https://a/%23x", "invalid_request", basic},
		"audience and resource":     {ok + "&audience=https://a&resource=https://b", "invalid_request", basic},
		"several Authorization":     {ok, "invalid_request", header("Authorization", "Basic eDp5", "Basic eDp5")},
		"Basic and Bearer":          {ok, "invalid_request", header("Authorization", "Bearer x", "Basic eDp5")},
	} {
		o := c.o
		if o == nil {
			o = header("X-Nothing")
		}
		a := f.Do("POST", "/v1/oauth/token", o, e2e.Body(form, c.body))
		if a.Status != 400 || a.Text("error") != c.error || strings.Contains(string(a.Body), f.secret) {
			t.Errorf("%s: %d %s, want %s", name, a.Status, a.Body, c.error)
		}
	}
	for name, body := range map[string]string{
		"as it is":         ok,
		"unknown":          ok + "&x=1&y=",
		"empty ones":       ok + "&scope=&audience=&resource=&client_id=&client_secret=",
		"same client":      ok + "&client_id=" + f.id,
		"audience is both": ok + "&audience=https://a&resource=https://a",
		"ends with &":      ok + "&",
	} {
		if a := f.Do("POST", "/v1/oauth/token", basic, e2e.Body(form, body)); a.Status != 200 {
			t.Errorf("%s: %s", name, a.Body)
		}
	}
	f.Want(200, "POST", "/v1/oauth/token", basic, e2e.Body("application/x-www-form-urlencoded; charset=UTF-8", ok))
	f.Want(401, "POST", "/v1/oauth/token?client_id="+f.id+"&client_secret="+f.secret, e2e.Body(form, ok)) // not in the URL (RFC 6749 §2.3.1)
	for _, path := range []string{"/v1/oauth/token", "/v1/oauth/introspect"} {
		for media, status := range map[string]int{"application/json": 415, "text/plain": 415, "": 415, "multipart/form-data; boundary=x": 415} {
			if a := f.Do("POST", path, basic, e2e.Body(media, ok+"&token=x")); a.Status != status || a.Text("error") != "invalid_request" {
				t.Errorf("%s as %q: %d %s", path, media, a.Status, a.Body)
			}
		}
		if a := f.Do("POST", path, basic, e2e.Body(form, ok+"&x="+strings.Repeat("x", tooLong))); a.Status != 413 || a.Text("code") != "TOO_LARGE" {
			t.Errorf("%s, too large: %d %s", path, a.Status, a.Body)
		}
		if a := f.Do("POST", path, basic, e2e.Body(form, ok+"&x=%zz")); a.Status != 400 {
			t.Errorf("%s: %d", path, a.Status)
		}
	}
	if a := f.Want(400, "POST", "/v1/oauth/introspect", basic, e2e.Form("token", "")); a.Text("error") != "invalid_request" {
		t.Errorf("no token to look at: %s", a.Body)
	}
	if a := f.Want(400, "POST", "/v1/oauth/introspect", e2e.Bearer(f.admin()), e2e.Form("token", "x", "client_secret", f.secret)); a.Text("error") != "invalid_request" {
		t.Errorf("two ways: %s", a.Body)
	}
	a := f.Want(401, "POST", "/v1/oauth/introspect", e2e.Bearer("x"), e2e.Form("token", "x"))
	if a.Header.Get("WWW-Authenticate") != `Bearer realm="keyturn", error="invalid_token"` {
		t.Errorf("challenge %q", a.Header.Get("WWW-Authenticate"))
	}
}

func TestServer_RequestIDs(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	seen := map[string]bool{}
	for _, bad := range []string{"", strings.Repeat("x", 65), "a b", "a/b", "é", "a\tb", "<script>", "a,b", "my-" + goodSecret, "x.eyJhbGciOiJFUzI1NiJ9.e30"} {
		for _, path := range []string{"/livez", "/nowhere", "/v1/credentials"} {
			got := f.Do("GET", path, e2e.Header("X-Request-Id", bad)).Header.Get("Keyturn-Request-Id")
			if got == bad || seen[got] || len(got) < 20 {
				t.Errorf("%q became %q", bad, got)
			}
			seen[got] = true
		}
	}
	for _, good := range []string{"x", strings.Repeat("x", 64), "A.b_c-9"} {
		if got := f.Do("GET", "/nowhere", e2e.Header("X-Request-Id", good)).Header.Get("Keyturn-Request-Id"); got != good {
			t.Errorf("%q became %q", good, got)
		}
	}
	f.Want(201, "POST", "/v1/credentials", e2e.Bearer(f.admin()), e2e.Header("X-Request-Id", "of-the-client"))
	if trail := string(f.Want(200, "GET", "/v1/audit", e2e.Bearer(f.admin())).Body); !strings.Contains(trail, `"request_id":"of-the-client"`) {
		t.Errorf("the trail does not know it: %s", trail)
	}
}

// Nothing may be stored but what is public, and that only where the call went well.
func TestServer_CacheControl(t *testing.T) {
	t.Parallel()
	f, before := newFixture(t, setup{}), newFixture(t, setup{bare: true})
	public := map[string]bool{"/.well-known/jwks.json": true, "/.well-known/openid-configuration": true, "/.well-known/oauth-authorization-server": true}
	token := f.admin()
	for path, methods := range sortedRoutes() {
		for _, method := range methods {
			real := strings.ReplaceAll(path, "{client_id}", "cli_00000000000000000000000000")
			want := "no-store"
			a := f.Do(method, real, e2e.Bearer(token))
			if public[path] && a.Status == 200 {
				want = "public, max-age=300"
			}
			if got := a.Header.Get("Cache-Control"); got != want {
				t.Errorf("%s %s: %d with Cache-Control %q", method, path, a.Status, got)
			}
			if method == "GET" {
				if got := before.Do(method, real).Header.Get("Cache-Control"); got != "no-store" {
					t.Errorf("%s %s without a cluster: %q", method, path, got)
				}
			}
		}
	}
}

// failing is a custody whose keys can be made to fail.
type failing struct {
	authority.Custody
	signer *token.Signer
	broken atomic.Bool
}

var errDisk = errors.New("write /srv/keys/token.key: the disk is on fire")

func (c *failing) Token(_ context.Context, _ *ledger.Cluster, keyID string) (*token.Signer, error) {
	if c.signer == nil || c.signer.Key().ID() != keyID {
		return nil, authority.ErrNoKey
	}
	return c.signer, nil
}

func (c *failing) NewToken(context.Context, string, func(string) bool) (authority.NewKey, error) {
	if c.broken.Load() {
		return authority.NewKey{}, errDisk
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return authority.NewKey{}, err
	}
	c.signer, err = token.NewSigner(brittle{private, &c.broken})
	return authority.NewKey{Key: c.signer.Key()}, err
}

type brittle struct {
	ed25519.PrivateKey
	broken *atomic.Bool
}

func (b brittle) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if b.broken.Load() {
		return nil, errDisk
	}
	return b.PrivateKey.Sign(r, digest, o)
}

// What is not foreseen is a 500 that says nothing; the cause is for the log.
func TestServer_UnknownErrorsSayNothing(t *testing.T) {
	t.Parallel()
	var c *failing
	f := newFixture(t, setup{
		bare:    true,
		options: authority.Options{TokenAlg: "EdDSA"},
		custody: func(next authority.Custody) authority.Custody { c = &failing{Custody: next}; return c },
	})
	internal := func(want string, method, path string, o ...e2e.Option) {
		t.Helper()
		a := f.Want(500, method, path, append(o, e2e.Header("X-Request-Id", "r1"))...)
		if string(a.Body) != want {
			t.Errorf("%s: %s", path, a.Body)
		}
		if seen := f.last(); !errors.Is(seen.Err, errDisk) || seen.Code != "INTERNAL" || seen.Status != 500 || seen.RequestID != "r1" {
			t.Errorf("the log sees %+v", seen)
		}
	}
	c.broken.Store(true) // a key that cannot be made may be made later
	if a := f.Want(503, "POST", "/v1/bootstrap", e2e.JSON(`{}`)); a.Text("code") != "UNAVAILABLE" || !errors.Is(f.last().Err, errDisk) {
		t.Errorf("= %s, %+v", a.Body, f.last())
	}
	c.broken.Store(false)
	f.bootstrap()
	c.broken.Store(true)
	internal(`{"error":"server_error","error_description":"internal error","code":"INTERNAL","request_id":"r1"}`,
		"POST", "/v1/oauth/token", e2e.Basic(f.id, f.secret), e2e.Form("grant_type", "client_credentials"))
}

// A store that fails, at each of its calls in turn, before or after it has done its work: the caller learns that it is not
// available and nothing else, and the same request again heals it. Whatever was answered holds.
func TestServer_FailingStore(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, faulty func(authority.Store) authority.Store) {
		f, err := tryFixture(t, setup{store: faulty, bare: true, options: authority.Options{SoleWriter: true}})
		if err != nil {
			return // it did not even open, and said so
		}
		again := func(status int, method, path string, o ...e2e.Option) e2e.Answer {
			t.Helper()
			for range 3 {
				a := f.Do(method, path, o...)
				if a.Status == status {
					return a
				}
				code := a.Text("code")
				if a.Status != 503 || code != "UNAVAILABLE" || strings.Contains(string(a.Body), "storetest") || strings.Contains(string(a.Body), "meant to fail") {
					t.Fatalf("%s %s: %d %s", method, path, a.Status, a.Body)
				}
				if seen := f.last(); !errors.Is(seen.Err, storetest.ErrInjected) {
					t.Errorf("%s %s: the log sees %v", method, path, seen.Err)
				}
			}
			t.Fatalf("%s %s: it does not heal", method, path)
			return e2e.Answer{}
		}
		key := func(s string) e2e.Option { return e2e.Header("Idempotency-Key", strings.Repeat(s, 32)) }
		grant := e2e.Form("grant_type", "client_credentials")
		boot := again(201, "POST", "/v1/bootstrap", e2e.JSON(`{}`), key("a"))
		basic := e2e.Basic(boot.Text("client_id"), boot.Text("client_secret"))
		admin := e2e.Bearer(again(200, "POST", "/v1/oauth/token", basic, grant).Text("access_token"))
		made := again(201, "POST", "/v1/credentials", admin, e2e.JSON(`{"scopes":["peers.read"]}`), key("b"))
		again(200, "POST", "/v1/oauth/token", e2e.Basic(made.Text("client_id"), made.Text("client_secret")), grant)
		next := again(200, "POST", "/v1/cluster/credentials/rotate", admin, e2e.JSON(`{"emergency":true}`), key("c"))
		basic = e2e.Basic(next.Text("client_id"), next.Text("client_secret"))
		admin = e2e.Bearer(again(200, "POST", "/v1/oauth/token", basic, grant).Text("access_token"))
		again(204, "DELETE", "/v1/credentials/"+made.Text("client_id"), admin)
		page := again(200, "GET", "/v1/audit?limit=500", admin)
		if n := strings.Count(string(page.Body), `"credential.rotate"`); n != 1 {
			t.Errorf("%d rotations were written", n)
		}
		again(200, "GET", "/v1/export", admin)
		again(200, "GET", "/v1/credentials", admin)
	})
}

func TestServer_ClockBehind(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	old, oldSecret := f.id, f.secret
	a := f.Want(200, "POST", "/v1/cluster/credentials/rotate", e2e.Bearer(f.admin()))
	f.id, f.secret = a.Text("client_id"), a.Text("client_secret")
	f.clock.Advance(-29 * time.Second)
	f.Want(200, "GET", "/readyz")
	f.clock.Advance(-3 * time.Minute)
	token := f.admin() // what has no deadline needs no clock
	ready := f.Want(503, "GET", "/readyz")
	if !strings.Contains(string(ready.Body), `"checks":{"clock":"`) || ready.Header.Get("Retry-After") == "" {
		t.Errorf("readyz: %s", ready.Body)
	}
	late := f.Want(503, "POST", "/v1/oauth/token", e2e.Basic(old, oldSecret), e2e.Form("grant_type", "client_credentials"))
	if late.Text("error") != "temporarily_unavailable" || late.Text("code") != "UNAVAILABLE" {
		t.Errorf("a superseded secret: %s", late.Body)
	}
	for _, path := range []string{"/v1/credentials", "/v1/cluster/credentials/rotate"} {
		if w := f.Want(503, "POST", path, e2e.Bearer(token)); w.Text("code") != "UNAVAILABLE" || w.Header.Get("Retry-After") != "30" {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
	f.clock.Advance(3 * time.Minute)
	f.Want(200, "GET", "/readyz")
	f.Token(old, oldSecret)
}

// A closed store is not usable: readyz says so, and so does each call.
func TestServer_ClosedStore(t *testing.T) {
	t.Parallel()
	var store authority.Store
	f := newFixture(t, setup{store: func(s authority.Store) authority.Store { store = s; return closable{s} }})
	token := f.admin()
	f.Want(200, "GET", "/.well-known/jwks.json")
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if a := f.Want(503, "GET", "/readyz"); !strings.Contains(string(a.Body), `"store":"`) {
		t.Errorf("readyz: %s", a.Body)
	}
	f.Want(200, "GET", "/livez")
	f.Want(200, "GET", "/.well-known/jwks.json") // from memory
	for _, route := range f.protected() {
		method, path, _ := strings.Cut(route, " ")
		if path == "/v1/license" || path == "/v1/ledger-keys" {
			continue // they look at their body first
		}
		if a := f.Want(503, method, path, e2e.Bearer(token)); a.Text("code") != "UNAVAILABLE" || strings.Contains(string(a.Body), "bolt") {
			t.Errorf("%s: %s", route, a.Body)
		}
	}
}

// closable can be closed twice.
type closable struct{ authority.Store }

func (closable) Close() error { return nil }

// What the edge logs and counts: each answer once, with its route and not its path, and never what proves somebody.
func TestServer_Observations(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	token := f.admin()
	got := f.last()
	if got.Route != "/v1/oauth/token" || got.Method != "POST" || got.Status != 200 || got.ClientID != f.id || got.Version != 1 || got.Superseded || got.Source != "127.0.0.1" || got.Bytes == 0 {
		t.Errorf("%+v", got)
	}
	count := func() int { f.mu.Lock(); defer f.mu.Unlock(); return len(f.seen) }
	n := count()
	for path, want := range map[string]httpapi.Observation{
		"/v1/credentials/" + f.id:       {Route: "/v1/credentials/{client_id}", Status: 200, ClientID: f.id, Version: 1},
		"/nowhere/" + f.secret:          {Route: "other", Status: 404, Code: "NOT_FOUND"},
		"/v1/credentials?limit=x":       {Route: "/v1/credentials", Status: 400, Code: "INVALID_REQUEST", ClientID: f.id, Version: 1},
		"/v1/audit?subject=" + f.secret: {Route: "/v1/audit", Status: 200, ClientID: f.id, Version: 1},
		"//v1/credentials":              {Route: "other", Status: 404, Code: "NOT_FOUND"},
	} {
		f.Do("GET", path, e2e.Bearer(token))
		n++
		seen := f.last()
		if count() != n || seen.Route != want.Route || seen.Status != want.Status || seen.Code != want.Code || seen.ClientID != want.ClientID || seen.Version != want.Version || seen.Err != nil {
			t.Errorf("%s: %d observations, %+v", path, count()-n, seen)
		}
		if text := fmt.Sprintf("%+v", seen); strings.Contains(text, f.secret) || strings.Contains(text, token) {
			t.Errorf("%s: %s", path, text)
		}
	}
	old, oldSecret := f.id, f.secret
	f.Want(200, "POST", "/v1/cluster/credentials/rotate", e2e.Bearer(token))
	f.Token(old, oldSecret)
	if seen := f.last(); !seen.Superseded || seen.Version != 1 {
		t.Errorf("a superseded secret: %+v", seen)
	}
}

// during calls a function at each Append, before it is done.
type during struct {
	authority.Store
	call func()
}

func (d during) Append(ctx context.Context, b authority.Batch) error {
	d.call()
	return d.Store.Append(ctx, b)
}

// A client that goes away in the middle of a write has done it, and can ask for the answer.
func TestServer_ClientGoesAway(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var leave atomic.Bool
	f := newFixture(t, setup{store: func(s authority.Store) authority.Store {
		return during{s, func() {
			if leave.Load() {
				cancel()
			}
		}}
	}})
	token, key := e2e.Bearer(f.admin()), e2e.Header("Idempotency-Key", strings.Repeat("x", 40))
	r := httptest.NewRequestWithContext(ctx, "POST", "/v1/cluster/credentials/rotate", nil)
	token(r)
	key(r)
	leave.Store(true)
	f.handler.ServeHTTP(httptest.NewRecorder(), r)
	leave.Store(false)
	var a e2e.Answer
	for range 3 { // the write may be on its way still: then it is the same rotation, or a conflict with it
		if a = f.Do("POST", "/v1/cluster/credentials/rotate", token, key); a.Status == 200 {
			break
		}
	}
	if a.Text("version") != "2" || a.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%d %s %v", a.Status, a.Body, a.Header)
	}
	f.Token(a.Text("client_id"), a.Text("client_secret"))
}
