package httpapi_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/e2e"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/usage"
)

// told is a report about one use of a version just now.
func (f *fixture) told(name, clientID string, version int) map[string]any {
	now := f.clock.Now().UTC().Format(time.RFC3339)
	return map[string]any{"report": name + strings.Repeat("x", 16), "at": now, "cursor": f.cursor(), "uses": []any{
		map[string]any{"client_id": clientID, "version": version, "source": "127.0.0.1", "first_at": now, "last_at": now, "count": 2},
	}}
}

// versions are those of a credential, by their numbers.
func (f *fixture) versions(path string) map[int]httpapi.Version {
	f.T.Helper()
	var c httpapi.CredentialDetail
	f.Want(200, "GET", path, e2e.Bearer(f.admin())).Into(f.T, &c)
	list := map[int]httpapi.Version{}
	for _, v := range c.Versions {
		list[v.Version] = v
	}
	return list
}

func TestUsage_IsForPeers(t *testing.T) {
	t.Parallel()
	f := newFixture(t, soleWriter)
	_, bearer := f.joined()
	report := e2e.JSON(f.told("r", f.id, 1))
	f.Want(401, "POST", "/v1/peers/self/usage", report)
	f.Want(403, "POST", "/v1/peers/self/usage", report, e2e.Bearer(f.admin()))
	f.unchanged("a report", func() { f.Want(204, "POST", "/v1/peers/self/usage", report, e2e.Bearer(bearer)) })
	f.Want(405, "GET", "/v1/peers/self/usage", e2e.Bearer(bearer))
}

func TestUsage_OneReportAMinute(t *testing.T) {
	t.Parallel()
	f := newFixture(t, soleWriter)
	_, bearer := f.joined()
	send := func(want int, name string) e2e.Answer {
		t.Helper()
		return f.Want(want, "POST", "/v1/peers/self/usage", e2e.Bearer(bearer), e2e.JSON(f.told(name, f.id, 1)))
	}
	send(204, "one")
	send(204, "one") // its answer was lost
	f.clock.Advance(45 * time.Second)
	if a := send(429, "two"); a.Text("code") != "RATE_LIMITED" || a.Header.Get("Retry-After") != "15" {
		t.Errorf("%s, %v", a.Body, a.Header)
	}
	if v := f.versions("/v1/cluster/credentials")[1]; len(v.LastUsed) != 1 || v.LastUsed[0].Count != 2 {
		t.Errorf("%+v", v.LastUsed)
	}
	f.clock.Advance(15 * time.Second)
	send(204, "two")
	if v := f.versions("/v1/cluster/credentials")[1]; len(v.LastUsed) != 1 || v.LastUsed[0].Count != 4 {
		t.Errorf("%+v", v.LastUsed)
	}
}

