package serve_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/serve"
)

func scrape(t *testing.T, h *host) string {
	t.Helper()
	return string(must(h.Call(t.Context(), httpapi.Request{Path: "/metrics"}))(t).Body)
}

// must makes a failed call end the test.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestMetrics_CountWhatHappened(t *testing.T) {
	t.Parallel()
	h := run(t, config(t))
	b := bootstrap(t, h)
	bearer := token(t, h, b.ClientID, b.ClientSecret).AccessToken
	rotated := rotate(t, h, bearer, 3600)
	token(t, h, b.ClientID, b.ClientSecret)
	token(t, h, b.ClientID, b.ClientSecret)
	token(t, h, rotated.ClientID, rotated.ClientSecret)
	token(t, h, rotated.ClientID, rotated.ClientSecret)
	refused(t, h, b.ClientID, "sec_wrong")
	text := scrape(t, h)
	for _, want := range []string{
		`keyturn_requests_total{route="/v1/oauth/token",method="POST",status="200",code=""} 5`,
		`keyturn_requests_total{route="/v1/oauth/token",method="POST",status="401",code="UNAUTHORIZED"} 1`,
		`keyturn_requests_total{route="/v1/bootstrap",method="POST",status="201",code=""} 1`,
		`keyturn_request_duration_seconds_count{route="/v1/oauth/token"} 6`,
		`keyturn_tokens_issued_total{secret="current"} 3`,
		`keyturn_tokens_issued_total{secret="superseded"} 2`,
		`keyturn_ledger_head{region="local"} 7`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
	for _, want := range []string{`keyturn_build_info\{version="v0",go="go1[^"]*"\} 1`, `keyturn_store_bytes [1-9]\d+`, `go_goroutines [1-9]`, `process_resident_memory_bytes [1-9]`} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(text) {
			t.Errorf("%s is missing", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestMetrics_AreForThisHost(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		open   bool
		remote string
		header string
		method string
		want   int
	}{
		"Loopback":        {remote: "127.0.0.1:1", want: 200},
		"Loopback6":       {remote: "[::1]:1", want: 200},
		"Socket":          {remote: "@", want: 200},
		"Head":            {remote: "127.0.0.1:1", method: "HEAD", want: 200},
		"Post":            {remote: "127.0.0.1:1", method: "POST", want: 405},
		"OtherHost":       {remote: "192.0.2.1:1", want: 404},
		"OtherHostPost":   {remote: "192.0.2.1:1", method: "POST", want: 404},
		"OtherHostOpened": {remote: "192.0.2.1:1", open: true, want: 200},
		"ThroughAProxy":   {remote: "127.0.0.1:1", header: "X-Forwarded-For", want: 404},
		"ThroughAnother":  {remote: "127.0.0.1:1", header: "Via", want: 404},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config(t)
			c.MetricsOpen = row.open
			s := must(serve.Open(t.Context(), c))(t)
			defer s.Close() //nolint:errcheck // nothing was written
			method := row.method
			if method == "" {
				method = "GET"
			}
			r := httptest.NewRequestWithContext(t.Context(), method, "/metrics", http.NoBody)
			r.RemoteAddr = row.remote
			if row.header != "" {
				r.Header.Set(row.header, "192.0.2.7")
			}
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			if w.Code != row.want {
				t.Errorf("status %d, want %d: %s", w.Code, row.want, w.Body)
			}
			if w.Header().Get(httpapi.HeaderRequestID) == "" {
				t.Error("there is no request id")
			}
			if found := strings.Contains(w.Body.String(), "keyturn_build_info"); found != (row.want == 200) {
				t.Errorf("metrics are there: %v", found)
			}
			if row.want == 405 && w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("Allow is %q", w.Header().Get("Allow"))
			}
		})
	}
}
