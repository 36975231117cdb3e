package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/e2e"
)

// wrong is a request that has to be refused.
type wrong struct {
	name    string
	status  int
	code    string
	method  string
	path    string
	options []e2e.Option
}

// refuse sends each of them, and sees that nothing has changed.
func (f *fixture) refuse(what string, list []wrong) {
	f.T.Helper()
	f.unchanged(what, func() {
		for _, w := range list {
			a := f.Do(w.method, w.path, w.options...)
			if a.Status != w.status || a.Text("code") != w.code {
				f.T.Errorf("%s: %s: %d %s; want %d %s: %.200s", what, w.name, a.Status, a.Text("code"), w.status, w.code, a.Body)
			}
			if strings.Contains(string(a.Body), f.secret) {
				f.T.Errorf("%s: %s: the answer repeats a secret", what, w.name)
			}
			if strings.Contains(string(a.Body), `\u003`) {
				f.T.Errorf("%s: %s: words that JSON has to escape are hard to read: %.200s", what, w.name, a.Body)
			}
		}
	})
}

const tooLong = 64<<10 + 1

// jsonBodies are wrong for every route that reads an object with a reason. Bodies are at fault, not who calls.
func jsonBodies(method, path, token, rest string) []wrong {
	var list []wrong
	add := func(status int, code, name, media, body string, more ...e2e.Option) {
		options := append([]e2e.Option{e2e.Bearer(token), e2e.Body(media, body)}, more...)
		list = append(list, wrong{name, status, code, method, path, options})
	}
	for name, body := range map[string]string{
		"unknown member":        `{"zzz":1` + rest + `}`,
		"empty name":            `{"":1` + rest + `}`,
		"differently spelled":   `{"Reason":"x"` + rest + `}`,
		"folded":                `{"rea` + "\u017f" + `on":"x"` + rest + `}`, // encoding/json takes a long s for an s
		"twice":                 `{"reason":"a","reason":"a"` + rest + `}`,
		"twice, one escaped":    `{"reason":"a","\u0072eason":"a"` + rest + `}`,
		"something behind":      `{"reason":"x"` + rest + `} {}`,
		"a letter behind":       `{"reason":"x"` + rest + `}x`,
		"a NUL behind":          `{"reason":"x"` + rest + "}\x00",
		"list":                  `[]`,
		"null":                  `null`,
		"text":                  `"reason"`,
		"number":                `1`,
		"only spaces":           "  \n",
		"cut off":               `{"reason":"x`,
		"no value":              `{"reason":}`,
		"no colon":              `{"reason" "x"` + rest + `}`,
		"comma at the end":      `{"reason":"x"` + rest + `,}`,
		"single quotes":         `{'reason':'x'}`,
		"byte order mark":       "\xef\xbb\xbf" + `{"reason":"x"` + rest + `}`,
		"not UTF-8":             `{"reason":"` + "\xff" + `"` + rest + `}`,
		"half a surrogate pair": `{"reason":"\ud800"` + rest + `}`,
		"NUL inside":            `{"reason":"` + "\x00" + `"` + rest + `}`,
		"escaped NUL":           `{"reason":"\u0000"` + rest + `}`,
		"escape sequence":       `{"reason":"\u001b[31m"` + rest + `}`,
		"newline":               `{"reason":"a\nb"` + rest + `}`,
		"reversed text":         `{"reason":"\u202e"` + rest + `}`,
		"long reason":           `{"reason":"` + strings.Repeat("x", 513) + `"` + rest + `}`,
		"reason is a number":    `{"reason":1` + rest + `}`,
		"reason is a list":      `{"reason":["x"]` + rest + `}`,
		"deep":                  `{"reason":` + strings.Repeat("[", 30000),
	} {
		add(400, "INVALID_REQUEST", name, "application/json", body)
	}
	good := `{"reason":"x"` + rest + `}`
	add(413, "TOO_LARGE", "one byte too long", "application/json", good+strings.Repeat(" ", tooLong-len(good)))
	add(413, "TOO_LARGE", "long and of another type", "text/plain", strings.Repeat("x", tooLong))
	for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json", "application/json2; charset=utf-8", "*/*"} {
		add(415, "UNSUPPORTED_MEDIA_TYPE", "type "+media, media, good)
	}
	add(415, "UNSUPPORTED_MEDIA_TYPE", "compressed", "application/json", good, e2e.Header("Content-Encoding", "gzip"))
	add(415, "UNSUPPORTED_MEDIA_TYPE", "two types", "application/json", good, func(r *http.Request) { r.Header.Add("Content-Type", "application/json") })
	return list
}

// fields are wrong values of members beside the common ones.
func fields(method, path, token, code string, bodies ...string) []wrong {
	var list []wrong
	for _, body := range bodies {
		list = append(list, wrong{body, 400, code, method, path, []e2e.Option{e2e.Bearer(token), e2e.JSON(body)}})
	}
	return list
}

// keysOf are Idempotency-Keys that are none.
func keysOf(method, path, token string) []wrong {
	var list []wrong
	for _, key := range []string{"", "short", strings.Repeat("a", 31), strings.Repeat("a", 129), strings.Repeat("a", 31) + " b", strings.Repeat("a", 32) + ".", strings.Repeat("é", 32)} {
		list = append(list, wrong{
			fmt.Sprintf("Idempotency-Key %.40q", key), 400, "INVALID_REQUEST", method, path,
			[]e2e.Option{e2e.Bearer(token), e2e.Header("Idempotency-Key", key)},
		})
	}
	good := strings.Repeat("k", 32)
	return append(list, wrong{"two keys", 400, "INVALID_REQUEST", method, path, []e2e.Option{
		e2e.Bearer(token), e2e.Header("Idempotency-Key", good), func(r *http.Request) { r.Header.Add("Idempotency-Key", good) },
	}})
}

var rotations = []string{
	`{"window_seconds":-1}`, `{"window_seconds":604801}`, `{"window_seconds":1.5}`, `{"window_seconds":1e3}`, `{"window_seconds":"60"}`,
	`{"window_seconds":9223372036854775807}`, `{"window_seconds":99999999999999999999999}`, `{"window_seconds":-99999999999999999999}`,
	`{"window_seconds":` + strings.Repeat("9", 5000) + `}`, `{"window_seconds":[1]}`, `{"window_seconds":true}`,
	`{"emergency":"true"}`, `{"emergency":1}`, `{"emergency":true,"window_seconds":1}`,
	`{"public_key":{}}`, `{"public_key":"x"}`, `{"public_key":{"kty":"oct","k":"AAAA"}}`, `{"public_key":{"kty":"OKP","crv":"Ed25519","x":"AA"}}`,
}

func TestServer_MalformedWrites(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	token := f.admin()
	id, _ := f.create(`{"scopes":["peers.read"]}`)

	f.refuse("create", jsonBodies("POST", "/v1/credentials", token, ""))
	f.refuse("create", keysOf("POST", "/v1/credentials", token))
	f.refuse("create", fields("POST", "/v1/credentials", token, "INVALID_REQUEST",
		`{"name":1}`, `{"name":"`+strings.Repeat("x", 129)+`"}`, `{"name":"a\tb"}`, `{"scopes":"admin"}`, `{"scopes":[1]}`, `{"scopes":{}}`,
		`{"expires_in_seconds":0}`, `{"expires_in_seconds":-5}`, `{"expires_in_seconds":2147483648}`, `{"expires_in_seconds":"1"}`,
		`{"labels":[]}`, `{"labels":{"a":1}}`, `{"labels":{"":"x"}}`, `{"labels":{"a":"1","a":"2"}}`, `{"labels":{"a":{"b":"c"}}}`,
		`{"labels":{"a":"`+strings.Repeat("x", 65)+`"}}`, `{"labels":{"a":"\u0007"}}`, `{"labels":{`+manyLabels(17)+`}}`,
		`{"public_key":{}}`, `{"public_key":[]}`, `{"public_key":{"kty":"oct","k":"AAAA"}}`,
		`{"public_key":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}}`,
	))
	f.refuse("create", fields("POST", "/v1/credentials", token, "INVALID_SCOPE",
		`{"scopes":[""]}`, `{"scopes":[null]}`, `{"scopes":["Admin"]}`, `{"scopes":["admin peers.read"]}`, `{"scopes":["*"]}`, `{"scopes":["peers"]}`,
		`{"scopes":["ledger.read"]}`, `{"scopes":["urn:keyturn:ledger.read"]}`, `{"scopes":["urn:other:peers.read"]}`, `{"scopes":["`+strings.Repeat("x", 70)+`.read"]}`,
		`{"scopes":[`+strings.Repeat(`"a.b",`, 64)+`"a.b"]}`,
	))
	for _, path := range []string{"/v1/cluster/credentials/rotate", "/v1/credentials/" + id + "/rotate", "/v1/credentials/" + f.id + "/rotate"} {
		f.refuse("rotate", jsonBodies("POST", path, token, ""))
		f.refuse("rotate", keysOf("POST", path, token))
		f.refuse("rotate", fields("POST", path, token, "INVALID_REQUEST", rotations...))
	}
	key := `,"public_key":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	f.refuse("vouch", jsonBodies("POST", "/v1/ledger-keys", token, key))
	f.refuse("vouch", fields("POST", "/v1/ledger-keys", token, "INVALID_REQUEST", `{}`, `{"public_key":null}`, `{"public_key":{"kty":"RSA"}}`, `{"reason":"x"}`))
	for _, w := range jsonBodies("PUT", "/v1/license", token, "") {
		if w.status == 400 {
			w.code = "LICENSE_INVALID"
		}
		f.refuse("license", []wrong{w})
	}
	f.refuse("license", fields("PUT", "/v1/license", token, "LICENSE_INVALID", ``, `{}`, `{"license_id":"lic_00000000000000000000000000"}`))
}

// A body is too large whoever sends it, to whatever path, and whether or not anybody would have read it.
func TestServer_NothingTakesALongBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	token := f.admin()
	id, _ := f.create(`{"scopes":["peers.read"]}`)
	long := e2e.Body("application/json", strings.Repeat(" ", tooLong))
	chunked := func(r *http.Request) { r.ContentLength = -1 }
	var list []wrong
	for path, methods := range map[string][]string{
		"/v1/credentials/" + id:                       {"DELETE", "GET"},
		"/v1/join-keys/jk_01m8121nd0f27raya7qqqe4cma": {"DELETE"},
		"/v1/credentials":                             {"GET", "POST"},
		"/livez":                                      {"GET", "HEAD"},
		"/.well-known/jwks.json":                      {"GET"},
		"/v1/peers/join":                              {"POST"},
	} {
		for _, method := range methods {
			code := "TOO_LARGE"
			if method == "HEAD" {
				code = ""
			}
			list = append(list, wrong{method + " " + path, 413, code, method, path, []e2e.Option{e2e.Bearer(token), long}},
				wrong{method + " " + path + " in chunks, from nobody", 413, code, method, path, []e2e.Option{long, chunked}})
		}
	}
	f.refuse("a long body", list)
}

func manyLabels(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`"l%d":"x"`, i))
	}
	return strings.Join(list, ",")
}

// What is just inside the limits is taken.
func TestServer_EdgesThatAreTaken(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	token := f.admin()
	body := `{"name":"x","expires_in_seconds":2147483647,"labels":{` + manyLabels(16) + `},"public_key":null,"scopes":null}`
	body += strings.Repeat(" ", tooLong-1-len(body))
	f.Want(201, "POST", "/v1/credentials", e2e.Bearer(token), e2e.JSON(body))
	for _, media := range []string{"application/json; charset=utf-8", "Application/JSON", "application/json ;charset", "application/json; charset=latin1; charset=x"} {
		f.Want(201, "POST", "/v1/credentials", e2e.Bearer(token), e2e.Body(media, "{}"))
	}
	f.Want(201, "POST", "/v1/credentials", e2e.Bearer(token))
	f.Want(201, "POST", "/v1/credentials", e2e.Bearer(token), e2e.Body("text/plain", "")) // no body, no type
	f.Want(201, "POST", "/v1/credentials", e2e.Bearer(token), e2e.JSON(`{}`), func(r *http.Request) { r.ContentLength = -1 })
	f.Want(201, "POST", "/v1/credentials", e2e.Bearer(token), e2e.JSON(`{}`), e2e.Header("Content-Encoding", "identity"))
	f.Want(413, "POST", "/v1/credentials", e2e.Bearer(token), e2e.JSON(strings.Repeat(" ", tooLong)), func(r *http.Request) { r.ContentLength = -1 })
	for _, w := range []string{`{"window_seconds":604800}`, `{"window_seconds":0}`, `{"window_seconds":null,"emergency":null,"reason":null}`} {
		a := f.Want(200, "POST", "/v1/cluster/credentials/rotate", e2e.Bearer(token), e2e.JSON(w))
		f.id, f.secret = a.Text("client_id"), a.Text("client_secret")
	}
}

func TestServer_MalformedReads(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	token := f.admin()
	var list []wrong
	add := func(status int, code, path string) {
		list = append(list, wrong{path, status, code, "GET", path, []e2e.Option{e2e.Bearer(token)}})
	}
	for _, limit := range []string{"0", "-1", "501", "x", "1.0", "99999999999999999999", "%00", "1%20"} {
		add(400, "INVALID_REQUEST", "/v1/credentials?limit="+limit)
		add(400, "INVALID_REQUEST", "/v1/audit?limit="+limit)
	}
	add(400, "INVALID_REQUEST", "/v1/export?limit=5001")
	add(400, "INVALID_REQUEST", "/v1/export?limit=0")
	for _, cursor := range []string{"x", "cli_", f.id, "peer_00000000000000000000000000", "cli_0000000000000000000000000U", "%ff", "%00"} {
		add(400, "INVALID_REQUEST", "/v1/credentials?cursor="+cursor)
	}
	for _, cursor := range []string{"x", "local", "local:", "local:x", "local:-1", ":1", "local:1,local:2", "local:9223372036854775808", "local:1,", "%00:"} {
		add(400, "INVALID_REQUEST", "/v1/audit?after="+cursor)
		add(400, "INVALID_REQUEST", "/v1/export?after="+cursor)
	}
	add(400, "INVALID_REQUEST", "/v1/credentials?include=all")
	for _, path := range []string{"/v1/credentials", "/v1/audit", "/v1/export"} {
		add(400, "INVALID_REQUEST", path+"?limit=1&limit=1")
		add(400, "INVALID_REQUEST", path+"?limit=%zz")
		add(400, "INVALID_REQUEST", path+"?limit=1;after=2")
	}
	f.refuse("read", list)

	list = nil
	for _, name := range []string{
		"x", "cli_", "cli_00000000000000000000000000", "CLI_00000000000000000000000000", f.id + "0", f.id + "-1", strings.TrimSuffix(f.id, "1") + "01",
		strings.TrimSuffix(f.id, "1") + "0", strings.TrimSuffix(f.id, "1") + "2", strings.TrimSuffix(f.id, "1") + "999999999", "%00", "%ff", "a%2Fb", "%E2%80%AE", "peer_00000000000000000000000000",
		f.secret, strings.Repeat("a", 4000), "..%2f", "%20" + f.id, f.id + "%20", f.id + ".", "*", "rotate",
	} {
		for _, method := range []string{"GET", "DELETE"} {
			list = append(list, wrong{method + " " + name, 404, "NOT_FOUND", method, "/v1/credentials/" + name, []e2e.Option{e2e.Bearer(token)}})
		}
		list = append(list, wrong{"rotate " + name, 404, "NOT_FOUND", "POST", "/v1/credentials/" + name + "/rotate", []e2e.Option{e2e.Bearer(token)}})
	}
	for _, reason := range []string{"%00", "%1b", "%ff", "%0a", strings.Repeat("x", 513), "a&reason=b", "%zz"} {
		list = append(list, wrong{"reason " + reason, 400, "INVALID_REQUEST", "DELETE", "/v1/credentials/" + f.id + "?reason=" + reason, []e2e.Option{e2e.Bearer(token)}})
	}
	f.refuse("path", list)
}

func TestServer_UnknownPathsAndMethods(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	token := f.admin()
	var list []wrong
	for _, path := range []string{
		"/", "/v1", "/v1/", "/v2/credentials", "/v1/credential", "/v1/credentials/", "/v1/credentials/" + f.id + "/", "/v1/credentials/" + f.id + "/rotate/",
		"//v1/credentials", "/v1//credentials", "/v1/./credentials", "/v1/../v1/credentials", "/v1/credentials/..", "/v1/credentials/.", "/v1/x/../credentials",
		"/v1/%2e%2e/v1/credentials", "/v1/credentials/%2e", "/V1/credentials", "/v1/Credentials", "/v1/credentials%2F", "/v1/credentials%00", "/v1/credentials ", "/livez/", "/livez/x",
		"/.well-known", "/.well-known/", "/.well-known/jwks", "/v1/oauth", "/v1/oauth/token/", "/v1/oauth/revoke", "/metrics", "/v1/bootstrap/x",
	} {
		path = strings.ReplaceAll(path, " ", "%20")
		for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
			list = append(list, wrong{method + " " + path, 404, "NOT_FOUND", method, path, []e2e.Option{e2e.Bearer(token)}})
		}
	}
	f.refuse("unknown path", list)

	all := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "QUERY"}
	f.unchanged("a wrong method", func() {
		for path, methods := range theSpecRoutes() {
			path = strings.ReplaceAll(path, "{client_id}", f.id)
			for _, method := range all {
				if strings.Contains(" "+methods+",", " "+method+",") {
					continue
				}
				a := f.Do(method, path, e2e.Bearer(token), e2e.JSON(`{}`))
				if a.Status != 405 || a.Header.Get("Allow") != methods {
					f.T.Errorf("%s %s: %d, Allow %q, want 405 and %q", method, path, a.Status, a.Header.Get("Allow"), methods)
				}
				oauth := strings.HasPrefix(path, "/v1/oauth/")
				if method != "HEAD" && (a.Text("code") != "METHOD_NOT_ALLOWED" || oauth != (a.Text("error") == "invalid_request")) {
					f.T.Errorf("%s %s: %s", method, path, a.Body)
				}
			}
		}
	})
}

// HEAD gets the headers of GET and no body, whatever the answer.
func TestServer_Head(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	token := f.admin()
	for path, methods := range theSpecRoutes() {
		if !strings.Contains(methods, "GET") {
			continue
		}
		path = strings.ReplaceAll(path, "{client_id}", f.id)
		for _, who := range []string{token, "x"} {
			get, head := f.Do("GET", path, e2e.Bearer(who)), f.Do("HEAD", path, e2e.Bearer(who))
			if head.Status != get.Status || len(head.Body) != 0 || head.Header.Get("Content-Length") != get.Header.Get("Content-Length") ||
				head.Header.Get("Content-Type") != get.Header.Get("Content-Type") {
				t.Errorf("%s: GET %d %v, HEAD %d %v", path, get.Status, get.Header, head.Status, head.Header)
			}
			w := httptest.NewRecorder() // net/http would drop a body; what else carries the handler may not
			f.handler.ServeHTTP(w, httptest.NewRequest("HEAD", path, nil))
			if w.Body.Len() != 0 {
				t.Errorf("HEAD %s writes %s", path, w.Body)
			}
		}
	}
}

// theSpecRoutes are the paths of the server, each with what Allow has to say.
func theSpecRoutes() map[string]string {
	routes := map[string]string{}
	for path, methods := range sortedRoutes() {
		routes[path] = strings.Join(methods, ", ")
	}
	return routes
}

// raw sends bytes as they are, and returns the status and the headers as text.
func (f *fixture) raw(text string) (status int, header http.Header, body string) {
	f.T.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(f.URL, "http://"))
	if err != nil {
		f.T.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // only a test
	if _, err := io.WriteString(c, text); err != nil {
		f.T.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		f.T.Fatalf("%q: %v", text, err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.T.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func TestServer_RawRequests(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	end := "Connection: close\r\n\r\n"
	f.unchanged("a raw request", func() {
		for text, want := range map[string]int{
			"GET /livez HTTP/1.1\r\n" + end:                                                   400, // no Host
			"GET /livez HTTP/1.0\r\n" + end:                                                   200,
			"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + end:                             400,
			"GET http://other.example/livez HTTP/1.1\r\nHost: a\r\n" + end:                    200,
			"GET * HTTP/1.1\r\nHost: a\r\n" + end:                                             404,
			"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n" + end:                                     404,
			"GET livez HTTP/1.1\r\nHost: a\r\n" + end:                                         400,
			"GET /livez\x00 HTTP/1.1\r\nHost: a\r\n" + end:                                    400,
			"GET /v1/credentials HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \x01\r\n" + end: 400,
			"GET /v1/credentials HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \xff\r\n" + end: 401,
			"GET /v1/credentials HTTP/1.1\r\nHost: a\r\nAuthorization:\r\n" + end:             401,
			// A body that ends before its length, or whose chunks are broken.
			"POST /v1/oauth/token HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded\r\n" + end + "zz\r\n": 400,
			"POST /v1/oauth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n" + end:                                                   400,
		} {
			if status, _, body := f.raw(text); status != want {
				t.Errorf("%q: %d %s, want %d", text, status, body, want)
			}
		}
	})
	if status, header, body := f.raw("GET * HTTP/1.1\r\nHost: a\r\n" + end); header.Get("Keyturn-Request-Id") == "" || !strings.Contains(body, "NOT_FOUND") {
		t.Errorf("%d %v %s", status, header, body)
	}
}

// Before there is a cluster, nothing that is wrong founds one, and all else says that there is none.
func TestServer_MalformedBootstrap(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{bare: true})
	for _, w := range append(jsonBodies("POST", "/v1/bootstrap", "", ""), keysOf("POST", "/v1/bootstrap", "")...) {
		a := f.Do(w.method, w.path, w.options...)
		if w.status == 400 && a.Text("code") == "LICENSE_INVALID" {
			continue // it is its own vendor: whatever is no {} is no license for it
		}
		if a.Status != w.status || a.Text("code") != w.code {
			t.Errorf("%s: %d %s", w.name, a.Status, a.Body)
		}
	}
	f.Want(503, "GET", "/v1/cluster/identity")
	f.Want(201, "POST", "/v1/bootstrap") // no body is {}
}

func TestServer_NotBootstrapped(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{bare: true})
	for path, methods := range sortedRoutes() {
		path = strings.ReplaceAll(path, "{client_id}", "cli_00000000000000000000000000")
		for _, method := range methods {
			if path == "/livez" || path == "/readyz" || path == "/v1/bootstrap" || method == "HEAD" {
				continue
			}
			o := []e2e.Option{e2e.Bearer("x.y.z"), e2e.JSON(`{}`)}
			if strings.HasPrefix(path, "/v1/oauth/") {
				o = []e2e.Option{e2e.Basic("cli_00000000000000000000000000", goodSecret), e2e.Form("grant_type", "client_credentials", "token", "x")}
			}
			a := f.Want(503, method, path, o...)
			if a.Text("code") != "NOT_BOOTSTRAPPED" || a.Header.Get("Retry-After") == "" {
				t.Errorf("%s %s: %s", method, path, a.Body)
			}
			if got := f.Do(method, path, o[1:]...); got.Status != 503 && !strings.HasPrefix(path, "/v1/oauth/") {
				t.Errorf("%s %s without a token: %d", method, path, got.Status)
			}
		}
	}
	f.Want(200, "GET", "/livez")
	f.Want(200, "GET", "/readyz")
}