func TestUsage_RefusesWhatIsNoReport(t *testing.T) {
	t.Parallel()
	f := newFixture(t, soleWriter)
	_, bearer := f.joined()
	at := `"report":"xxxxxxxxxxxxxxxx","at":"2030-01-02T03:04:05Z"`
	one := func(members string) string {
		return `{` + at + `,"uses":[{"client_id":"` + f.id + `","version":1,"source":"x","first_at":"2030-01-02T03:04:05Z","last_at":"2030-01-02T03:04:05Z","count":1` + members + `}]}`
	}
	for name, body := range map[string]string{
		"unknown member":        `{` + at + `,"more":1}`,
		"unknown member inside": one(`,"more":1`),
		"a member twice":        one(`,"count":2`),
		"no name":               `{"at":"2030-01-02T03:04:05Z"}`,
		"no time":               `{"report":"xxxxxxxxxxxxxxxx"}`,
		"no cursor":             `{` + at + `,"cursor":"local"}`,
		"nothing":               ``,
		"counted never":         strings.Replace(one(""), `"count":1`, `"count":0`, 1),
		"no client":             strings.Replace(one(""), f.id, "peer_x", 1),
		"another version":       strings.Replace(one(""), `"version":1`, `"version":2`, 1),
		"last before first":     strings.Replace(one(""), `"last_at":"2030`, `"last_at":"2029`, 1),
		"steers the terminal":   strings.Replace(one(""), `"source":"x"`, `"source":"\u001b[2J"`, 1),
		"a long source":         strings.Replace(one(""), `"source":"x"`, `"source":"`+strings.Repeat("x", 129)+`"`, 1),
	} {
		a := f.Do("POST", "/v1/peers/self/usage", e2e.Bearer(bearer), e2e.Body("application/json", body))
		if a.Status != 400 || a.Text("code") != "INVALID_REQUEST" {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	f.Want(204, "POST", "/v1/peers/self/usage", e2e.Bearer(bearer), e2e.JSON(one("")))
}

// What GET /v1/cluster/credentials says while a fleet moves on.
func TestUsage_OfTheSharedCredential(t *testing.T) {
	t.Parallel()
	f := newFixture(t, soleWriter)
	peerID, bearer := f.joined()
	const path = "/v1/cluster/credentials"
	if v := f.versions(path)[1]; v.Verdict != nil || len(v.Unreported) != 1 || v.Unreported[0].PeerID != peerID || v.Unreported[0].Name != "host-1" {
		t.Errorf("before any report: %+v", v)
	}
	first := f.told("a", f.id, 1) // of half an hour ago: the peer's token does not live for all that follows
	shown := f.clock.Now().UTC().Truncate(time.Second).Add(-30 * time.Minute)
	use := first["uses"].([]any)[0].(map[string]any)
	use["first_at"], use["last_at"] = shown.Format(time.RFC3339), shown.Format(time.RFC3339)
	f.Want(204, "POST", "/v1/peers/self/usage", e2e.Bearer(bearer), e2e.JSON(first))
	heard := f.clock.Now().UTC().Truncate(time.Second)
	if v := f.versions(path)[1]; len(v.Unreported) != 0 || len(v.AcceptedBy) != 1 || !v.AcceptedBy[0].Since.Equal(heard) || *v.LastUsed[0].PeerID != peerID {
		t.Errorf("after a report: %+v", v)
	}
	f.clock.Advance(30 * time.Minute)
	next := f.Want(200, "POST", path+"/rotate", e2e.Bearer(f.admin()))
	f.id, f.secret = next.Text("client_id"), next.Text("client_secret")
	list := f.versions(path)
	want := &httpapi.Verdict{
		WouldLockOut: []string{"host-1 (127.0.0.1)"}, Unknown: []string{"host-1"},
		Text: "would lock out 1: host-1 (127.0.0.1); 1 peer has not reported: host-1",
	}
	if d := cmp.Diff(want, list[1].Verdict); d != "" || list[2].Verdict != nil || len(list[2].AcceptedBy) != 0 {
		t.Errorf("%s %+v", d, list[2])
	}
	f.clock.Advance(time.Minute)
	f.Want(204, "POST", "/v1/peers/self/usage", e2e.Bearer(bearer), e2e.JSON(f.told("b", f.id, 2)))
	list = f.versions(path)
	want = &httpapi.Verdict{
		WouldLockOut: []string{}, Unknown: []string{"host-1 (127.0.0.1)"},
		Text: "not certain yet of 1 where a newer one was used since: " +
			"host-1 (127.0.0.1) used this one last at 2030-01-02T02:34:05Z (wait until 2030-01-02T03:39:05Z)",
	}
	waits := []httpapi.Unsettled{{PeerID: &peerID, Name: "host-1", Source: "127.0.0.1", At: httpapi.Time{Time: shown}, Until: httpapi.Time{Time: shown.Add(usage.Settled)}}}
	if d := cmp.Diff(want, list[1].Verdict) + cmp.Diff(waits, list[1].Unsettled); d != "" {
		t.Error("after somebody there moved on:", d)
	}
	if len(list[2].AcceptedBy) != 1 || len(list[1].AcceptedBy) != 1 || !list[1].AcceptedBy[0].Since.Equal(heard) {
		t.Errorf("%+v", list)
	}
	f.clock.Advance(11 * time.Minute)
	if v := f.versions(path)[1].Verdict; v.Safe || len(v.Unknown) != 2 {
		t.Errorf("silent for eleven minutes: %+v", v)
	}
	f.Want(204, "POST", "/v1/peers/self/usage", e2e.Bearer(bearer), e2e.JSON(f.told("c", f.id, 2)))
	if v := f.versions(path)[1]; !v.Verdict.Safe || len(v.Verdict.WouldLockOut)+len(v.Verdict.Unknown)+len(v.Unsettled) != 0 {
		t.Errorf("after all have moved on: %+v", v)
	}
	f.Want(204, "DELETE", "/v1/peers/"+peerID, e2e.Bearer(f.admin()))
	if v := f.versions(path)[1]; !v.Verdict.Safe || len(v.AcceptedBy) != 0 || len(v.LastUsed) != 1 || !v.LastUsed[0].Removed || v.LastUsed[0].Name != "host-1" {
		t.Errorf("without the peer: %+v", v)
	}
}

// A report whose answer was lost is made again, with more: that counts once, and not within the minute either.
func TestUsage_AReportThatIsMadeAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t, soleWriter)
	_, bearer := f.joined()
	send := func(want, count int) {
		t.Helper()
		r := f.told("one", f.id, 1)
		r["uses"].([]any)[0].(map[string]any)["count"] = count
		f.Want(want, "POST", "/v1/peers/self/usage", e2e.Bearer(bearer), e2e.JSON(r))
	}
	send(204, 2)
	f.clock.Advance(10 * time.Second)
	send(429, 5)
	f.clock.Advance(50 * time.Second)
	send(204, 5)
	if v := f.versions("/v1/cluster/credentials")[1]; len(v.LastUsed) != 1 || v.LastUsed[0].Count != 5 || !v.LastUsed[0].At.Equal(f.clock.Now().UTC().Truncate(time.Second)) {
		t.Errorf("%+v", v.LastUsed)
	}
}

