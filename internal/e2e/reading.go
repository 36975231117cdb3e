package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/token"
)

func (r *run) health() {
	for _, path := range []string{"/livez", "/readyz"} {
		if a := r.Want(200, "GET", path); a.Text("status") != "ok" {
			r.T.Errorf("%s: %s", path, a.Body)
		}
		if head := r.Want(200, "HEAD", path); len(head.Body) != 0 {
			r.T.Errorf("HEAD %s has a body", path)
		}
	}
}

func (r *run) discovery() {
	identity := r.Want(200, "GET", "/v1/cluster/identity")
	r.issuer = identity.Text("issuer")
	var first Answer
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		a := r.Want(200, "GET", path)
		if a.Text("issuer") != r.issuer || strings.HasSuffix(r.issuer, "/") {
			r.T.Errorf("%s names issuer %q, the cluster %q", path, a.Text("issuer"), r.issuer)
		}
		if first.Body != nil && string(first.Body) != string(a.Body) {
			r.T.Errorf("the two documents differ: %s, %s", first.Body, a.Body)
		}
		first = a
	}
	if !strings.HasSuffix(first.Text("token_endpoint"), "/v1/oauth/token") || !strings.HasSuffix(first.Text("jwks_uri"), "/.well-known/jwks.json") {
		r.T.Errorf("endpoints: %s", first.Body)
	}
	if got := r.Want(200, "GET", "/.well-known/jwks.json").Header.Get("Cache-Control"); got != "public, max-age=300" {
		r.T.Errorf("the key set has Cache-Control %q", got)
	}
}

// claims checks a token with the published keys, as any resource server does.
func (r *run) claims(text string) token.Claims {
	r.T.Helper()
	set, err := jwk.ParseSet(r.Want(200, "GET", "/.well-known/jwks.json").Body)
	if err != nil {
		r.T.Fatal(err)
	}
	claims, _, err := token.NewKeySet(set.Keys).Verify(text)
	if err != nil {
		r.T.Fatalf("the published keys do not verify a token: %v", err)
	}
	return claims
}

func (r *run) tokens() {
	answers := map[string]Answer{
		"Basic": r.Want(200, "POST", "/v1/oauth/token", Basic(r.id, r.secret), Form("grant_type", "client_credentials")),
		"form": r.Want(200, "POST", "/v1/oauth/token",
			Form("grant_type", "client_credentials", "client_id", r.id, "client_secret", r.secret)),
	}
	for way, a := range answers {
		c := r.claims(a.Text("access_token"))
		credential, _, _ := strings.Cut(r.id, "-")
		if c.Subject != credential || c.ClientID != r.id || !slices.Equal(c.Audience, token.Audience{r.issuer}) || c.Scope != "admin" {
			r.T.Errorf("%s: claims %+v", way, c)
		}
		if a.Text("token_type") != "Bearer" || a.Text("expires_in") != "3600" || a.Text("scope") != "admin" || c.ExpiresAt-c.IssuedAt != 3600 {
			r.T.Errorf("%s: %s", way, a.Body)
		}
		if a.Header.Get("Cache-Control") != "no-store" {
			r.T.Errorf("%s: the token can be stored by caches", way)
		}
	}
	for name, value := range map[string]string{"audience": "https://billing.example.com", "resource": "https://api.example.com/v1"} {
		text := r.Token(r.id, r.secret, name, value)
		if got := r.claims(text).Audience; !slices.Equal(got, token.Audience{value}) {
			r.T.Errorf("%s %s: aud is %v", name, value, got)
		}
		r.Want(401, "GET", "/v1/credentials", Bearer(text)) // not for us
	}
	bare, _, _ := strings.Cut(r.id, "-")
	if got := r.claims(r.Token(bare, r.secret)).ClientID; got != r.id {
		r.T.Errorf("with the bare id the token names %s, want the version %s", got, r.id)
	}
	if wrong := r.Refused(r.id, strings.Replace(r.secret, "sec_", "sex_", 1)); strings.Contains(wrong, r.secret[4:]) {
		r.T.Error("a refusal repeats the secret")
	}
}

