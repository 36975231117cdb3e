package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/token"
)

func (r *run) credentials() {
	admin := Bearer(r.admin())
	made := r.Want(201, "POST", "/v1/credentials", admin, JSON(`{"name":"billing","scopes":["billing.read"],"expires_in_seconds":3600,"labels":{"team":"pay"},"reason":"first"}`))
	id, secret := made.Text("client_id"), made.Text("client_secret")
	if made.Header.Get("Location") != "/v1/credentials/"+id || made.Header.Get("Cache-Control") != "no-store" {
		r.T.Errorf("headers %v", made.Header)
	}
	for _, name := range []string{id, id + "-1"} {
		got := r.Want(200, "GET", "/v1/credentials/"+name, admin)
		want := made.Object()
		delete(want, "client_secret")
		if a, b := canonical(got.Object()), canonical(want); a != b {
			r.T.Errorf("read back %s, made %s", a, b)
		}
	}
	r.Want(404, "GET", "/v1/credentials/"+id+"-2", admin)
	if got := r.claims(r.Token(id, secret)).Scope; got != "billing.read" {
		r.T.Errorf("scope %q", got)
	}
	seen := map[string]bool{}
	for cursor := ""; ; {
		page := r.Want(200, "GET", "/v1/credentials?limit=2&cursor="+cursor, admin)
		var list struct{ Credentials []struct{ ID string } }
		page.Into(r.T, &list)
		if len(list.Credentials) > 2 || strings.Contains(string(page.Body), "sec_") {
			r.T.Errorf("page: %s", page.Body)
		}
		for _, c := range list.Credentials {
			if seen[c.ID] {
				r.T.Errorf("%s is on two pages", c.ID)
			}
			seen[c.ID] = true
		}
		if cursor = page.Text("next_cursor"); cursor == "" {
			break
		}
	}
	if !seen[id] {
		r.T.Errorf("%s is on no page", id)
	}
}

func canonical(v any) string {
	b, _ := json.Marshal(v) // what was decoded can be encoded
	return string(b)
}

// publicKey is private_key_jwt (RFC 7523 §2.2): an assertion works once.
func (r *run) publicKey() {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		r.T.Fatal(err)
	}
	key, err := jwk.New(public)
	if err != nil {
		r.T.Fatal(err)
	}
	made := r.Want(201, "POST", "/v1/credentials", Bearer(r.admin()), JSON(map[string]any{"scopes": []string{"peers.read"}, "public_key": key}))
	if _, has := made.Object()["client_secret"]; has {
		r.T.Error("a client with a key got a secret too")
	}
	id := made.Text("client_id")
	signer, err := token.NewSigner(private)
	if err != nil {
		r.T.Fatal(err)
	}
	now := r.claims(r.admin()).IssuedAt // the deployment's clock
	assertion, err := signer.SignAssertion(token.Assertion{
		Issuer: id, Subject: id, Audience: r.issuer, ExpiresAt: token.NumericDate(now + 60), ID: rand.Text(),
	})
	if err != nil {
		r.T.Fatal(err)
	}
	form := Form("grant_type", "client_credentials", "client_assertion", assertion,
		"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	if got := r.claims(r.Want(200, "POST", "/v1/oauth/token", form).Text("access_token")); got.ClientID != id {
		r.T.Errorf("the token is %s's", got.ClientID)
	}
	r.Want(401, "POST", "/v1/oauth/token", form)
}

// rotate rotates the shared credential and takes over what it answers. It returns what was there before.
func (r *run) rotate(body string) (answer Answer, id, secret string) {
	r.T.Helper()
	id, secret = r.id, r.secret
	answer = r.Want(200, "POST", "/v1/cluster/credentials/rotate", Bearer(r.admin()), JSON(body))
	r.id, r.secret = answer.Text("client_id"), answer.Text("client_secret")
	if r.id == id || r.secret == secret {
		r.T.Errorf("a rotation gave the same again: %s", r.id)
	}
	return answer, id, secret
}

