package httpapi_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/e2e"
)

// subsets are all sets of the known scopes and one custom one: 256 of them.
func subsets() []credential.Scopes {
	all := append(credential.KnownScopes(), "billing.read")
	var list []credential.Scopes
	for bits := range 1 << len(all) {
		var set []credential.Scope
		for i, s := range all {
			if bits>>i&1 == 1 {
				set = append(set, s)
			}
		}
		list = append(list, credential.NewScopes(set...))
	}
	return list
}

// few are the subsets that tell enough: each scope, each pair, all, and all but one. Scopes do not act together.
func few() []credential.Scopes {
	return slices.DeleteFunc(subsets(), func(set credential.Scopes) bool { return len(set) == 0 || len(set) > 2 && len(set) < 7 })
}

// Each route takes the scope that docs/openapi.yaml names for it, and no other set will do.
func TestServer_EachRouteTakesItsScope(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	routes := map[string]credential.Scope{}
	for path, item := range theSpec(t).doc["paths"].(map[string]any) {
		for method, operation := range item.(map[string]any) {
			if scope := scopeOf(operation); method != "parameters" && scope != "" {
				routes[strings.ToUpper(method)+" "+path] = credential.Scope(scope)
			}
		}
	}
	// What passes the door is then refused for its body or target, so that nothing happens.
	bad := e2e.JSON(`{"zzz":1}`)
	f.unchanged("a look at each door", func() {
		for _, has := range few() {
			token := e2e.Bearer(f.Token(f.id, f.secret, "scope", has.String()))
			for route, scope := range routes {
				method, path, _ := strings.Cut(route, " ")
				a := f.Do(method, strings.ReplaceAll(path, "{client_id}", "cli_00000000000000000000000000"), token, bad)
				if opened := a.Status != 403; opened != has.Allow(scope) || a.Status == 401 || a.Status >= 500 {
					t.Errorf("%s with %v: %d %.200s", route, has, a.Status, a.Body)
				}
				if a.Status == 403 && string(a.Body) != forbidden {
					t.Errorf("%s with %v: %s", route, has, a.Body)
				}
			}
		}
	})
}

// gains says whether secret gets anything that has does not grant.
func (f *fixture) gains(has credential.Scopes, id, secret string) bool {
	f.T.Helper()
	granted, err := credential.SplitScopes(f.Want(200, "POST", "/v1/oauth/token", e2e.Basic(id, secret), e2e.Form("grant_type", "client_credentials")).Text("scope"))
	if err != nil {
		f.T.Fatal(err)
	}
	return !has.Cover(granted)
}

// Nobody gains by writing: whatever set of scopes a token has, and whatever it asks for, no secret that it is handed can do
// more than it could.
func TestServer_NobodyGainsByWriting(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	targets := map[string]credential.Scopes{}
	for _, set := range [][]credential.Scope{{"admin"}, {"peers.read"}, {"credentials.write"}, {"billing.read"}, {"credentials.write", "services.write"}} {
		scopes := credential.NewScopes(set...)
		id, _ := f.create(map[string]any{"scopes": scopes.Strings()})
		targets[id] = scopes
	}
	targets[strings.TrimSuffix(f.id, "-1")] = credential.NewScopes("admin")
	asked := subsets()
	for i, has := range few() {
		token := e2e.Bearer(f.Token(f.id, f.secret, "scope", has.String()))
		writer := has.Allow(credential.CredentialsWrite)
		for j := range 4 { // create: nothing, the same, and two others
			want := []credential.Scopes{nil, has, asked[(i*37+3)%256], asked[(i*91+128)%256]}[j]
			a := f.Do("POST", "/v1/credentials", token, e2e.JSON(map[string]any{"scopes": want.Strings()}))
			if may := writer && has.Cover(want); may != (a.Status == 201) || !may && string(a.Body) != forbidden {
				t.Errorf("%v creates %v: %d %s", has, want, a.Status, a.Body)
			}
			if a.Status == 201 && f.gains(has, a.Text("client_id"), a.Text("client_secret")) {
				t.Errorf("%v gained by creating %v", has, want)
			}
		}
		for id, scopes := range targets {
			if writer && has.Cover(scopes) && i%4 != 3 {
				continue // that one is allowed: a few of them are enough
			}
			path := "/v1/credentials/" + id + "/rotate"
			if strings.HasPrefix(f.id, id) {
				path = "/v1/cluster/credentials/rotate"
			}
			a := f.Do("POST", path, token)
			if may := writer && has.Cover(scopes); may != (a.Status == 200) || !may && string(a.Body) != forbidden {
				t.Errorf("%v rotates %v: %d %s", has, scopes, a.Status, a.Body)
			}
			if a.Status == 200 && f.gains(has, a.Text("client_id"), a.Text("client_secret")) {
				t.Errorf("%v gained by rotating %v", has, scopes)
			}
		}
	}
}