// What a sidecar passes on is counted there and here, and shown once; hosts by their names.
func TestUsage_WhatAHostPassesOn(t *testing.T) {
	t.Parallel()
	f := newFixture(t, soleWriter)
	peerID, bearer := f.joined()
	f.Want(200, "POST", "/v1/oauth/token", e2e.Basic(f.id, f.secret), e2e.Form("grant_type", "client_credentials"), e2e.Header(httpapi.HeaderSidecar, peerID))
	o := f.last()
	if k, ok := o.Use(); ok {
		f.authority.CountUse(k, o.At)
	}
	sources := func() (list []string) {
		for _, s := range f.versions("/v1/cluster/credentials")[1].LastUsed {
			list = append(list, s.Name+" "+s.Source)
		}
		return list
	}
	if d := cmp.Diff([]string{"authority local 127.0.0.1 via host-1"}, sources()); d != "" {
		t.Error(d)
	}
	f.Want(204, "POST", "/v1/peers/self/usage", e2e.Bearer(bearer), e2e.JSON(f.told("a", f.id, 1)))
	if d := cmp.Diff([]string{"host-1 127.0.0.1"}, sources()); d != "" {
		t.Error(d)
	}
}

func TestUsage_OfAnotherCredential(t *testing.T) {
	t.Parallel()
	f := newFixture(t, soleWriter)
	_, bearer := f.joined()
	client, _ := f.create(map[string]any{"scopes": []string{"billing.read"}})
	f.Want(204, "POST", "/v1/peers/self/usage", e2e.Bearer(bearer), e2e.JSON(f.told("a", client, 1)))
	f.clock.Advance(time.Minute)
	f.Want(200, "POST", "/v1/credentials/"+client+"/rotate", e2e.Bearer(f.admin()))
	f.Want(204, "POST", "/v1/peers/self/usage", e2e.Bearer(bearer), e2e.JSON(f.told("b", f.id, 1)))
	list := f.versions("/v1/credentials/" + client + "?include=versions")
	if v := list[1].Verdict; v == nil || v.Safe || fmt.Sprint(v.WouldLockOut, v.Unknown) != "[host-1 (127.0.0.1)] []" {
		t.Errorf("%+v", v)
	}
	if a := f.Want(200, "GET", "/v1/credentials/"+client, e2e.Bearer(f.admin())); strings.Contains(string(a.Body), "last_used") {
		t.Errorf("%s", a.Body)
	}
	f.Want(400, "GET", "/v1/credentials/"+client+"?include=all", e2e.Bearer(f.admin()))
}

