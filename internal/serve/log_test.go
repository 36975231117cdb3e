package serve_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// raw sends a request as it is, and returns the status.
func (h *host) raw(t *testing.T, method, path string, header http.Header, body string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, h.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	a, err := h.transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = a.Body.Close()
	return a.StatusCode
}

func TestLog_HasNoSecretTokenOrQuery(t *testing.T) {
	t.Parallel()
	const bootstrapToken = "bootstrap-token-that-nobody-may-see"
	c := config(t)
	c.BootstrapToken = bootstrapToken
	h := run(t, c)
	request := bootstrapRequest()
	request.Header = http.Header{httpapi.HeaderBootstrapToken: {bootstrapToken}}
	b := do[httpapi.Bootstrapped](t, h, request)
	_, _ = h.Call(t.Context(), bootstrapRequest()) // refused
	first := token(t, h, b.ClientID, b.ClientSecret).AccessToken
	const key = "an-idempotency-key-that-nobody-may-see"
	made := do[httpapi.Created](t, h, httpapi.Request{
		Method: "POST", Path: "/v1/credentials", Bearer: first, Body: httpapi.CreateRequest{Name: "the-name-in-a-body"},
		Header: http.Header{httpapi.HeaderIdempotencyKey: {key}},
	})
	rotated := rotate(t, h, first, 3600)
	second := token(t, h, rotated.ClientID, rotated.ClientSecret).AccessToken
	old := token(t, h, b.ClientID, b.ClientSecret).AccessToken

	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	post := url.Values{"grant_type": {"client_credentials"}, "client_id": {made.ClientID}, "client_secret": {made.ClientSecret}}
	h.raw(t, "POST", "/v1/oauth/token", form, post.Encode())
	h.raw(t, "POST", "/v1/oauth/token?client_secret="+made.ClientSecret+"&hidden=query-value", form, post.Encode())
	h.raw(t, "POST", "/v1/oauth/token", form, strings.Replace(post.Encode(), "sec_", "sec_X", 1))
	h.raw(t, "POST", "/v1/oauth/token", http.Header{"Content-Type": form["Content-Type"], "Authorization": {"Basic bWFsZm9ybWVkLWJhc2lj"}}, post.Encode())
	h.raw(t, "GET", "/v1/credentials?access_token="+first, http.Header{"Authorization": {"Bearer " + second}}, "")
	h.raw(t, "GET", "/v1/credentials", http.Header{"Authorization": {"Bearer " + second + "x"}}, "")
	h.raw(t, "GET", "/"+made.ClientSecret, http.Header{}, "")
	h.raw(t, "GET", "/v1/credentials/"+made.ClientSecret, http.Header{"Authorization": {"Bearer " + second}}, "")
	h.raw(t, "POST", "/v1/oauth/introspect", http.Header{"Content-Type": form["Content-Type"], "Authorization": {"Bearer " + second}}, "token="+old)
	h.raw(t, "DELETE", "/v1/credentials/"+made.ClientID+"?reason=a-reason-in-a-query", http.Header{"Authorization": {"Bearer " + second}}, "")
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	text := h.log.String()
	for what, secret := range map[string]string{
		"bootstrap token": bootstrapToken, "idempotency key": key, "first secret": b.ClientSecret, "created secret": made.ClientSecret,
		"rotated secret": rotated.ClientSecret, "first token": first, "second token": second, "old token": old,
		"signature": strings.Split(second, ".")[2], "Basic": "bWFsZm9ybWVkLWJhc2lj", "query": "query-value", "a query's reason": "a-reason-in-a-query",
		"body": "the-name-in-a-body", "some secret": "sec_", "some token": "eyJ",
	} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds the %s", what)
		}
	}
	if requests := len(h.log.lines(t, "")); requests != 17 {
		t.Errorf("%d lines for 17 requests:\n%s", requests, text)
	}
}

func TestLog_HasOneLineForEachRequest(t *testing.T) {
	t.Parallel()
	c := config(t)
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	c.Now = func() time.Time { return at }
	h := run(t, c)
	b := bootstrap(t, h)
	bearer := token(t, h, b.ClientID, b.ClientSecret).AccessToken
	rotate(t, h, bearer, 60)
	token(t, h, b.ClientID, b.ClientSecret)
	h.raw(t, "GET", "/v1/credentials/"+b.ClientID, http.Header{"X-Request-Id": {"mine-1"}}, "")
	h.raw(t, "BREW", "/nowhere", http.Header{"X-Request-Id": {"mine-2"}}, "")
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	lines := h.log.lines(t, "")
	if len(lines) != 6 {
		t.Fatalf("%d lines for 6 requests:\n%s", len(lines), h.log)
	}
	for _, line := range lines[:4] {
		if id, _ := line["request_id"].(string); len(id) < 20 {
			t.Errorf("request id %q", id)
		}
		line["request_id"] = ""
	}
	base := func(more map[string]any) map[string]any {
		line := map[string]any{"level": "info", "time": "2026-03-04T05:06:07Z", "request_id": "", "ms": 0.0, "source": "127.0.0.1", "status": 200.0}
		for name, value := range more {
			line[name] = value
		}
		return line
	}
	want := []map[string]any{
		base(map[string]any{"method": "POST", "route": "/v1/bootstrap", "status": 201.0}),
		base(map[string]any{"method": "POST", "route": "/v1/oauth/token", "client_id": b.ClientID, "version": 1.0}),
		base(map[string]any{"method": "POST", "route": "/v1/cluster/credentials/rotate", "client_id": b.ClientID, "version": 1.0}),
		base(map[string]any{"method": "POST", "route": "/v1/oauth/token", "client_id": b.ClientID, "version": 1.0, "superseded": true}),
		base(map[string]any{"method": "GET", "route": "/v1/credentials/{client_id}", "status": 401.0, "code": "UNAUTHORIZED", "request_id": "mine-1"}),
		base(map[string]any{"method": "BREW", "route": "other", "status": 404.0, "code": "NOT_FOUND", "request_id": "mine-2"}),
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestLog_SaysWhyARequestFailed(t *testing.T) {
	t.Parallel()
	h := run(t, config(t))
	_, err := h.Call(t.Context(), httpapi.Request{Method: "POST", Path: "/v1/credentials"}) // before bootstrap
	if e := apiError(t, err); e.Status != 503 {
		t.Fatal(err)
	}
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	lines := h.log.lines(t, "")
	if len(lines) != 1 || lines[0]["level"] != "error" || !strings.Contains(fmt.Sprint(lines[0]["error"]), "not bootstrapped") {
		t.Errorf("%v", lines)
	}
}
