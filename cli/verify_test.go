package main_test

import (
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/token"
)

// TestVerify_SaysWhyNot checks one wrong claim after the other, all of them well signed.
func TestVerify_SaysWhyNot(t *testing.T) {
	t.Parallel()
	const issuer, peer = "https://keyturn.example.com", "peer_00000000000000000000000000"
	now := time.Now()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "jwks.json") {
			_ = json.NewEncoder(w).Encode(jwk.Set{Keys: []jwk.Key{signer.Key()}})
			return
		}
		_, _ = io.WriteString(w, `{"issuer":"`+issuer+`"}`)
	}))
	t.Cleanup(server.Close)
	u := &user{t: t, clock: &clock{}, env: map[string]string{"KEYTURN_SERVER": server.URL, "KEYTURN_CONFIG": t.TempDir() + "/c"}}
	for name, c := range map[string]struct {
		change func(*token.Claims)
		args   []string
		why    string
	}{
		"Good":           {func(*token.Claims) {}, nil, ""},
		"PeerAsIssuer":   {func(c *token.Claims) { c.Issuer = peer }, nil, ""},
		"OtherPeer":      {func(c *token.Claims) { c.Issuer = strings.Replace(peer, "0", "1", 1) }, nil, "its issuer is"},
		"OtherIssuer":    {func(c *token.Claims) { c.Issuer = issuer + "/" }, nil, "its issuer is"},
		"PeerIsNone":     {func(c *token.Claims) { c.Issuer, c.PeerID = "x", "x" }, nil, "its issuer is"},
		"Expired":        {func(c *token.Claims) { c.ExpiresAt = now.Unix() - 60 }, nil, "it expired on"},
		"OfTheFuture":    {func(c *token.Claims) { c.IssuedAt = now.Unix() + 90 }, nil, "a clock is wrong"},
		"SlowClock":      {func(c *token.Claims) { c.IssuedAt = now.Unix() + 10 }, nil, ""},
		"OtherAudience":  {func(c *token.Claims) { c.Audience = token.Audience{"x"} }, nil, `it is for "x"`},
		"ThisAudience":   {func(c *token.Claims) { c.Audience = token.Audience{"x", "y"} }, []string{"--audience", "y"}, ""},
		"EscapeSequence": {func(c *token.Claims) { c.Issuer = "\x1b[2J" }, nil, `its issuer is "?[2J"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			claims := token.Claims{
				Issuer: issuer, PeerID: peer, Subject: "cli_00000000000000000000000000", ClientID: "cli_00000000000000000000000000-1", Version: 1,
				Audience: token.Audience{issuer}, IssuedAt: now.Unix(), ExpiresAt: now.Unix() + 600, ID: "j", Scope: "admin",
				ClusterID: "clu_00000000000000000000000000",
			}
			c.change(&claims)
			text, err := signer.Sign(claims)
			if err != nil {
				t.Fatal(err)
			}
			r := u.types("Bearer "+text+"\n", append([]string{"verify"}, c.args...)...)
			if c.why == "" && r.exit != 0 || c.why != "" && (r.exit != 1 || !strings.Contains(r.stderr, c.why)) {
				t.Errorf("exit %d: %s", r.exit, r.stderr)
			}
			if strings.Contains(r.stdout+r.stderr, text) {
				t.Error("the token is printed again")
			}
		})
	}
}

// TestExport_CutOff: an answer without its last line is no export.
func TestExport_CutOff(t *testing.T) {
	t.Parallel()
	for body, exit := range map[string]int{
		"":                               1,
		`{"record":{}}` + "\n":           1,
		`{"next_cursor":null}` + "\n":    0,
		`{"next_cursor":5}` + "\n":       1,
		"{\"a\":1}\n{\"next_cursor\":nu": 1,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/oauth/token" {
				body := `{"access_token":"t"}`
				_, _ = io.WriteString(w, body)
				return
			}
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(server.Close)
		u := &user{t: t, clock: &clock{}, env: fakeEnv(t, server.URL)}
		if r := u.does("export"); r.exit != exit || exit == 0 && r.stdout != body {
			t.Errorf("%q: exit %d: %s%s", body, r.exit, r.stdout, r.stderr)
		}
	}
}

// TestExport_ManyAnswers: the lines of all answers, and one cursor at the end.
func TestExport_ManyAnswers(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v1/oauth/token":
			_, _ = io.WriteString(w, `{"access_token":"t"}`)
		case r.URL.Query().Get("after") == "":
			_, _ = io.WriteString(w, "{\"record\":1}\n{\"next_cursor\":\"a b\"}\n")
		case r.URL.Query().Get("after") == "a b":
			_, _ = io.WriteString(w, "{\"record\":2}\n{\"hash\":2}\n{\"next_cursor\":null}\n")
		}
	}))
	t.Cleanup(server.Close)
	u := &user{t: t, clock: &clock{}, env: fakeEnv(t, server.URL)}
	want := "{\"record\":1}\n{\"record\":2}\n{\"hash\":2}\n{\"next_cursor\":null}\n"
	if r := u.must("export"); r.stdout != want {
		t.Error(r.stdout)
	}
}