// What counts as a use: a secret that was shown and accepted, not a token.
func TestObservation_Proven(t *testing.T) {
	t.Parallel()
	f := newFixture(t, soleWriter)
	form := []string{"grant_type", "client_credentials"}
	token := f.admin()
	for _, c := range []struct {
		name    string
		proven  bool
		status  int
		path    string
		options []e2e.Option
	}{
		{"token endpoint", true, 200, "/v1/oauth/token", []e2e.Option{e2e.Basic(f.id, f.secret), e2e.Form(form...)}},
		{"accepted, though its scope is not", true, 400, "/v1/oauth/token", []e2e.Option{e2e.Basic(f.id, f.secret), e2e.Form(append(form, "scope", "Ä")...)}},
		{"wrong secret", false, 401, "/v1/oauth/token", []e2e.Option{e2e.Basic(f.id, "sec_x"), e2e.Form(form...)}},
		{"introspection with a secret", true, 200, "/v1/oauth/introspect", []e2e.Option{e2e.Basic(f.id, f.secret), e2e.Form("token", token)}},
		{"introspection with a token", false, 200, "/v1/oauth/introspect", []e2e.Option{e2e.Bearer(token), e2e.Form("token", token)}},
	} {
		f.Want(c.status, "POST", c.path, c.options...)
		if o := f.last(); o.Proven != c.proven || c.proven && (o.ClientID != f.id || o.Version != 1) {
			t.Errorf("%s: %+v", c.name, o)
		}
	}
	f.Want(200, "GET", "/v1/cluster/credentials", e2e.Bearer(token))
	if f.last().Proven {
		t.Error("a call with a token counts")
	}
	for header, want := range map[string]string{
		"": "127.0.0.1", "peer_01jd6y0e00f2bvwrw0xk3y4t5z": "127.0.0.1 via peer_01jd6y0e00f2bvwrw0xk3y4t5z", "peer_x": "127.0.0.1",
	} {
		f.Want(200, "POST", "/v1/oauth/token", e2e.Basic(f.id, f.secret), e2e.Form(form...), e2e.Header(httpapi.HeaderSidecar, header))
		if k, ok := f.last().Use(); !ok || k.Source != want {
			t.Errorf("%q: %+v", header, k)
		}
	}
	peerID, _ := f.joined()
	if _, ok := f.last().Use(); ok || peerID == "" {
		t.Error("a peer's own token counts")
	}
}

func TestClient_ReportUsage(t *testing.T) {
	t.Parallel()
	f := newFixture(t, soleWriter)
	peerID, bearer := f.joined()
	client, err := httpapi.NewClient(f.URL, httpapi.ClientOptions{Transport: f.Client.Transport})
	if err != nil {
		t.Fatal(err)
	}
	at := f.clock.Now().UTC().Truncate(time.Second)
	r := usage.Report{ID: strings.Repeat("r", 20), At: at, Cursor: map[string]uint64{"local": 3}, Uses: []usage.Use{
		{Key: usage.Key{ClientID: f.id, Version: 1, Source: "127.0.0.1"}, First: at.Add(-time.Minute), Last: at, Count: 7},
	}}
	if err := client.ReportUsage(t.Context(), bearer, r); err != nil {
		t.Fatal(err)
	}
	want := []httpapi.Sighting{{PeerID: &peerID, Name: "host-1", Source: "127.0.0.1", At: httpapi.Time{Time: at}, Count: 7}}
	if d := cmp.Diff(want, f.versions("/v1/cluster/credentials")[1].LastUsed); d != "" {
		t.Error(d)
	}
	r.ID += "2"
	var e *httpapi.Error
	if err := client.ReportUsage(t.Context(), bearer, r); !errors.As(err, &e) || e.Status != http.StatusTooManyRequests || e.RetryAfter != time.Minute {
		t.Errorf("%v", err)
	}
}
