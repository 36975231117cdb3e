package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// transport answers requests without a network.
type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

func answer(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func newClient(t *testing.T, server string, o httpapi.ClientOptions) *httpapi.Client {
	t.Helper()
	c, err := httpapi.NewClient(server, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewClient_Address(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"http://127.0.0.1:8080", "https://a.example.com/prod/", "https://[::1]:1"} {
		if _, err := httpapi.NewClient(good, httpapi.ClientOptions{}); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "127.0.0.1:8080", "localhost:8080", "ftp://a", "https://", "https://u:hunter2@a", "https://a?x=1", "https://a#b", "http://a\x7f",
	} {
		_, err := httpapi.NewClient(bad, httpapi.ClientOptions{})
		if err == nil {
			t.Errorf("%q was taken", bad)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error repeats the password", bad)
		}
	}
}

func TestClient_Plain(t *testing.T) {
	t.Parallel()
	for server, want := range map[string]bool{
		"http://127.0.0.1:1": false, "http://[::1]:1": false, "http://localhost:1": false,
		"https://a.example.com": false, "http://10.0.0.1:1": true, "http://a.example.com": true,
	} {
		if got := newClient(t, server, httpapi.ClientOptions{}).Plain(); got != want {
			t.Errorf("%s: %v", server, got)
		}
	}
}

func TestClient_CallSendsWhatItIsGiven(t *testing.T) {
	t.Parallel()
	type seen struct{ Method, URL, Body, Authorization, ContentType, Key string }
	var got seen
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = seen{
			r.Method, r.URL.String(), string(b), r.Header.Get("Authorization"), r.Header.Get("Content-Type"),
			r.Header.Get(httpapi.HeaderIdempotencyKey),
		}
		w.Header().Set(httpapi.HeaderReplayed, "true")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"client_id" : "x"}`)
	}))
	defer srv.Close()
	c := newClient(t, srv.URL+"/prod/", httpapi.ClientOptions{})
	a, err := c.Call(t.Context(), httpapi.Request{
		Method: "POST", Path: "/v1/credentials", Query: url.Values{"limit": {"5"}}, Body: map[string]int{"a": 1},
		Bearer: "tok", Header: http.Header{httpapi.HeaderIdempotencyKey: {"k"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := seen{"POST", "/prod/v1/credentials?limit=5", `{"a":1}`, "Bearer tok", "application/json", "k"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if a.Status != 201 || string(a.Body) != `{"client_id" : "x"}` || !a.Replayed() {
		t.Errorf("%d %q %v", a.Status, a.Body, a.Replayed())
	}
}

func TestClient_TokenPercentEncodesBothParts(t *testing.T) {
	t.Parallel()
	c := newClient(t, "http://127.0.0.1:1", httpapi.ClientOptions{Transport: transport(func(r *http.Request) (*http.Response, error) {
		user, pass, _ := r.BasicAuth()
		b, _ := io.ReadAll(r.Body)
		if user != "a%3Ab" || pass != "c%25+d" || string(b) != "audience=aud&grant_type=client_credentials&scope=x+y" {
			t.Errorf("%q %q %q", user, pass, b)
		}
		return answer(200, `{"access_token":"t","expires_in":5,"secret_expires_at":"2026-01-02T03:04:05Z","secret_version_current":7,"new":1}`), nil
	})})
	tok, raw, err := c.Token(t.Context(), httpapi.TokenParams{ClientID: "a:b", ClientSecret: "c% d", Scope: "x y", Audience: "aud"})
	if err != nil {
		t.Fatal(err)
	}
	if tok.AccessToken != "t" || tok.SecretVersionCurrent != 7 || tok.SecretExpiresAt.Unix() != 1767323045 || len(raw) == 0 {
		t.Errorf("%+v %s", tok, raw)
	}
}

func TestClient_Errors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		resp *http.Response
		want httpapi.Error
	}{
		"API": {
			answer(401, `{"error":"unauthorized","code":"UNAUTHORIZED"}`, "Keyturn-Request-Id", "r1"),
			httpapi.Error{Status: 401, Code: httpapi.Unauthorized, Message: "unauthorized", RequestID: "r1"},
		},
		"OAuth": {
			answer(401, `{"error":"invalid_client","error_description":"retired","code":"UNAUTHORIZED"}`),
			httpapi.Error{Status: 401, Code: httpapi.Unauthorized, Message: "retired", OAuth: "invalid_client"},
		},
		"OAuthWithoutDescription": {
			answer(400, `{"error":"invalid_scope"}`),
			httpapi.Error{Status: 400, Message: "invalid_scope", OAuth: "invalid_scope"},
		},
		"RateLimited": {
			answer(429, `{"error":"slow down","code":"RATE_LIMITED"}`, "Retry-After", "7"),
			httpapi.Error{Status: 429, Code: httpapi.RateLimited, Message: "slow down", RetryAfter: 7 * time.Second},
		},
		"Escapes": {
			answer(400, `{"error":"a\u001b[2Jb","code":"INVALID_REQUEST"}`),
			httpapi.Error{Status: 400, Code: httpapi.InvalidRequest, Message: "a [2Jb"},
		},
		"Gateway": {
			answer(502, `<html>Bad Gateway`),
			httpapi.Error{Status: 502, Message: "something between here and the authority answered 502 Bad Gateway"},
		},
		"AnotherProgram": {
			answer(404, `404 page not found`),
			httpapi.Error{Status: 404, Message: "the answer 404 Not Found is not keyturn's; check the server's address"},
		},
		"Redirect": {
			answer(308, ``, "Location", "https://other.example.com/v1/x?token=hunter2"),
			httpapi.Error{Status: 308, Message: "redirected (308 Permanent Redirect) to https://other.example.com, where no credentials are sent; call that address itself if it is the right one"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := newClient(t, "https://a.example.com", httpapi.ClientOptions{Transport: transport(func(*http.Request) (*http.Response, error) { return c.resp, nil })})
			_, err := cl.Call(t.Context(), httpapi.Request{Method: "DELETE", Path: "/v1/x"})
			var e *httpapi.Error
			if !errors.As(err, &e) {
				t.Fatalf("%v", err)
			}
			if d := cmp.Diff(c.want, *e); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestClient_FollowsNoRedirect(t *testing.T) {
	t.Parallel()
	asked := 0
	cl := newClient(t, "https://a.example.com", httpapi.ClientOptions{Transport: transport(func(r *http.Request) (*http.Response, error) {
		asked++
		return answer(302, "", "Location", "https://b.example.com/"), nil
	})})
	if _, err := cl.Call(t.Context(), httpapi.Request{Path: "/x", Bearer: "t"}); err == nil || asked != 1 {
		t.Errorf("%v after %d requests", err, asked)
	}
}

func TestClient_HugeAnswer(t *testing.T) {
	t.Parallel()
	cl := newClient(t, "https://a.example.com", httpapi.ClientOptions{Transport: transport(func(r *http.Request) (*http.Response, error) {
		return answer(200, strings.Repeat("x", 8<<20+1)), nil
	})})
	if _, err := cl.Call(t.Context(), httpapi.Request{Method: "DELETE", Path: "/x"}); !errors.Is(err, httpapi.ErrUnreachable) {
		t.Errorf("%v", err)
	}
}

// script is what a fake server does, one entry for each request; the last one goes on for ever.
type script []func() (*http.Response, error)

func (s script) client(t *testing.T, timeout time.Duration) (*httpapi.Client, *int) {
	asked := new(int)
	return newClient(t, "https://a.example.com", httpapi.ClientOptions{
		Timeout: timeout,
		Transport: transport(func(r *http.Request) (*http.Response, error) {
			if r.Body != nil {
				if b, _ := io.ReadAll(r.Body); string(b) == "" {
					t.Error("a repeated request lost its body")
				}
			}
			*asked++
			return s[min(*asked, len(s))-1]()
		}),
	}), asked
}

func does(status int, body string, header ...string) func() (*http.Response, error) {
	return func() (*http.Response, error) { return answer(status, body, header...), nil }
}

func breaks(err error) func() (*http.Response, error) {
	return func() (*http.Response, error) { return nil, err }
}

func TestClient_Retries(t *testing.T) {
	t.Parallel()
	refused := breaks(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	unavailable := does(503, `{"error":"busy","code":"UNAVAILABLE"}`)
	fine := does(200, `{}`)
	key := http.Header{httpapi.HeaderIdempotencyKey: {"k"}}
	get, write, unkeyed := httpapi.Request{Path: "/x"},
		httpapi.Request{Method: "POST", Path: "/x", Body: 1, Header: key}, httpapi.Request{Method: "POST", Path: "/x", Body: 1}
	for name, c := range map[string]struct {
		script script
		req    httpapi.Request
		asked  int
		ok     bool
	}{
		"GetAfterRefusedConnection":   {script{refused, refused, fine}, get, 3, true},
		"GetAfter503":                 {script{unavailable, fine}, get, 2, true},
		"KeyedWriteAfter503":          {script{unavailable, fine}, write, 2, true},
		"KeyedWriteAfterLostAnswer":   {script{breaks(io.ErrUnexpectedEOF), fine}, write, 2, true},
		"WriteWithoutKeyIsSentOnce":   {script{unavailable, fine}, unkeyed, 1, false},
		"LostWriteWithoutKeyIsToo":    {script{breaks(io.EOF), fine}, unkeyed, 1, false},
		"NotBootstrappedStaysSo":      {script{does(503, `{"error":"x","code":"NOT_BOOTSTRAPPED"}`), fine}, get, 1, false},
		"ConflictIsAnAnswer":          {script{does(409, `{"error":"x","code":"CONFLICT"}`), fine}, write, 1, false},
		"AnUnknownHostStaysSo":        {script{breaks(&net.DNSError{IsNotFound: true}), fine}, get, 1, false},
		"RetryAfterBeyondTheTimeout":  {script{does(503, `{"error":"x","code":"STALE"}`, "Retry-After", "60"), fine}, get, 1, false},
		"RetryAfterInsideTheTimeout":  {script{does(503, `{"error":"x","code":"STALE"}`, "Retry-After", "3"), fine}, get, 2, true},
		"ProxyWithoutAnAuthority":     {script{does(503, `<html>`), fine}, get, 2, true},
		"AnAnswerThatIsJustAnErr":     {script{does(500, `{"error":"internal","code":"INTERNAL"}`), fine}, get, 1, false},
		"ABadGatewayIsNotAskedAgain":  {script{does(502, ``), fine}, get, 1, false},
		"NeverMoreThanTheTimeoutLong": {script{refused}, get, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cl, asked := c.script.client(t, 10*time.Second)
				start := time.Now()
				_, err := cl.Call(t.Context(), c.req)
				if (err == nil) != c.ok || c.asked > 0 && *asked != c.asked {
					t.Errorf("%v after %d requests", err, *asked)
				}
				if took := time.Since(start); took > 10*time.Second {
					t.Errorf("took %s", took)
				}
				if c.asked == 0 && (*asked < 4 || *asked > 40 || !errors.Is(err, syscall.ECONNREFUSED)) {
					t.Errorf("%d requests in 10 s, then %v", *asked, err)
				}
			})
		})
	}
}

func TestClient_TimeoutNamesItsBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cl := newClient(t, "https://a.example.com", httpapi.ClientOptions{
			Timeout: 5 * time.Second,
			Transport: transport(func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}),
		})
		_, err := cl.Call(t.Context(), httpapi.Request{Path: "/x"})
		if !errors.Is(err, httpapi.ErrUnreachable) || !strings.Contains(err.Error(), "no answer within 5s") {
			t.Errorf("%v", err)
		}
	})
}

func TestClient_CancelEndsTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cl := newClient(t, "https://a.example.com", httpapi.ClientOptions{
			Retrying:  func(error, time.Duration) { cancel() },
			Transport: transport(func(r *http.Request) (*http.Response, error) { return nil, syscall.ECONNREFUSED }),
		})
		start := time.Now()
		if _, err := cl.Call(ctx, httpapi.Request{Path: "/x"}); !errors.Is(err, httpapi.ErrUnreachable) || time.Since(start) > 0 {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

func TestClient_TellsWhatItSentAndNoSecret(t *testing.T) {
	t.Parallel()
	var told []string
	cl := newClient(t, "https://a.example.com", httpapi.ClientOptions{
		Sent: func(method, url string, status int, request string, _ time.Duration) {
			told = append(told, fmt.Sprint(method, " ", url, " ", status, " ", request))
		},
		Transport: transport(func(r *http.Request) (*http.Response, error) {
			return answer(401, `{"error":"invalid_client"}`, "Keyturn-Request-Id", "r1"), nil
		}),
	})
	_, _, err := cl.Token(t.Context(), httpapi.TokenParams{ClientID: "c", ClientSecret: "hunter2"})
	if d := cmp.Diff([]string{"POST https://a.example.com/v1/oauth/token 401 r1"}, told); d != "" {
		t.Error(d)
	}
	if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "hunter2") {
		t.Errorf("%v", err)
	}
}

func FuzzClient_ErrorAnswer(f *testing.F) {
	f.Add(401, `{"error":"invalid_client","error_description":"x","code":"UNAUTHORIZED"}`)
	f.Add(500, `{"error":{"a":1}}`)
	f.Add(302, ``)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 300 || status > 599 {
			t.Skip()
		}
		cl := newClient(t, "https://a.example.com", httpapi.ClientOptions{Transport: transport(func(*http.Request) (*http.Response, error) {
			return answer(status, body, "Retry-After", body, "Location", body), nil
		})})
		_, err := cl.Call(t.Context(), httpapi.Request{Method: "DELETE", Path: "/x"})
		var e *httpapi.Error
		if !errors.As(err, &e) || e.Status != status || e.Message == "" || strings.ContainsAny(e.Message, "\x1b\n\r") || e.RetryAfter < 0 {
			t.Errorf("%#v", err)
		}
	})
}
