package agent_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/token"
)

// TestDenied_NothingIsPassedOn: what is denied on this host is refused here, also where only the authority would answer.
func TestDenied_NothingIsPassedOn(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	s, bare := w.Sidecars()[0], strings.TrimSuffix(w.ClientID(), "-1")
	var authority httpapi.Identity
	w.call(w.URL(), http.MethodGet, "/v1/cluster/identity", nil, &authority)
	post := http.Header{"Authorization": {"bearer  " + w.admin}, "Content-Type": {"application/json"}}
	for _, name := range []string{bare, w.ClientID(), authority.PeerID} {
		if err := w.Sidecar(1).Deny(name); err != nil {
			t.Fatal(err)
		}
		if a := w.send(http.MethodGet, s+"/authz", bearer(w.admin), ""); a.status != 401 {
			t.Errorf("%s: /authz %d", name, a.status)
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			if a := w.send(method, s+"/v1/credentials", bearer(w.admin), ""); a.status != 401 || a.header.Get("Www-Authenticate") == "" {
				t.Errorf("%s: %s %d %s", name, method, a.status, a.body)
			}
		}
		if a := w.send(http.MethodPost, s+"/v1/credentials", post, `{}`); a.status != 401 || a.code() != "UNAUTHORIZED" {
			t.Errorf("%s: POST %d %s", name, a.status, a.body)
		}
		if err := w.Sidecar(1).Allow(name); err != nil {
			t.Fatal(err)
		}
	}
	if a := w.send(http.MethodGet, s+"/v1/credentials", bearer(w.admin), ""); a.status != 200 {
		t.Errorf("allowed again: %d %s", a.status, a.body)
	}
}

// TestDenied_Assertions: only the authority can claim them, and it does not know who is denied here.
func TestDenied_Assertions(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	s := w.Sidecars()[0]
	client := newSigner(t, filepath.Join(w.SidecarDir(1), "peer.key"))
	public, err := client.Key().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var made httpapi.Created
	w.call(w.URL(), http.MethodPost, "/v1/credentials", httpapi.CreateRequest{Scopes: []string{"billing.read"}, PublicKey: public}, &made)
	var told httpapi.Identity
	w.call(w.URL(), http.MethodGet, "/v1/cluster/identity", nil, &told)
	ask := func(path, jti, more string) answer {
		text, err := client.SignAssertion(token.Assertion{
			Issuer: made.ClientID, Subject: made.ClientID, Audience: told.Issuer, ID: jti, ExpiresAt: token.NumericDate(w.now().Unix() + 60),
		})
		if err != nil {
			t.Fatal(err)
		}
		form := url.Values{"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {text}}
		return w.send(http.MethodPost, s+path, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, form.Encode()+"&"+more)
	}
	grant, other := "grant_type=client_credentials", w.create("billing.read")
	a := ask("/v1/oauth/token", "1", grant)
	var own httpapi.Token
	if err := json.Unmarshal(a.body, &own); err != nil || a.status != 200 {
		t.Fatalf("before: %d %s", a.status, a.body)
	}
	if a := ask("/v1/oauth/introspect", "2", "token="+own.AccessToken); !strings.Contains(string(a.body), `"active":true`) {
		t.Fatalf("before: %d %s", a.status, a.body)
	}
	// its token is of a denied issuer, the asker is not denied
	if err := w.Sidecar(1).Deny(told.PeerID); err != nil {
		t.Fatal(err)
	}
	if a := ask("/v1/oauth/introspect", "3", "token="+own.AccessToken); a.status != 200 || strings.TrimSpace(string(a.body)) != `{"active":false}` {
		t.Errorf("its token is of a denied issuer: %d %s", a.status, a.body)
	}
	if err := w.Sidecar(1).Deny(other.ID); err != nil {
		t.Fatal(err)
	}
	if a := ask("/v1/oauth/token", "4", grant); a.status != 200 {
		t.Errorf("another one is denied: %d %s", a.status, a.body)
	}
	if err := w.Sidecar(1).Deny(made.ID); err != nil {
		t.Fatal(err)
	}
	for path, more := range map[string]string{"/v1/oauth/token": grant, "/v1/oauth/introspect": "token=x"} {
		if a := ask(path, "5", more); a.status != 401 || !strings.Contains(string(a.body), "invalid_client") {
			t.Errorf("%s, denied: %d %s", path, a.status, a.body)
		}
	}
}

func newSigner(t *testing.T, file string) *token.Signer {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwk.ParsePrivate(text)
	if err != nil {
		t.Fatal(err)
	}
	s, err := token.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAgent_ATokenSpeaksForItsOwnCredential: a sidecar's key cannot make the cluster write down another actor.
func TestAgent_ATokenSpeaksForItsOwnCredential(t *testing.T) {
	t.Parallel()
	w := start(t, 2)
	key, other := newSigner(t, filepath.Join(w.SidecarDir(1), "token.key")), w.create("billing.read")
	claims, err := token.Unverified(w.token(w.Sidecars()[0], w.ClientID(), w.Secret().Reveal(), "").AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	for clientID, want := range map[string]int{w.ClientID(): 200, other.ClientID: 401, strings.TrimSuffix(w.ClientID(), "-1"): 401, "\x1b[2Jroot\nX: y": 401} {
		claims.ClientID = clientID
		text, err := key.Sign(claims)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []string{w.URL() + "/v1/credentials", w.Sidecars()[1] + "/authz"} {
			if a := w.send(http.MethodGet, at, bearer(text), ""); a.status != want {
				t.Errorf("%q at %s: %d, want %d", clientID, at, a.status, want)
			}
		}
	}
}