// window: both secrets work inside it, beside each other's client ids; at its end the old one is told why.
func (r *run) window() {
	answer, oldID, oldSecret := r.rotate(`{"window_seconds":3,"reason":"window"}`)
	inside := r.Do("POST", "/v1/oauth/token", Basic(oldID, oldSecret), Form("grant_type", "client_credentials"))
	if inside.Status == 200 { // a slow machine may be late already
		if inside.Text("secret_expires_at") == "" || inside.Text("secret_version_current") != answer.Text("version") {
			r.T.Errorf("a superseded secret is not warned: %s", inside.Body)
		}
	}
	bare, _, _ := strings.Cut(r.id, "-")
	for _, beside := range []string{oldID, r.id, bare} {
		if fresh := r.Want(200, "POST", "/v1/oauth/token", Basic(beside, r.secret), Form("grant_type", "client_credentials")); fresh.Text("secret_expires_at") != "" {
			r.T.Errorf("the new secret beside %s: %s", beside, fresh.Body)
		}
	}
	var refusal string
	r.pass(3*time.Second, func() bool {
		a := r.Do("POST", "/v1/oauth/token", Basic(oldID, oldSecret), Form("grant_type", "client_credentials"))
		refusal = a.Text("error_description")
		return a.Status == 401
	})
	if !strings.Contains(refusal, "retired on 20") || !strings.Contains(refusal, "version "+answer.Text("version")+" is current") {
		r.T.Errorf("a late host is told %q", refusal)
	}
	r.admin()
	shared := r.Want(200, "GET", "/v1/cluster/credentials", Bearer(r.admin()))
	var list struct{ Versions []struct{ Status string } }
	shared.Into(r.T, &list)
	if len(list.Versions) < 2 || list.Versions[0].Status != "current" || list.Versions[1].Status != "retired" {
		r.T.Errorf("versions: %s", shared.Body)
	}
}

func (r *run) zeroWindow() {
	_, oldID, oldSecret := r.rotate(`{"window_seconds":0}`)
	if got := r.Refused(oldID, oldSecret); !strings.Contains(got, "retired on") {
		r.T.Errorf("refused with %q", got)
	}
	r.Refused(r.id, oldSecret)
}

// emergency kills older versions and their tokens at once.
func (r *run) emergency() {
	before := r.admin()
	maker := r.id
	child, _ := r.create("peers.read")
	answer, oldID, oldSecret := r.rotate(`{"emergency":true,"reason":"leaked"}`)
	var list struct {
		Killed        []string
		CreatedBy     []string `json:"created_by_killed"`
		PreviousNames []any    `json:"previous"`
	}
	answer.Into(r.T, &list)
	if !contains(list.Killed, maker) || !contains(list.CreatedBy, child) || len(list.PreviousNames) != 0 {
		r.T.Errorf("emergency: killed %v, created %v, previous %v; want %s and %s", list.Killed, list.CreatedBy, list.PreviousNames, maker, child)
	}
	r.Want(401, "GET", "/v1/credentials", Bearer(before))
	r.Refused(oldID, oldSecret)
	r.admin()
}

func contains(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}

// lostAnswer: the same request again gives the same answer, also to the token that it killed.
func (r *run) lostAnswer() {
	killed, key := r.admin(), Header("Idempotency-Key", rand.Text()+rand.Text())
	rotate := func(status int, body string) Answer {
		return r.Want(status, "POST", "/v1/cluster/credentials/rotate", Bearer(killed), key, JSON(body))
	}
	first := rotate(200, `{"emergency":true}`)
	r.id, r.secret = first.Text("client_id"), first.Text("client_secret")
	again := rotate(200, ` { "emergency" : true } `)
	if string(first.Body) != string(again.Body) || again.Header.Get("Idempotency-Replayed") != "true" || first.Header.Get("Idempotency-Replayed") != "" {
		r.T.Errorf("replay: %s, first: %s", again.Body, first.Body)
	}
	rotate(422, `{"window_seconds":1}`)
	r.Want(401, "POST", "/v1/cluster/credentials/rotate", Bearer(killed), JSON(`{"emergency":true}`))
	r.admin()
}

