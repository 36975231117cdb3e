package agent_test

import (
	"bytes"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/token"
)

// A sidecar whose authority was restored from an older backup decides by itself what it knows, however young its key is, and
// asks that authority nothing: it has forgotten clients, and revocations.
func TestForked_TheAuthorityDecidesNothing(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	c := w.another("127.0.0.1:0")
	c.SignAtOnce = false
	a, _ := w.runs(c)
	w.call(w.URL(), http.MethodPatch, "/v1/peers/"+a.Self().String(), map[string]any{"max_scopes": []string{"billing.read"}}, nil)
	file := filepath.Join(w.DataDir(), "keyturn.db")
	restart := func(change func()) {
		t.Helper()
		if err := w.Down(); err != nil {
			t.Fatal(err)
		}
		change()
		if err := w.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var backup []byte
	restart(func() {
		var err error
		if backup, err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	})
	lost, wide := w.create("billing.read"), w.create("billing.read", "billing.write")
	client := newSigner(t, filepath.Join(c.DataDir, "peer.key"))
	public, err := client.Key().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var keyed httpapi.Created
	w.call(w.URL(), http.MethodPost, "/v1/credentials", httpapi.CreateRequest{Scopes: []string{"billing.read"}, PublicKey: public}, &keyed)
	w.eventually("the sidecar has it all", func() bool { return a.Status(w.now()).Cursors["local"] == w.head() })
	issuer := func(made httpapi.Created, scope string) string {
		t.Helper()
		claims, err := token.Unverified(w.token(a.URL(), made.ClientID, made.ClientSecret, scope).AccessToken)
		if err != nil {
			t.Fatal(err)
		}
		return claims.PeerID
	}
	w.eventually("it passes on what its young key would sign", func() bool { return issuer(lost, "") != a.Self().String() })
	restart(func() {
		if err := os.WriteFile(file, backup, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	w.eventually("it has noticed", func() bool { return strings.Contains(a.Status(w.now()).Problem, "resync") })
	if got := issuer(lost, ""); got != a.Self().String() {
		t.Errorf("the token is from %s, not from the sidecar", got)
	}
	if got := issuer(wide, "billing.read"); got != a.Self().String() {
		t.Errorf("the narrow token is from %s, not from the sidecar", got)
	}
	var identity httpapi.Identity
	w.call(a.URL(), http.MethodGet, "/v1/cluster/identity", nil, &identity)
	assertion, err := client.SignAssertion(token.Assertion{
		Issuer: keyed.ClientID, Subject: keyed.ClientID, Audience: identity.Issuer, ID: "1", ExpiresAt: token.NumericDate(w.now().Unix() + 60),
	})
	if err != nil {
		t.Fatal(err)
	}
	after := w.create("billing.read")
	post := func(header http.Header, form url.Values) answer {
		form.Set("grant_type", "client_credentials")
		header.Set("Content-Type", "application/x-www-form-urlencoded")
		return w.send(http.MethodPost, a.URL()+"/v1/oauth/token", header, form.Encode())
	}
	for what, x := range map[string]answer{
		"BeyondItsScopes": post(basic(wide.ClientID, wide.ClientSecret), url.Values{}),
		"NotKnownHere":    post(basic(after.ClientID, after.ClientSecret), url.Values{}),
		"Assertion": post(http.Header{}, url.Values{
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion},
		}),
	} {
		if x.status != 503 || x.code() != "STALE" || !strings.Contains(string(x.body), "does not continue") {
			t.Errorf("%s: %d %s", what, x.status, x.body)
		}
	}
	var passed httpapi.Created // what the authority alone does, it does: who calls it there gets the same
	w.call(a.URL(), http.MethodPost, "/v1/credentials", httpapi.CreateRequest{Scopes: []string{"billing.read"}}, &passed)
}

// lines is a log that is read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Before there is any copy, everything is unknown, and nothing is gone on with.
func TestAgent_WithoutAnyCopy(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	made := w.create("billing.read")
	text := w.token(w.URL(), made.ClientID, made.ClientSecret, "").AccessToken
	var log lines
	b := &between{next: &http.Transport{}}
	c := w.another("127.0.0.1:0")
	c.Transport, c.Log = b, zerolog.New(&log)
	joined, err := agent.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := joined.Close(); err != nil {
		t.Fatal(err)
	}
	b.set(true, nil)
	a := w.begins(c)
	for name, header := range map[string]http.Header{"pair": basic(made.ClientID, made.ClientSecret), "token": bearer(text)} {
		if x := w.send(http.MethodGet, a.URL()+"/authz", header, ""); x.status != 503 || x.code() != "STALE" {
			t.Errorf("%s: %d %s", name, x.status, x.body)
		}
	}
	_, err = w.tryToken(a.URL(), made.ClientID, made.ClientSecret, "")
	w.refusedWith(err, httpapi.Stale, "the token endpoint")
	w.eventually("it says that it hears nothing", func() bool { return strings.Contains(log.String(), "cannot be pulled") })
	if got := log.String(); strings.Contains(got, "going on with the copy") || !strings.Contains(got, "there is no copy of them yet") {
		t.Errorf("the log:\n%s", got)
	}
}
