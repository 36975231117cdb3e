package agent_test

import (
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// TestForwardAuth_AnswersAsProxiesAsk sends what Envoy, Traefik and Caddy send by their documentation, as docs/forward-auth.md
// has them configured: what a client puts into its own path and query never changes the question.
func TestForwardAuth_AnswersAsProxiesAsk(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	made := w.create("billing.read", "billing.write")
	tok := w.token(w.URL(), made.ClientID, made.ClientSecret, "billing.read").AccessToken
	client, err := httpapi.NewClient(w.URL(), httpapi.ClientOptions{Transport: w.http.Transport, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	foreign, _, err := client.Token(t.Context(), httpapi.TokenParams{ClientID: made.ClientID, ClientSecret: made.ClientSecret, Audience: "https://files.example"})
	if err != nil {
		t.Fatal(err)
	}
	envoy := "/authz?scope=billing.read&audience=" + url.QueryEscape(w.URL()) + "&path="
	traefik := http.Header{
		"X-Forwarded-For": {"192.0.2.7"}, "X-Forwarded-Method": {"POST"}, "X-Forwarded-Proto": {"https"},
		"X-Forwarded-Host": {"bills.example"}, "X-Forwarded-Uri": {"/bills?audience=https://files.example"},
	}
	from := func(h http.Header, host, token string) http.Header {
		all := bearer(token)
		for name, values := range h {
			all[name] = values
		}
		if host != "" {
			all["Host"] = []string{host}
		}
		return all
	}
	for name, c := range map[string]struct {
		method, ask string
		header      http.Header
		status      int
	}{
		"Envoy":                        {"DELETE", envoy + "/bills/1", from(nil, "", tok), 200},
		"EnvoyWithAQuery":              {"POST", envoy + "/bills/1?x=1&y=2", from(nil, "", tok), 200},
		"EnvoyAudienceInTheValue":      {"GET", envoy + "/bills?audience=https://files.example", from(nil, "", foreign.AccessToken), 403},
		"EnvoyAudienceAdded":           {"GET", envoy + "/bills?x=1&audience=https://files.example", from(nil, "", foreign.AccessToken), 400},
		"EnvoyScopeAdded":              {"GET", envoy + "/bills?x=1&scope=peers.read", from(nil, "", tok), 400},
		"EnvoyScopeEmptied":            {"GET", envoy + "/bills?x=1&scope=", from(nil, "", tok), 400},
		"EnvoyScopeEncoded":            {"GET", envoy + "/bills?x=1&%73cope=", from(nil, "", tok), 400},
		"EnvoySemicolon":               {"GET", envoy + "/bills?x=1;audience=https://files.example", from(nil, "", foreign.AccessToken), 400},
		"EnvoyOverride":                {"GET", "/authz?scope=billing.read", from(nil, "", tok), 200},
		"EnvoyPathsOnly":               {"GET", "/authz/bills/1", from(nil, "", tok), 200},
		"EnvoyByTheNameOfTheSite":      {"GET", envoy + "/bills", from(nil, "bills.example", tok), 400},
		"Traefik":                      {"GET", "/authz?scope=billing.read", from(traefik, "", tok), 200},
		"TraefikForwardedUriIsNotRead": {"GET", "/authz?scope=billing.read", from(traefik, "", foreign.AccessToken), 401},
		"TraefikLackingScope":          {"GET", "/authz?scope=billing.write", from(traefik, "", tok), 403},
		"CaddyWithHeaderUp":            {"GET", "/authz?scope=billing.read", from(traefik, "127.0.0.1:8081", tok), 200},
		"CaddyWithoutHeaderUp":         {"GET", "/authz?scope=billing.read", from(traefik, "bills.example", tok), 400},
		"NotBelow":                     {"GET", "/authzz", from(nil, "", tok), 404},
		"OtherMethod":                  {"PURGE", "/authz", from(nil, "", tok), 200},
	} {
		a := w.send(c.method, w.Sidecars()[0]+c.ask, c.header, "")
		if a.status != c.status {
			t.Errorf("%s: %d %s, want %d", name, a.status, a.body, c.status)
		}
		let := a.status == 200
		if got := a.header.Get("Keyturn-Client-Id"); (got != "") != let {
			t.Errorf("%s: %d says that it is %q", name, a.status, got)
		}
	}
}

// TestForwardAuth_OverASocketAnyNameWillDo is why the documentation has Envoy and Caddy use one.
func TestForwardAuth_OverASocketAnyNameWillDo(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	made := w.create("billing.read")
	tok := w.token(w.URL(), made.ClientID, made.ClientSecret, "").AccessToken
	c := w.another("unix:" + filepath.Join(shortDir(t), "s"))
	w.runs(c)
	v := &world{Cluster: w.Cluster, t: t}
	v.over(c.Listen[len("unix:"):])
	if a := v.send(http.MethodGet, "http://bills.example/authz?scope=billing.read", bearer(tok), ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestForwardAuth_TheBoundIsThatOfWhatIsAskedFor: the same token may still read when it may not write any more.
func TestForwardAuth_TheBoundIsThatOfWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	sidecar := w.Sidecars()[0]
	made := w.create("billing.read", "billing.write")
	header := basic(made.ClientID, made.ClientSecret)
	w.eventually("the sidecar has it", func() bool { return w.send(http.MethodGet, sidecar+"/authz", header, "").status == 200 })
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	w.ahead.Store(int64(2 * time.Hour))
	for query, want := range map[string]int{
		"?scope=billing.read": 200, "?scope=billing.write": 503, "?scope=billing.read+billing.write": 503, "": 503, "?scope=peers.read": 403,
	} {
		a := w.send(http.MethodGet, sidecar+"/authz"+query, header, "")
		if a.status != want || want == 503 && (a.code() != "STALE" || a.header.Get("Retry-After") == "" || a.header.Get("WWW-Authenticate") != "") {
			t.Errorf("%q: %d %v %s, want %d", query, a.status, a.header, a.body, want)
		}
	}
}
