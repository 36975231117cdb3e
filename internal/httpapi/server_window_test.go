package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/e2e"
)

// ask gets a token, or what was said instead.
func (f *fixture) ask(id, secret string, pairs ...string) e2e.Answer {
	f.T.Helper()
	return f.Do("POST", "/v1/oauth/token", e2e.Basic(id, secret), e2e.Form(append([]string{"grant_type", "client_credentials"}, pairs...)...))
}

// rotate rotates the shared credential, takes over the answer, and returns it.
func (f *fixture) rotate(body string) e2e.Answer {
	f.T.Helper()
	a := f.Want(200, "POST", "/v1/cluster/credentials/rotate", e2e.Bearer(f.admin()), e2e.JSON(body))
	f.id, f.secret = a.Text("client_id"), a.Text("client_secret")
	return a
}

func TestServer_WindowToTheSecond(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	for _, window := range []int{1, 60, 86400, 604800} {
		old, oldSecret := f.id, f.secret
		at := f.clock.Now()
		body := fmt.Sprintf(`{"window_seconds":%d}`, window)
		if window == 86400 {
			body = "{}" // what it is unless said otherwise
		}
		a := f.rotate(body)
		end := at.Truncate(time.Second).Add(time.Duration(window) * time.Second).Format(time.RFC3339)
		var got struct {
			Previous []struct {
				ClientID  string `json:"client_id"`
				ExpiresAt string `json:"expires_at"`
			}
		}
		a.Into(t, &got)
		if len(got.Previous) != 1 || got.Previous[0].ClientID != old || got.Previous[0].ExpiresAt != end {
			t.Errorf("%d: %s", window, a.Body)
		}
		f.clock.Advance(time.Duration(window-1) * time.Second)
		in := f.ask(old, oldSecret)
		if in.Status != 200 || in.Text("expires_in") != "1" || in.Text("secret_expires_at") != end || in.Text("secret_version_current") != a.Text("version") {
			t.Errorf("%d, a second before the end: %d %s", window, in.Status, in.Body)
		}
		f.clock.Advance(time.Second - time.Nanosecond - time.Duration(f.clock.Now().Nanosecond()))
		if in := f.ask(old, oldSecret); in.Status != 200 {
			t.Errorf("%d, a nanosecond before: %s", window, in.Body)
		}
		f.clock.Advance(time.Nanosecond)
		out := f.ask(old, oldSecret)
		want := fmt.Sprintf("this secret is version %d, retired on %s; version %s is current", versionOf(old), end, a.Text("version"))
		if out.Status != 401 || out.Text("error_description") != want {
			t.Errorf("%d, at the end: %d %s, want %q", window, out.Status, out.Body, want)
		}
		for name, id := range map[string]string{"the new client id": f.id, "the bare one": strings.Split(f.id, "-")[0]} {
			if out := f.ask(id, oldSecret); out.Text("error_description") != want {
				t.Errorf("%d, beside %s: %s", window, name, out.Body)
			}
		}
		if out := f.ask(old, goodSecret); strings.Contains(out.Text("error_description"), "retired") {
			t.Errorf("a stranger is told about versions: %s", out.Body)
		}
		f.admin()
	}
}

func versionOf(id string) (n int) {
	_, _ = fmt.Sscanf(id[strings.Index(id, "-"):], "-%d", &n)
	return n
}

// Several rotations: each older version keeps its own deadline, the earliest wins, and each accepted secret works beside
// every client id that the credential ever had.
func TestServer_OlderVersionsKeepTheirDeadlines(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	ids, secrets := []string{f.id}, []string{f.secret}
	for _, window := range []int{100, 1000, 50} {
		f.rotate(fmt.Sprintf(`{"window_seconds":%d}`, window))
		ids, secrets = append(ids, f.id), append(secrets, f.secret)
	}
	ids = append(ids, strings.Split(f.id, "-")[0])
	accepted := func() string {
		var b strings.Builder
		for _, secret := range secrets {
			works := map[bool]int{}
			for _, id := range ids {
				works[f.ask(id, secret).Status == 200]++
			}
			if len(works) != 1 {
				t.Errorf("the secret works beside some of the client ids only: %v", works)
			}
			b.WriteString(map[bool]string{true: "y", false: "n"}[works[true] > 0])
		}
		return b.String()
	}
	for _, step := range []struct {
		wait time.Duration
		want string
	}{{0, "yyyy"}, {50, "yyny"}, {50, "nyny"}, {899, "nyny"}, {1, "nnny"}, {1e6, "nnny"}} {
		f.clock.Advance(step.wait * time.Second)
		if got := accepted(); got != step.want {
			t.Errorf("after %d s more: %s, want %s", step.wait, got, step.want)
		}
	}
	var shared struct {
		Versions []struct {
			Version int
			Status  string
		}
		Previous []any
	}
	f.Want(200, "GET", "/v1/cluster/credentials", e2e.Bearer(f.admin())).Into(t, &shared)
	if shared.Versions[0].Status != "current" || shared.Versions[0].Version != 4 || len(shared.Previous) != 0 {
		t.Errorf("%+v", shared)
	}
}