// An answer that holds a secret is not given again to a token with less than the one that got it first, and not to another
// credential; also not where the token is dead.
func TestServer_NobodyGainsByReplaying(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	key := e2e.Header("Idempotency-Key", strings.Repeat("k", 32))
	other, otherSecret := f.create(`{"scopes":["admin"]}`)
	full, narrow, reader := f.admin(), f.Token(f.id, f.secret, "scope", "credentials.write"), f.Token(f.id, f.secret, "scope", "peers.read")
	strange := f.Token(other, otherSecret)
	foreign := f.Token(f.id, f.secret, "audience", "https://other.example.com")
	first := f.Want(201, "POST", "/v1/credentials", e2e.Bearer(full), key)
	replay := func(status int, token string) {
		t.Helper()
		a := f.Want(status, "POST", "/v1/credentials", e2e.Bearer(token), key)
		if same := string(a.Body) == string(first.Body); same != (status == 201 && a.Header.Get("Idempotency-Replayed") == "true") {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	}
	replay(201, full)
	replay(201, f.admin())
	replay(403, narrow)
	replay(403, reader)
	replay(401, foreign)
	if a := f.Want(201, "POST", "/v1/credentials", e2e.Bearer(strange), key); a.Text("client_id") == first.Text("client_id") {
		t.Error("another credential's key is the same key")
	}
	a := f.Want(200, "POST", "/v1/cluster/credentials/rotate", e2e.Bearer(full), e2e.JSON(`{"emergency":true}`))
	f.id, f.secret = a.Text("client_id"), a.Text("client_secret")
	replay(201, full) // dead, and still proof of who asked
	replay(403, narrow)
	replay(403, reader)
	replay(401, full[:len(full)-2]+"AA")
	replay(401, unsigned(full))
	replay(401, "")
}

// A bootstrap's answer is given again to whoever shows the key and the bootstrap token.
func TestServer_ReplayedBootstrap(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{bare: true, options: authorityOptions("correct horse battery staple")})
	key := e2e.Header("Idempotency-Key", strings.Repeat("k", 128))
	token := e2e.Header("Keyturn-Bootstrap-Token", "correct horse battery staple")
	for _, o := range [][]e2e.Option{{}, {key}, {e2e.Header("Keyturn-Bootstrap-Token", "wrong"), key}, {e2e.Header("Keyturn-Bootstrap-Token", ""), key}} {
		a := f.Want(401, "POST", "/v1/bootstrap", o...)
		if string(a.Body) != unauthorized || a.Header.Get("WWW-Authenticate") != `Bearer realm="keyturn"` {
			t.Errorf("%s %q", a.Body, a.Header.Get("WWW-Authenticate"))
		}
	}
	first := f.Want(201, "POST", "/v1/bootstrap", key, token, e2e.JSON(`{}`))
	again := f.Want(201, "POST", "/v1/bootstrap", key, token, e2e.JSON(` { } `))
	if string(first.Body) != string(again.Body) || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%s, then %s", first.Body, again.Body)
	}
	f.Want(401, "POST", "/v1/bootstrap", key)
	f.Want(422, "POST", "/v1/bootstrap", key, token, e2e.JSON(`{"a":1}`))
	if a := f.Want(409, "POST", "/v1/bootstrap", token); a.Text("code") != "ALREADY_BOOTSTRAPPED" {
		t.Errorf("%s", a.Body)
	}
}

// What the answers say of scopes is the short form, whatever was sent.
func TestServer_ScopeSpellings(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	a := f.Want(201, "POST", "/v1/credentials", e2e.Bearer(f.admin()),
		e2e.JSON(`{"scopes":["urn:tillered:arctic:peers.read","urn:keyturn:peers.read","peers.read","services.read"]}`))
	var made struct{ Scopes []string }
	if err := json.Unmarshal(a.Body, &made); err != nil || !slices.Equal(made.Scopes, []string{"peers.read", "services.read"}) {
		t.Errorf("%s", a.Body)
	}
	for asked, want := range map[string]string{
		"":                               "peers.read services.read",
		"services.read peers.read":       "services.read peers.read",
		"urn:keyturn:peers.read":         "urn:keyturn:peers.read",
		"urn:tillered:arctic:peers.read": "urn:tillered:arctic:peers.read",
		"peers.read  peers.read":         "peers.read",
	} {
		got := f.Want(200, "POST", "/v1/oauth/token", e2e.Basic(a.Text("client_id"), a.Text("client_secret")),
			e2e.Form("grant_type", "client_credentials", "scope", asked))
		if got.Text("scope") != want {
			t.Errorf("asked %q, got %q, want %q", asked, got.Text("scope"), want)
		}
	}
}