func (r *run) scopes() {
	asked := "urn:tillered:arctic:peers.read urn:keyturn:credentials.read services.read"
	a := r.Want(200, "POST", "/v1/oauth/token", Basic(r.id, r.secret), Form("grant_type", "client_credentials", "scope", asked))
	if a.Text("scope") != asked {
		r.T.Errorf("scope came back as %q, asked was %q", a.Text("scope"), asked)
	}
	narrow := a.Text("access_token")
	if got := r.claims(narrow).Scope; got != "credentials.read peers.read services.read" {
		r.T.Errorf("the token has %q", got)
	}
	r.Want(200, "GET", "/v1/credentials", Bearer(narrow))
	for _, write := range []struct{ method, path string }{
		{"POST", "/v1/credentials"},
		{"POST", "/v1/cluster/credentials/rotate"},
		{"PUT", "/v1/license"},
		{"POST", "/v1/ledger-keys"},
		{"DELETE", "/v1/credentials/" + r.id},
		{"POST", "/v1/credentials/" + r.id + "/rotate"},
		{"GET", "/v1/export"},
	} {
		a := r.Want(403, write.method, write.path, Bearer(narrow))
		if got := string(a.Body); got != `{"error":"insufficient scope","code":"FORBIDDEN"}` {
			r.T.Errorf("%s %s: %s", write.method, write.path, got)
		}
	}
	id, secret := r.create("credentials.write", "peers.read")
	writer := r.Token(id, secret)
	r.Want(403, "POST", "/v1/credentials", Bearer(writer), JSON(`{"scopes":["peers.write"]}`))
	r.Want(403, "POST", "/v1/cluster/credentials/rotate", Bearer(writer)) // it would hand out an admin's secret
	made := r.Want(201, "POST", "/v1/credentials", Bearer(writer))
	if got := made.Object()["scopes"]; len(got.([]any)) != 2 {
		r.T.Errorf("without scopes a credential gets the caller's, got %v", got)
	}
	a = r.Want(400, "POST", "/v1/oauth/token", Basic(id, secret), Form("grant_type", "client_credentials", "scope", "admin"))
	if a.Text("error") != "invalid_scope" {
		r.T.Errorf("more than the client has: %s", a.Body)
	}
}

func (r *run) introspection() {
	id, secret := r.create("services.read")
	other, otherSecret := r.create("services.read")
	reader, readerSecret := r.create("credentials.read")
	text := r.Token(id, secret)
	active := func(o ...Option) bool {
		r.T.Helper()
		a := r.Want(http.StatusOK, "POST", "/v1/oauth/introspect", append(o, Form("token", text))...)
		yes, _ := a.Object()["active"].(bool)
		if !yes && string(a.Body) != `{"active":false}` {
			r.T.Errorf("what is not active says more: %s", a.Body)
		}
		if yes && a.Text("client_id") != id {
			r.T.Errorf("introspection: %s", a.Body)
		}
		return yes
	}
	for who, got := range map[string][2]bool{
		"itself":                {active(Basic(id, secret)), true},
		"itself, with a token":  {active(Bearer(text)), true},
		"a stranger":            {active(Basic(other, otherSecret)), false},
		"one with the scope":    {active(Basic(reader, readerSecret)), true},
		"a token with it":       {active(Bearer(r.Token(reader, readerSecret))), true},
		"an admin's narrow one": {active(Bearer(r.Token(r.id, r.secret, "scope", "peers.read"))), false},
	} {
		if got[0] != got[1] {
			r.T.Errorf("%s sees active=%t, want %t", who, got[0], got[1])
		}
	}
	bad := r.Want(401, "POST", "/v1/oauth/introspect", Bearer("x.y.z"), Form("token", text))
	if bad.Text("error") != "invalid_client" || !strings.HasPrefix(bad.Header.Get("WWW-Authenticate"), "Bearer ") {
		r.T.Errorf("a bad token: %s, %q", bad.Body, bad.Header.Get("WWW-Authenticate"))
	}
	for _, nonsense := range []string{"x", "a.b.c", r.secret, text + "x", strings.Repeat("a", 20000)} {
		a := r.Want(200, "POST", "/v1/oauth/introspect", Basic(id, secret), Form("token", nonsense))
		if string(a.Body) != `{"active":false}` {
			r.T.Errorf("nonsense: %s", a.Body)
		}
	}
}

// trail reads back who did what, and all records.
func (r *run) trail() {
	token := Bearer(r.admin())
	actions := map[string]bool{}
	last := ""
	for after := ""; ; {
		page := r.Want(200, "GET", "/v1/audit?limit=7&after="+after, token)
		var events struct {
			Events []struct{ Action, At string }
		}
		page.Into(r.T, &events)
		for _, e := range events.Events {
			actions[e.Action] = true
			last = max(last, e.At)
		}
		if after = page.Text("next_cursor"); after == "" {
			break
		}
	}
	for _, want := range []string{"cluster.bootstrap", "credential.create", "credential.rotate", "credential.revoke", "key.publish", "license.apply"} {
		if !actions[want] {
			r.T.Errorf("the trail has no %s, but %v", want, actions)
		}
	}
	records := 0
	for after := ""; ; {
		lines := strings.Split(strings.TrimSpace(string(r.Want(200, "GET", "/v1/export?limit=10&after="+after, token).Body)), "\n")
		records += len(lines) - 1
		var end struct {
			Next *string `json:"next_cursor"`
		}
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &end); err != nil {
			r.T.Fatal(err)
		}
		if end.Next == nil {
			break
		}
		after = *end.Next
	}
	if records < 20 {
		r.T.Errorf("the export has %d lines", records)
	}
}