// A superseded version that is revoked by its own client id is dead at once; the others live.
func TestServer_RevokeOneVersion(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	old, oldSecret, oldToken := f.id, f.secret, f.admin()
	f.rotate(`{}`)
	f.Want(204, "DELETE", "/v1/credentials/"+old+"?reason=leaked", e2e.Bearer(f.admin()))
	if a := f.ask(old, oldSecret); a.Status != 401 || strings.Contains(string(a.Body), "retired") {
		t.Errorf("%s", a.Body)
	}
	f.Want(401, "GET", "/v1/credentials", e2e.Bearer(oldToken))
	f.Token(old, f.secret)
	bare := strings.Split(f.id, "-")[0]
	for _, target := range []string{f.id, bare} {
		if a := f.Want(409, "DELETE", "/v1/credentials/"+target, e2e.Bearer(f.admin())); a.Text("code") != "SELF_REVOCATION" {
			t.Errorf("%s: %s", target, a.Body)
		}
	}
	// Whoever can write credentials may revoke the shared one, unless nothing that lasts would be left.
	id, secret := f.create(`{"scopes":["credentials.write"],"expires_in_seconds":600}`)
	if a := f.Want(409, "DELETE", "/v1/credentials/"+bare, e2e.Bearer(f.Token(id, secret))); a.Text("code") != "LAST_ADMIN" {
		t.Errorf("%s", a.Body)
	}
	id, secret = f.create(`{"scopes":["credentials.write"]}`)
	f.Want(204, "DELETE", "/v1/credentials/"+f.id, e2e.Bearer(f.Token(id, secret)))
	f.Refused(f.id, f.secret)
	f.Refused(bare, f.secret)
}

// The version that is shown is the one to use: not a higher one that is revoked.
func TestServer_ShowsTheCurrentVersion(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	first, firstSecret := f.id, f.secret
	f.create(`{"scopes":["admin"]}`) // else it would be the last one
	f.rotate(`{"window_seconds":600}`)
	second := f.id
	f.Want(204, "DELETE", "/v1/credentials/"+second, e2e.Bearer(f.Token(first, firstSecret)))
	a := f.Want(200, "GET", "/v1/cluster/credentials", e2e.Bearer(f.Token(first, firstSecret)))
	if a.Text("client_id") != first || a.Text("version") != "1" || a.Text("status") != "active" {
		t.Errorf("%s", a.Body)
	}
	next := f.Want(200, "POST", "/v1/cluster/credentials/rotate", e2e.Bearer(f.Token(first, firstSecret)))
	if next.Text("version") != "3" {
		t.Errorf("a number is used twice: %s", next.Body)
	}
}

// A credential that ends takes its tokens with it; nothing outlives it.
func TestServer_Expiry(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	id, secret := f.create(`{"scopes":["services.read"],"expires_in_seconds":600}`)
	a := f.ask(id, secret)
	if a.Text("expires_in") != "600" {
		t.Errorf("%s", a.Body)
	}
	f.clock.Advance(600 * time.Second)
	if a := f.ask(id, secret); a.Status != 401 {
		t.Errorf("%s", a.Body)
	}
	admin := e2e.Bearer(f.admin())
	if got := f.Want(200, "GET", "/v1/credentials/"+id, admin); got.Text("status") != "expired" {
		t.Errorf("%s", got.Body)
	}
	if got := f.Want(200, "POST", "/v1/oauth/introspect", admin, e2e.Form("token", a.Text("access_token"))); string(got.Body) != `{"active":false}` {
		t.Errorf("%s", got.Body)
	}
	f.Want(400, "POST", "/v1/credentials/"+id+"/rotate", admin)
	f.Want(204, "DELETE", "/v1/credentials/"+id, admin)
}