func (r *run) revocation() {
	admin := Bearer(r.admin())
	id, secret := r.create("services.read")
	text := r.Token(id, secret)
	r.Want(204, "DELETE", "/v1/credentials/"+id+"?reason=done", admin)
	r.Want(204, "DELETE", "/v1/credentials/"+id, admin)
	r.Refused(id, secret)
	a := r.Want(200, "POST", "/v1/oauth/introspect", admin, Form("token", text))
	if string(a.Body) != `{"active":false}` {
		r.T.Errorf("a dead token: %s", a.Body)
	}
	if got := r.Want(200, "GET", "/v1/credentials/"+id, admin); got.Text("status") != "revoked" || got.Text("revoked_at") == "" {
		r.T.Errorf("revoked: %s", got.Body)
	}
	if got := r.Want(409, "DELETE", "/v1/credentials/"+r.id, admin); got.Text("code") != "SELF_REVOCATION" {
		r.T.Errorf("revoking oneself: %s", got.Body)
	}
	writer, writerSecret := r.create("credentials.write")
	dead := r.Token(writer, writerSecret)
	r.Want(204, "DELETE", "/v1/credentials/"+writer, admin)
	r.Want(401, "DELETE", "/v1/credentials/"+id, Bearer(dead)) // a revocation covers tokens that were issued before
	r.Want(404, "DELETE", "/v1/credentials/cli_00000000000000000000000000", admin)
}

// refusals: what is wrong is said, and nothing has happened.
func (r *run) refusals() {
	admin := r.admin()
	before := string(r.Want(200, "GET", "/v1/audit?limit=500", Bearer(admin)).Body)
	none := r.Want(401, "GET", "/v1/credentials")
	if string(none.Body) != `{"error":"unauthorized","code":"UNAUTHORIZED"}` || none.Header.Get("WWW-Authenticate") != `Bearer realm="keyturn"` {
		r.T.Errorf("no token: %s, %q", none.Body, none.Header.Get("WWW-Authenticate"))
	}
	bad := r.Want(401, "GET", "/v1/credentials", Bearer("x"))
	if string(bad.Body) != string(none.Body) || bad.Header.Get("WWW-Authenticate") != `Bearer realm="keyturn", error="invalid_token"` {
		r.T.Errorf("a bad token: %s, %q", bad.Body, bad.Header.Get("WWW-Authenticate"))
	}
	for _, c := range []struct {
		status       int
		code         string
		method, path string
		body         Option
	}{
		{400, "INVALID_REQUEST", "POST", "/v1/credentials", JSON(`{"nmae":"x"}`)},
		{400, "INVALID_REQUEST", "POST", "/v1/credentials", JSON(`{} {}`)},
		{400, "INVALID_SCOPE", "POST", "/v1/credentials", JSON(`{"scopes":["Not a scope"]}`)},
		{413, "TOO_LARGE", "POST", "/v1/credentials", JSON(`{"name":"` + strings.Repeat("x", 70000) + `"}`)},
		{415, "UNSUPPORTED_MEDIA_TYPE", "POST", "/v1/credentials", Body("text/plain", `{}`)},
		{405, "METHOD_NOT_ALLOWED", "PATCH", "/v1/credentials", JSON(`{}`)},
		{404, "NOT_FOUND", "GET", "/v1/nothing", Bearer(admin)},
		{400, "INVALID_REQUEST", "POST", "/v1/cluster/credentials/rotate", JSON(`{"window_seconds":604801}`)},
	} {
		a := r.Want(c.status, c.method, c.path, Bearer(admin), c.body)
		if a.Text("code") != c.code || a.Text("error") == "" || a.Header.Get("Keyturn-Request-Id") == "" {
			r.T.Errorf("%s %s: %s", c.method, c.path, a.Body)
		}
	}
	if after := string(r.Want(200, "GET", "/v1/audit?limit=500", Bearer(admin)).Body); after != before {
		r.T.Error("a refused request changed something")
	}
}
