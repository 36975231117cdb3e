package verify_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/token"
	"github.com/keyturn/keyturn/sidecar/verify"
)

// The answers are those of the contract, byte for byte.
func TestMiddleware_Answers(t *testing.T) {
	t.Parallel()
	const (
		unauthorized = `{"error":"unauthorized","code":"UNAUTHORIZED"}`
		forbidden    = `{"error":"insufficient scope","code":"FORBIDDEN"}`
		challenge    = `Bearer realm="keyturn"`
		badToken     = `Bearer realm="keyturn", error="invalid_token"`
	)
	w, v := open(t)
	good := w.sign(authorityI, nil)
	handler := v.Middleware(verify.Want{Scopes: []string{"peers.read"}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := verify.FromContext(r.Context())
		if !ok {
			t.Error("no claims")
		}
		_, _ = w.Write([]byte(c.Credential))
	}))
	for name, row := range map[string]struct {
		header    []string
		status    int
		body      string
		challenge string
	}{
		"Good":      {[]string{"Bearer " + good}, 200, sharedI.String(), ""},
		"AnyCase":   {[]string{"bearer  " + good}, 200, sharedI.String(), ""},
		"None":      {nil, 401, unauthorized, challenge},
		"Empty":     {[]string{"Bearer "}, 401, unauthorized, challenge},
		"Basic":     {[]string{"Basic Zm9vOmJhcg=="}, 401, unauthorized, challenge},
		"Twice":     {[]string{"Bearer " + good, "Bearer " + good}, 401, unauthorized, badToken},
		"Bad":       {[]string{"Bearer " + good[:len(good)-8]}, 401, unauthorized, badToken},
		"Expired":   {[]string{"Bearer " + w.sign(authorityI, func(c *token.Claims) { c.ExpiresAt = now.Unix() })}, 401, unauthorized, badToken},
		"Forbidden": {[]string{"Bearer " + w.sign(authorityI, func(c *token.Claims) { c.Scope = "services.read" })}, 403, forbidden, ""},
	} {
		for _, path := range []string{"/", "/v1/oauth/token", "/readyz"} {
			t.Run(name+path, func(t *testing.T) {
				r := httptest.NewRequest("POST", path, nil)
				r.Header["Authorization"] = row.header
				answer := httptest.NewRecorder()
				handler.ServeHTTP(answer, r)
				if answer.Code != row.status || answer.Body.String() != row.body || answer.Header().Get("WWW-Authenticate") != row.challenge {
					t.Errorf("%d %s %v", answer.Code, answer.Body, answer.Header())
				}
				if row.status != 200 && (answer.Header().Get("Keyturn-Request-Id") == "" || answer.Header().Get("Content-Type") != "application/json") {
					t.Errorf("%v", answer.Header())
				}
			})
		}
	}
	if _, ok := verify.FromContext(t.Context()); ok {
		t.Error("claims outside of a request")
	}
}

func TestMiddleware_Stale(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := w.verifier(t, verify.Options{OfflineRead: time.Minute})
	text := w.sign(authorityI, nil)
	w.pass(2 * time.Minute)
	handler := v.Middleware(verify.Want{}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it went through") }))
	ask := func() (int, string, map[string]string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+text)
		r.Header.Set("X-Request-Id", "r1")
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r)
		var body map[string]string
		if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		return answer.Code, answer.Header().Get("Retry-After"), body
	}
	code, retry, body := ask()
	want := map[string]string{
		"error": "this copy of the ledgers cannot tell: the last proof of its freshness is 2m0s old, and 1m0s are allowed",
		"code":  "STALE", "request_id": "r1",
	}
	if diff := cmp.Diff(want, body); code != 503 || retry != "5" || diff != "" {
		t.Errorf("%d %s %s", code, retry, diff)
	}
	v.Close()
	code, _, body = ask()
	if want := "this copy of the ledgers cannot tell: nobody follows the revocations"; code != 503 || body["error"] != want {
		t.Errorf("%d %v: the cause is for nobody else", code, body)
	}
}