// Idempotent replays: byte for byte, for 24 h, with a token that has expired or that the write killed.
func TestServer_Replays(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	token := f.admin()
	key := func(s string) e2e.Option { return e2e.Header("Idempotency-Key", strings.Repeat(s, 32)) }
	calls := []struct {
		name, path string
		status     int
		bodies     []string // the same request, spaced differently
		other      string
	}{
		{"create", "/v1/credentials", 201, []string{`{"name":"x","labels":{"a":"1","b":"2"}}`, ` {"labels" : {"b":"2","a":"1"} , "name":"\u0078"} `}, `{"name":"y"}`},
		{"empty create", "/v1/credentials", 201, []string{``, `{}`, ` { } `}, `{"name":"x"}`},
		{"rotate", "/v1/cluster/credentials/rotate", 200, []string{`{"window_seconds":0}`}, `{"window_seconds":1}`},
	}
	first := map[string]e2e.Answer{}
	for i, c := range calls {
		k := key(string(rune('a' + i)))
		for j, body := range c.bodies {
			a := f.Want(c.status, "POST", c.path, e2e.Bearer(token), k, e2e.JSON(body))
			if j == 0 {
				first[c.name] = a
				continue
			}
			if string(a.Body) != string(first[c.name].Body) || a.Header.Get("Idempotency-Replayed") != "true" {
				t.Errorf("%s again: %s", c.name, a.Body)
			}
		}
		if a := f.Want(422, "POST", c.path, e2e.Bearer(token), k, e2e.JSON(c.other)); a.Text("code") != "IDEMPOTENCY_MISMATCH" {
			t.Errorf("%s: %s", c.name, a.Body)
		}
	}
	f.Want(422, "POST", "/v1/cluster/credentials/rotate", e2e.Bearer(token), key("b"))
	f.id, f.secret = first["rotate"].Text("client_id"), first["rotate"].Text("client_secret")
	for _, wait := range []time.Duration{0, 2 * time.Hour, 22*time.Hour - time.Second} { // the token is long expired
		f.clock.Advance(wait)
		for i, c := range calls {
			a := f.Want(c.status, "POST", c.path, e2e.Bearer(token), key(string(rune('a'+i))), e2e.JSON(c.bodies[0]))
			if diff := cmp.Diff(string(first[c.name].Body), string(a.Body)); diff != "" || a.Header.Get("Location") != first[c.name].Header.Get("Location") {
				t.Errorf("%s: %s", c.name, diff)
			}
		}
	}
	f.clock.Advance(time.Second)
	f.Want(401, "POST", "/v1/credentials", e2e.Bearer(token), key("a"), e2e.JSON(calls[0].bodies[0]))
	if a := f.Want(201, "POST", "/v1/credentials", e2e.Bearer(f.admin()), key("a"), e2e.JSON(calls[0].bodies[0])); string(a.Body) == string(first["create"].Body) {
		t.Error("an answer was kept for more than 24 h")
	}
}

// Many at once with one key: one write, one answer.
func TestServer_ReplaysAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	token := f.admin()
	answers := make([]e2e.Answer, 16)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			answers[i] = f.Do("POST", "/v1/cluster/credentials/rotate", e2e.Bearer(token), e2e.Header("Idempotency-Key", strings.Repeat("q", 40)))
		})
	}
	wg.Wait()
	fresh := 0
	for _, a := range answers {
		if a.Status != 200 || string(a.Body) != string(answers[0].Body) {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		if a.Header.Get("Idempotency-Replayed") == "" {
			fresh++
		}
	}
	if fresh != 1 {
		t.Errorf("%d of them wrote", fresh)
	}
}

// Rotations at once without a key: each answer is a rotation that holds, or a conflict.
func TestServer_RotationsAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	token := f.admin()
	answers := make([]e2e.Answer, 24)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = f.Do("POST", "/v1/cluster/credentials/rotate", e2e.Bearer(token)) })
	}
	wg.Wait()
	var versions []string
	for _, a := range answers {
		switch {
		case a.Status == 200:
			versions = append(versions, a.Text("version"))
			f.Token(a.Text("client_id"), a.Text("client_secret"))
		case a.Status != 409 || a.Text("code") != "CONFLICT":
			t.Errorf("%d %s", a.Status, a.Body)
		}
	}
	slices.Sort(versions)
	if len(versions) == 0 || len(slices.Compact(versions)) != len(versions) {
		t.Errorf("versions %v", versions)
	}
}

