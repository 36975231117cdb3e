package agent_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/httpapi"
)

func TestAgent_AnswersFromItsCopy(t *testing.T) {
	t.Parallel()
	w := start(t, 2)
	made := w.create("billing.read")
	one, two := w.Sidecars()[0], w.Sidecars()[1]
	tok := w.token(one, made.ClientID, made.ClientSecret, "")
	for _, server := range []string{w.URL(), one, two} {
		a := w.send(http.MethodGet, server+"/.well-known/jwks.json", nil, "")
		var set struct{ Keys []json.RawMessage }
		if err := json.Unmarshal(a.body, &set); err != nil || len(set.Keys) != 3 {
			t.Errorf("%s: %d keys, %v, want those of the authority and both sidecars", server, len(set.Keys), err)
		}
	}
	for _, server := range []string{one, two} {
		a := w.send(http.MethodPut, server+"/authz/x//y?scope=billing.read", bearer(tok.AccessToken), "a body")
		if a.status != 200 || len(a.body) != 0 || a.header.Get("Keyturn-Client-Id") != made.ClientID || a.header.Get("Keyturn-Scope") != "billing.read" ||
			a.header.Get("Keyturn-Version") != "1" || a.header.Get("Keyturn-Age") == "" || a.header.Get("Keyturn-Credential") != made.ID {
			t.Errorf("%d %v %s", a.status, a.header, a.body)
		}
		a = w.send(http.MethodGet, server+"/authz", basic(made.ClientID, made.ClientSecret), "")
		if a.status != 200 || a.header.Get("Keyturn-Credential") != made.ID {
			t.Errorf("Basic: %d %s", a.status, a.body)
		}
	}
	var seen httpapi.Introspection
	a := w.send(http.MethodPost, two+"/v1/oauth/introspect", http.Header{
		"Authorization": {"Bearer " + w.admin}, "Content-Type": {"application/x-www-form-urlencoded"},
	}, "token="+tok.AccessToken)
	if err := json.Unmarshal(a.body, &seen); err != nil || !seen.Active || seen.ClientID != made.ClientID {
		t.Errorf("%d %s", a.status, a.body)
	}
	var who httpapi.Identity
	w.call(one, http.MethodGet, "/v1/cluster/identity", nil, &who)
	if who.PeerID == "" || who.PeerID == w.status(2).PeerID || who.PeerID != w.status(1).PeerID {
		t.Errorf("%+v", who)
	}
	if a := w.send(http.MethodGet, one+"/readyz", nil, ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestAgent_PassesOnWhatOnlyTheAuthorityDoes(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	sidecar := w.Sidecars()[0]
	var done httpapi.Rotation
	w.call(sidecar, http.MethodPost, "/v1/cluster/credentials/rotate", nil, &done)
	if tok := w.token(sidecar, done.ClientID, done.ClientSecret, "admin"); tok.SecretExpiresAt != nil {
		t.Error("the new secret is superseded")
	}
	if tok := w.token(sidecar, w.ClientID(), w.Secret().Reveal(), ""); tok.SecretVersionCurrent != 2 {
		t.Errorf("the old secret: %+v", tok)
	}
	for path, want := range map[string]int{"/v1/nothing": 404, "/v2": 404, "/v1/credentials": 401, "/v1/audit": 401} {
		if a := w.send(http.MethodGet, sidecar+path, nil, ""); a.status != want {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if a := w.send(http.MethodDelete, sidecar+"/v1/audit", bearer(w.admin), ""); a.status != 405 || a.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("%d %v", a.status, a.header)
	}
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	if a := w.send(http.MethodGet, sidecar+"/v1/audit", bearer(w.admin), ""); a.status != 503 || a.code() != "AUTHORITY_UNREACHABLE" || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestAgent_RevocationIsHeardByAll(t *testing.T) {
	t.Parallel()
	w := start(t, 3)
	made := w.create("billing.read")
	tok := w.token(w.URL(), made.ClientID, made.ClientSecret, "").AccessToken
	for _, s := range w.Sidecars() { // cached on each
		for range 3 {
			if a := w.send(http.MethodGet, s+"/authz", bearer(tok), ""); a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			w.token(s, made.ClientID, made.ClientSecret, "")
		}
	}
	w.call(w.URL(), http.MethodDelete, "/v1/credentials/"+made.ID, nil, nil)
	began := time.Now()
	for _, s := range w.Sidecars() {
		w.eventually("the token is refused", func() bool { return w.send(http.MethodGet, s+"/authz", bearer(tok), "").status == 401 })
		_, err := w.tryToken(s, made.ClientID, made.ClientSecret, "")
		w.refusedWith(err, httpapi.Unauthorized, "the secret")
	}
	t.Logf("refused everywhere after %s", time.Since(began))
}

func TestAgent_Offline(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	sidecar := w.Sidecars()[0]
	reads, writes := w.create("billing.read"), w.create("billing.write")
	unheard := w.create("billing.read") // nobody has asked the sidecar for it yet
	for _, c := range []httpapi.Created{reads, writes} {
		w.token(sidecar, c.ClientID, c.ClientSecret, "")
	}
	w.eventually("the sidecar has it all", func() bool { return w.status(1).Cursors["local"] == w.head() })
	old := w.token(sidecar, reads.ClientID, reads.ClientSecret, "").AccessToken
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	w.eventually("it knows that the authority is gone", func() bool {
		return w.send(http.MethodGet, sidecar+"/authz", basic(unheard.ClientID, unheard.ClientSecret), "").status == 200
	})
	w.token(sidecar, writes.ClientID, writes.ClientSecret, "")

	_, err := w.tryToken(sidecar, reads.ClientID, writes.ClientSecret, "")
	w.refusedWith(err, httpapi.Stale, "a pair that is not known and cannot be asked about")
	if a := w.send(http.MethodGet, sidecar+"/authz", bearer("x.y.z"), ""); a.status != 401 {
		t.Errorf("what is no token: %d %s", a.status, a.body)
	}

	w.ahead.Store(int64(50 * time.Minute))
	w.token(sidecar, writes.ClientID, writes.ClientSecret, "")
	w.ahead.Store(int64(61 * time.Minute))
	_, err = w.tryToken(sidecar, writes.ClientID, writes.ClientSecret, "")
	w.refusedWith(err, httpapi.Stale, "beyond the bound for writing")
	fresh := w.token(sidecar, reads.ClientID, reads.ClientSecret, "").AccessToken
	if a := w.send(http.MethodGet, sidecar+"/authz", bearer(old), ""); a.status != 401 {
		t.Errorf("an expired token, offline: %d %s", a.status, a.body)
	}
	if a := w.send(http.MethodGet, sidecar+"/authz", bearer(fresh), ""); a.status != 200 || len(a.header.Get("Keyturn-Age")) != 4 {
		t.Errorf("%d %s, age %s", a.status, a.body, a.header.Get("Keyturn-Age"))
	}
	w.ahead.Store(int64(24*time.Hour + time.Minute))
	_, err = w.tryToken(sidecar, reads.ClientID, reads.ClientSecret, "")
	w.refusedWith(err, httpapi.Stale, "beyond the bound for reading")
	if a := w.send(http.MethodGet, sidecar+"/readyz", nil, ""); a.status != 503 || !strings.Contains(string(a.body), "replica") {
		t.Errorf("%d %s", a.status, a.body)
	}
	w.ahead.Store(0)
	if err := w.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.eventually("it follows again", func() bool {
		return w.send(http.MethodGet, sidecar+"/authz?scope=", basic(writes.ClientID, writes.ClientSecret), "").status == 200
	})
}

func TestAgent_StartsFromDiskWithoutTheAuthority(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	made := w.create("billing.read")
	w.token(w.Sidecars()[0], made.ClientID, made.ClientSecret, "")
	before := w.status(1)
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	if err := w.RestartSidecar(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	w.token(w.Sidecars()[0], made.ClientID, made.ClientSecret, "")
	if now := w.status(1); now.PeerID != before.PeerID || now.Cursors["local"] < before.Cursors["local"] {
		t.Errorf("%+v, before %+v", now, before)
	}
}

func TestAgent_Authz(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	url := w.Sidecars()[0] + "/authz"
	made := w.create("billing.read", "billing.write")
	tok := w.token(w.URL(), made.ClientID, made.ClientSecret, "").AccessToken
	client, err := httpapi.NewClient(w.URL(), httpapi.ClientOptions{Transport: w.http.Transport, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := client.Token(t.Context(), httpapi.TokenParams{ClientID: made.ClientID, ClientSecret: made.ClientSecret, Audience: "https://files.example"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		query     string
		header    http.Header
		status    int
		challenge string
	}{
		"Nothing":           {"", nil, 401, `Bearer realm="keyturn"`},
		"BadToken":          {"", bearer("x"), 401, `Bearer realm="keyturn", error="invalid_token"`},
		"BadSecret":         {"", basic(made.ClientID, made.ClientSecret[:len(made.ClientSecret)-1]), 401, `Basic realm="keyturn"`},
		"NotBase64":         {"", http.Header{"Authorization": {"Basic %%%"}}, 401, `Basic realm="keyturn"`},
		"AnotherScheme":     {"", http.Header{"Authorization": {"Digest x"}}, 401, `Bearer realm="keyturn"`},
		"Twice":             {"", http.Header{"Authorization": {"Bearer " + tok, "Bearer " + tok}}, 401, `Bearer realm="keyturn", error="invalid_token"`},
		"Token":             {"", bearer(tok), 200, ""},
		"TokenWithScope":    {"?scope=billing.read+billing.write", bearer(tok), 200, ""},
		"UrnScope":          {"?scope=urn:keyturn:billing.read", bearer(tok), 200, ""},
		"Lacking":           {"?scope=peers.read", bearer(tok), 403, ""},
		"LackingBasic":      {"?scope=peers.read", basic(made.ClientID, made.ClientSecret), 403, ""},
		"OtherAudience":     {"", bearer(other.AccessToken), 401, `Bearer realm="keyturn", error="invalid_token"`},
		"AskedAudience":     {"?audience=https://files.example", bearer(other.AccessToken), 200, ""},
		"AnotherThanAsked":  {"?audience=https://x.example", bearer(other.AccessToken), 403, ""},
		"AudienceOfTheRest": {"?audience=https://files.example", bearer(tok), 403, ""},
		"MalformedScope":    {"?scope=!!", bearer(tok), 400, ""},
		"ScopeTwice":        {"?scope=a.b&scope=c.d", bearer(tok), 400, ""},
	} {
		a := w.send(http.MethodPost, url+c.query, c.header, "")
		if a.status != c.status || a.header.Get("WWW-Authenticate") != c.challenge || a.header.Get("Keyturn-Request-Id") == "" {
			t.Errorf("%s: %d %s, %q", name, a.status, a.body, a.header.Get("WWW-Authenticate"))
		}
		if want := map[int]string{401: `{"error":"unauthorized","code":"UNAUTHORIZED"}`, 403: `{"error":"insufficient scope","code":"FORBIDDEN"}`, 200: ""}[c.status]; c.status != 400 && string(a.body) != want {
			t.Errorf("%s: %s", name, a.body)
		}
	}
}

func TestAgent_DenyAndAllow(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	sidecar := w.Sidecars()[0]
	made := w.create("billing.read")
	tok := w.token(sidecar, made.ClientID, made.ClientSecret, "").AccessToken
	r, err := agent.Find(w.SidecarDir(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Deny(t.Context(), "nobody"); err == nil {
		t.Error("what is no id was denied")
	}
	for _, name := range []string{made.ID, made.ID + "-1", w.status(1).PeerID} {
		if _, err := r.Deny(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if a := w.send(http.MethodGet, sidecar+"/authz", bearer(tok), ""); a.status != 401 {
			t.Errorf("%s is denied, and its token: %d", name, a.status)
		}
		if s := w.status(1); fmt.Sprint(s.Denied) != "["+name+"]" {
			t.Errorf("%v", s.Denied)
		}
		if err := w.RestartSidecar(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		sidecar = w.Sidecars()[0]
		if a := w.send(http.MethodGet, sidecar+"/authz", bearer(tok), ""); a.status != 401 {
			t.Errorf("after a restart: %d", a.status)
		}
		if r, err = agent.Find(w.SidecarDir(1)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Allow(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if a := w.send(http.MethodGet, sidecar+"/authz", bearer(tok), ""); a.status != 200 {
			t.Errorf("%s is allowed, and its token: %d %s", name, a.status, a.body)
		}
	}
	if a := w.send(http.MethodPost, sidecar+"/v1/sidecar/deny", http.Header{"Content-Type": {"application/json"}, "Keyturn-Control": {"x"}}, `{"id":"`+made.ID+`"}`); a.status != 401 {
		t.Errorf("without what the directory holds: %d %s", a.status, a.body)
	}
}

func TestAgent_OnlyThisHost(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	sidecar := w.Sidecars()[0]
	if a := w.send(http.MethodGet, sidecar+"/authz", http.Header{"Host": {"evil.example"}}, ""); a.status != 400 {
		t.Errorf("another Host: %d %s", a.status, a.body)
	}
	for _, path := range []string{"/v1/sidecar/feed", "/metrics"} {
		if a := w.send(http.MethodGet, sidecar+path, nil, ""); a.status != 200 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
		if a := w.send(http.MethodGet, sidecar+path, http.Header{"X-Forwarded-For": {"192.0.2.1"}}, ""); a.status != 404 {
			t.Errorf("%s for another host: %d %s", path, a.status, a.body)
		}
	}
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	w.ahead.Store(int64(48 * time.Hour))
	if w.status(1).Problem == "" {
		t.Error("there is no problem")
	}
	a := w.send(http.MethodGet, sidecar+"/v1/sidecar/status", http.Header{"X-Forwarded-For": {"192.0.2.1"}}, "")
	var s httpapi.SidecarStatus
	if err := json.Unmarshal(a.body, &s); err != nil || a.status != 200 || s.PeerID == "" || s.Problem != "" {
		t.Errorf("the status, for another host: %d %s", a.status, a.body)
	}
	w.ahead.Store(0)
	for _, path := range []string{"/metrics", "/livez"} { // a name that somebody has pointed here
		if a := w.send(http.MethodGet, sidecar+path, http.Header{"Host": {"evil.example"}}, ""); a.status != 400 {
			t.Errorf("%s by another name: %d %s", path, a.status, a.body)
		}
	}
	for _, values := range [][]string{{"", "203.0.113.9"}, {""}} { // what a proxy adds behind an empty header of the client
		if a := w.send(http.MethodGet, sidecar+"/v1/sidecar/feed", http.Header{"X-Forwarded-For": values}, ""); a.status != 404 {
			t.Errorf("forwarded for %q: %d", values, a.status)
		}
	}
	a = w.send(http.MethodOptions, sidecar+"/v1/oauth/token", http.Header{"Origin": {"https://evil.example"}, "Access-Control-Request-Method": {"POST"}}, "")
	for name := range a.header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%s is sent", name)
		}
	}
}

func TestAgent_ARemovedPeer(t *testing.T) {
	t.Parallel()
	w := start(t, 2)
	made := w.create("billing.read")
	tok := w.token(w.Sidecars()[0], made.ClientID, made.ClientSecret, "").AccessToken
	if a := w.send(http.MethodGet, w.Sidecars()[1]+"/authz", bearer(tok), ""); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	w.call(w.URL(), http.MethodDelete, "/v1/peers/"+w.status(1).PeerID, nil, nil)
	w.eventually("its tokens are refused by the other", func() bool {
		return w.send(http.MethodGet, w.Sidecars()[1]+"/authz", bearer(tok), "").status == 401
	})
	if a := w.send(http.MethodGet, w.URL()+"/v1/credentials", bearer(tok), ""); a.status != 401 {
		t.Errorf("at the authority: %d", a.status)
	}
	w.eventually("it says so itself", func() bool { return w.status(1).Problem != "" })
	if a := w.send(http.MethodGet, w.Sidecars()[0]+"/readyz", nil, ""); a.status != 503 || !strings.Contains(string(a.body), "peer") {
		t.Errorf("%d %s", a.status, a.body)
	}
	passed := w.token(w.Sidecars()[0], made.ClientID, made.ClientSecret, "").AccessToken
	if a := w.send(http.MethodGet, w.Sidecars()[1]+"/authz", bearer(passed), ""); a.status != 200 {
		t.Errorf("it does not issue with its own key any more: %d %s", a.status, a.body)
	}
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	_, err := w.tryToken(w.Sidecars()[0], made.ClientID, made.ClientSecret, "")
	w.refusedWith(err, httpapi.Stale, "alone, a removed peer")
}

func TestAgent_Feed(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	url := w.Sidecars()[0] + "/v1/sidecar/feed"
	made := w.create("billing.read")
	w.token(w.Sidecars()[0], made.ClientID, made.ClientSecret, "")
	read := func(query string) (f httpapi.Feed) {
		a := w.send(http.MethodGet, url+query, nil, "")
		if err := json.Unmarshal(a.body, &f); err != nil || a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return f
	}
	first := read("")
	if len(first.Keys.Keys) != 2 || len(first.Peers) != 2 || first.Age == nil || first.Issuer == "" || len(first.Dead) != 0 {
		t.Errorf("%+v", first)
	}
	r, err := agent.Find(w.SidecarDir(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Deny(t.Context(), made.ID+"-7"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	first = read("?wait_seconds=30&after=" + first.Cursor) // it was denied between the two requests
	if len(first.Denied) != 1 || time.Since(began) > 29*time.Second {
		t.Errorf("%+v after %s", first, time.Since(began))
	}
	heard := make(chan httpapi.Feed, 1)
	go func() {
		f := read("?wait_seconds=30&after=" + first.Cursor)
		for range 5 { // other news may come first
			if len(f.Dead) == 0 {
				f = read("?wait_seconds=30&after=" + f.Cursor)
			}
		}
		heard <- f
	}()
	w.call(w.URL(), http.MethodDelete, "/v1/credentials/"+made.ID, nil, nil)
	select {
	case f := <-heard:
		if len(f.Dead) != 1 || f.Dead[0].ID != made.ID || f.Dead[0].Versions != nil || f.Cursor == first.Cursor {
			t.Errorf("%+v", f)
		}
	case <-time.After(29 * time.Second):
		t.Error("nothing was heard of the revocation")
	}
	if read("").Complete || read("?ask=false").Complete {
		t.Error("an answer is complete although nobody was asked")
	}
	w.eventually("the authority was asked", func() bool { return read("?ask=true").Complete })
	for _, bad := range []string{
		"?wait_seconds=31", "?wait_seconds=x", "?after=x", "?after=local:1&after=local:2", "?ask=yes", "?after=local:1", "?after=x" + first.Cursor,
	} {
		if a := w.send(http.MethodGet, url+bad, nil, ""); a.status != 400 {
			t.Errorf("%s: %d %s", bad, a.status, a.body)
		}
	}
}
