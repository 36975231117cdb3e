package httpapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/e2e"
)

// serve answers a request without a network: what no client of Go's could send gets here too.
func (f *fixture) serve(t *testing.T, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	body := w.Body.Bytes()
	switch {
	case w.Code >= 500:
		t.Fatalf("%d %s", w.Code, body)
	case w.Header().Get("Keyturn-Request-Id") == "":
		t.Fatal("no request id")
	case w.Code >= 300 && w.Code < 400:
		t.Fatalf("%d to %q", w.Code, w.Header().Get("Location"))
	case len(body) > 0 && w.Header().Get("Content-Type") != "application/jsonl" && !json.Valid(body):
		t.Fatalf("not JSON: %q", body)
	}
	return w
}

// again gets a new token without a network.
func (f *fixture) again(t *testing.T) string {
	r := httptest.NewRequest("POST", "/v1/oauth/token", nil)
	e2e.Basic(f.id, f.secret)(r)
	e2e.Form("grant_type", "client_credentials")(r)
	return e2e.Answer{Body: f.serve(t, r).Body.Bytes()}.Text("access_token")
}

func FuzzServer_Authorization(f *testing.F) {
	fix := newFixture(f, setup{})
	token := fix.admin()
	for _, s := range []string{
		"", "Basic", "Basic ", "Basic OnA=", "basic Og==", "Basic " + strings.Repeat("A", 100), "Bearer", "Bearer  x.y.z", "Bearer " + token, "Bearer " + unsigned(token),
		"Basic %%%", "Basic Y2xpOiVmZg==", "\x00", "Basic \x00", "Digest a=b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, route := range []string{"POST /v1/oauth/token", "POST /v1/oauth/introspect", "GET /v1/credentials", "POST /v1/bootstrap"} {
			method, path, _ := strings.Cut(route, " ")
			r := httptest.NewRequest(method, path, strings.NewReader("grant_type=client_credentials&token=x"))
			e2e.Header("Content-Type", "application/x-www-form-urlencoded")(r)
			r.Header["Authorization"] = []string{value}
			w := fix.serve(t, r)
			if w.Code == 200 && !strings.Contains(value, token) {
				t.Errorf("%s let %q in", route, value)
			}
			if got := w.Header().Get("WWW-Authenticate"); strings.ContainsFunc(got, func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Errorf("challenge %q", got)
			}
		}
	})
}

func FuzzServer_Form(f *testing.F) {
	fix := newFixture(f, setup{})
	for _, s := range []string{
		"grant_type=client_credentials", "grant_type=client_credentials&scope=admin", "grant_type=client_credentials&scope=%zz", "a=b&a=c", "&&&", "=", "%00=%00", ";",
		"grant_type=client_credentials&audience=https://a&resource=https://a", "grant_type=client_credentials&client_assertion=a.b.c&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
		"token=a.b.c", "grant_type=client_credentials&resource=http://[::1", "\xff",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, path := range []string{"/v1/oauth/token", "/v1/oauth/introspect"} {
			r := httptest.NewRequest("POST", path, strings.NewReader(body))
			e2e.Basic(fix.id, fix.secret)(r)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := fix.serve(t, r)
			var answer struct {
				Error, Code string
				Description string `json:"error_description"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
				t.Fatal(err)
			}
			if w.Code >= 400 && (answer.Error == "" || answer.Code == "" || answer.Description == "") {
				t.Errorf("%s", w.Body)
			}
			if w.Code == 200 && answer.Error != "" {
				t.Errorf("%s", w.Body)
			}
		}
	})
}

func FuzzServer_JSON(f *testing.F) {
	fix := newFixture(f, setup{})
	token := fix.admin()
	for _, s := range []string{
		"", "{}", "null", "[]", `{"name":"x"}`, `{"scopes":["peers.read"]}`, `{"labels":{"a":"b"}}`, `{"window_seconds":1e400}`, `{"a":{"a":{"a":[[[]]]}}}`,
		`{"public_key":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}`, `{"license_id":"lic_"}`, `{"\u0000":1}`, "{\"a\":\"\xff\"}",
		`{"emergency":true}`, `{"expires_in_seconds":-9223372036854775808}`, strings.Repeat(`{"a":`, 100), strings.Repeat("[", 10000),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, route := range []string{
			"POST /v1/credentials", "POST /v1/cluster/credentials/rotate", "PUT /v1/license", "POST /v1/ledger-keys", "POST /v1/bootstrap",
		} {
			method, path, _ := strings.Cut(route, " ")
			r := httptest.NewRequest(method, path, strings.NewReader(body))
			e2e.Bearer(token)(r)
			r.Header.Set("Content-Type", "application/json")
			w := fix.serve(t, r)
			if w.Code < 300 && body != "" && !json.Valid([]byte(body)) {
				t.Errorf("%s took %q", route, body)
			}
			if w.Code == 401 || w.Code == 403 {
				t.Errorf("%s: %d %s", route, w.Code, w.Body)
			}
			if a := (e2e.Answer{Body: w.Body.Bytes()}); path == "/v1/cluster/credentials/rotate" && w.Code == 200 {
				fix.id, fix.secret = a.Text("client_id"), a.Text("client_secret")
				token = fix.again(t) // an emergency has killed the one before
			}
		}
	})
}

func FuzzServer_Path(f *testing.F) {
	fix := newFixture(f, setup{})
	token := fix.admin()
	for path := range sortedRoutes() {
		f.Add("GET", path, "limit=1&after=local:1")
		f.Add("DELETE", path, "reason=x")
	}
	for _, path := range []string{"", "*", "//", "/..", "/v1/credentials/" + fix.id, "/v1/credentials/../x", "/v1/credentials/\x00", "/v1/credentials/{client_id}/rotate", "a", "/%2e%2e/"} {
		f.Add("GET", path, "%zz;&=")
		f.Add("OPTIONS", path, "")
	}
	f.Fuzz(func(t *testing.T, method, path, query string) {
		for _, u := range []*url.URL{{Path: path, RawQuery: query}, {Path: path, RawPath: path, RawQuery: query}, {Opaque: path, RawQuery: query}} {
			r := &http.Request{Method: method, URL: u, RequestURI: path, Host: "a", Header: http.Header{}, Body: io.NopCloser(strings.NewReader("")), RemoteAddr: "127.0.0.1:1"}
			e2e.Bearer(token)(r)
			fix.serve(t, r)
		}
	})
}