// The emergency's lists: what was killed, and what those versions created in the last 30 days.
func TestServer_EmergencyLists(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	long, _ := f.create(`{"name":"long ago"}`)
	f.clock.Advance(31 * 24 * time.Hour)
	gone, _ := f.create(`{"name":"revoked"}`)
	made, madeSecret := f.create(`{"name":"made","scopes":["credentials.write"]}`)
	f.Want(204, "DELETE", "/v1/credentials/"+gone, e2e.Bearer(f.admin()))
	f.Want(201, "POST", "/v1/credentials", e2e.Bearer(f.Token(made, madeSecret))) // by another one
	old := f.id
	f.rotate(`{"window_seconds":604800}`)
	middle := f.id
	token := f.admin()
	a := f.rotate(`{"emergency":true}`)
	var lists struct {
		Killed    []string
		Created   []string `json:"created_by_killed"`
		Previous  []any
		RotatedAt string `json:"rotated_at"`
	}
	a.Into(t, &lists)
	slices.Sort(lists.Killed)
	if !slices.Equal(lists.Killed, []string{old, middle}) || !slices.Equal(lists.Created, []string{made}) || len(lists.Previous) != 0 {
		t.Errorf("%s (long ago: %s, revoked: %s)", a.Body, long, gone)
	}
	f.Want(401, "GET", "/v1/credentials", e2e.Bearer(token))
	if got := f.Want(200, "POST", "/v1/oauth/introspect", e2e.Bearer(f.admin()), e2e.Form("token", token)); string(got.Body) != `{"active":false}` {
		t.Errorf("%s", got.Body)
	}
	b := f.rotate(`{"emergency":false}`)
	if strings.Contains(string(b.Body), "killed") {
		t.Errorf("a usual rotation lists what it did not kill: %s", b.Body)
	}
}

// Absent values are null or [], never left out, and times are whole seconds in UTC.
func TestServer_AbsentValues(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	f.clock.Advance(time.Second) // ids of one second are in no order
	id, _ := f.create(`{}`)
	a := f.Want(200, "GET", "/v1/credentials/"+id, e2e.Bearer(f.admin()))
	license := f.Want(200, "GET", "/v1/cluster/identity").Text("license_id")
	want := fmt.Sprintf(`{"client_id":%q,"id":%q,"name":null,"kind":"standard","scopes":["admin"],"license_id":%q,"version":1,"status":"active",`+
		`"created_at":"2030-01-02T03:04:06Z","created_by":%q,"rotated_at":null,"expires_at":null,"revoked_at":null,"labels":{},"previous":[]}`,
		id, id, license, f.id)
	if diff := cmp.Diff(want, string(a.Body)); diff != "" {
		t.Error(diff)
	}
	var list struct{ Credentials []json.RawMessage }
	f.Want(200, "GET", "/v1/credentials?limit=500", e2e.Bearer(f.admin())).Into(t, &list)
	if len(list.Credentials) != 2 || string(list.Credentials[1]) != want {
		t.Errorf("the list has %s", list.Credentials)
	}
	if !strings.Contains(string(list.Credentials[0]), `"created_by":null`) {
		t.Errorf("nobody created the shared credential: %s", list.Credentials[0])
	}
	if empty := f.Want(200, "GET", "/v1/audit?subject=nobody", e2e.Bearer(f.admin())); string(empty.Body) != `{"events":[],"next_cursor":null}` {
		t.Errorf("%s", empty.Body)
	}
}

func TestServer_ListsRevokedOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	id, _ := f.create(`{"name":"gone"}`)
	admin := e2e.Bearer(f.admin())
	f.Want(204, "DELETE", "/v1/credentials/"+id, admin)
	for query, want := range map[string]bool{"": false, "?include=": false, "?include=revoked": true, "?include=revoked&limit=500&cursor=&x=y": true} {
		if got := strings.Contains(string(f.Want(200, "GET", "/v1/credentials"+query, admin).Body), id); got != want {
			t.Errorf("%q lists the revoked one: %t", query, got)
		}
	}
}

// The trail by subject and actor; the bare id finds its versions.
func TestServer_AuditFilters(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	bare, first := strings.Split(f.id, "-")[0], f.id
	id, secret := f.create(`{"scopes":["credentials.write"],"reason":"because"}`)
	child := f.Want(201, "POST", "/v1/credentials", e2e.Bearer(f.Token(id, secret)), e2e.JSON(`{}`)).Text("client_id")
	f.rotate(`{"reason":"often"}`)
	f.Want(204, "DELETE", "/v1/credentials/"+first+"?reason=old", e2e.Bearer(f.admin()))
	trail := func(query string) string {
		var page struct {
			Events []struct{ Action, Subject, Reason, Source string }
		}
		f.Want(200, "GET", "/v1/audit?limit=500&"+query, e2e.Bearer(f.admin())).Into(t, &page)
		var list []string
		for _, e := range page.Events {
			list = append(list, e.Action+" "+e.Reason)
			if e.Source != "127.0.0.1" {
				t.Errorf("source %q", e.Source)
			}
		}
		return strings.Join(list, ", ")
	}
	for query, want := range map[string]string{
		"subject=" + bare:                     "credential.create , credential.rotate often, credential.revoke old",
		"subject=" + f.id:                     "credential.rotate often",
		"subject=" + first:                    "credential.revoke old",
		"subject=" + id:                       "credential.create because",
		"actor=" + id:                         "credential.create ",
		"actor=" + first:                      "credential.create because, credential.rotate often",
		"actor=" + bare:                       "credential.create because, credential.rotate often, credential.revoke old",
		"subject=" + child + "&actor=" + id:   "credential.create ",
		"subject=" + child + "&actor=" + bare: "",
	} {
		if got := trail(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// Discovery names the address that was asked: of the proxy where that is trusted, else of the connection.
func TestServer_BehindAProxy(t *testing.T) {
	t.Parallel()
	ask := func(f *fixture, o ...e2e.Option) string {
		return strings.TrimSuffix(f.Want(200, "GET", "/.well-known/openid-configuration", o...).Text("token_endpoint"), "/v1/oauth/token")
	}
	forwarded := []e2e.Option{e2e.Header("X-Forwarded-Host", "auth.example.com"), e2e.Header("X-Forwarded-Proto", "https"), e2e.Header("X-Forwarded-For", "203.0.113.9, 192.0.2.7")}
	alone := newFixture(t, setup{})
	if got := ask(alone, forwarded...); got != alone.URL || alone.last().Source != "127.0.0.1" {
		t.Errorf("a stranger's headers count: %s, source %s", got, alone.last().Source)
	}
	f := newFixture(t, setup{bare: true, proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24")}})
	f.Want(201, "POST", "/v1/bootstrap", append(forwarded, e2e.JSON(`{}`))...)
	if got := ask(f, forwarded...); got != "https://auth.example.com" || f.last().Source != "203.0.113.9" {
		t.Errorf("%s, source %s", got, f.last().Source)
	}
	if got := f.Want(200, "GET", "/.well-known/openid-configuration").Text("issuer"); got != "https://auth.example.com" {
		t.Errorf("issuer %s", got)
	}
	for _, host := range []string{"", "a b", "a/b", "a,b", "a?x", "u@h", ":80", "a#b", "a\\b", "[::1", "a, b"} {
		if got := ask(f, e2e.Header("X-Forwarded-Host", host)); got != f.URL {
			t.Errorf("forwarded host %q gives %s", host, got)
		}
	}
	if got := ask(f, e2e.Header("X-Forwarded-Host", "[2001:db8::1]:8443"), e2e.Header("X-Forwarded-Proto", "gopher")); got != "http://[2001:db8::1]:8443" {
		t.Errorf("%s", got)
	}
	for chain, want := range map[string]string{
		"": "127.0.0.1", "x": "127.0.0.1", "203.0.113.9": "203.0.113.9", "198.51.100.1, 203.0.113.9": "203.0.113.9",
		"203.0.113.9, x, 192.0.2.7": "192.0.2.7", "192.0.2.8,192.0.2.7": "192.0.2.8", "::ffff:203.0.113.9": "203.0.113.9", "2001:DB8::1": "2001:db8::1",
		"fe80::1%eth0": "fe80::1", "203.0.113.9:80": "127.0.0.1",
	} {
		if ask(f, e2e.Header("X-Forwarded-For", chain)); f.last().Source != want {
			t.Errorf("%q: source %s, want %s", chain, f.last().Source, want)
		}
	}
}
