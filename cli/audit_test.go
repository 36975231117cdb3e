package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// events reads what --json has printed.
func events(t *testing.T, r result) []httpapi.Event {
	t.Helper()
	var page struct {
		Events     []httpapi.Event `json:"events"`
		NextCursor *string         `json:"next_cursor"`
	}
	d := json.NewDecoder(strings.NewReader(r.stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&page); err != nil {
		t.Fatalf("%v: %.200s", err, r.stdout)
	}
	return page.Events
}

// names are events as text that can be compared.
func names(list []httpapi.Event) []string {
	var all []string
	for _, e := range list {
		all = append(all, fmt.Sprintf("%s:%d %s %s", e.Region, e.Seq, e.Action, e.Subject))
	}
	return all
}

func tail(list []httpapi.Event, n int, keep func(httpapi.Event) bool) []httpapi.Event {
	list = slices.DeleteFunc(slices.Clone(list), func(e httpapi.Event) bool { return !keep(e) })
	return list[max(0, len(list)-n):]
}

// counting counts the requests for the trail, and passes all on.
func counting(t *testing.T, u *user) *atomic.Int32 {
	t.Helper()
	to, err := url.Parse(u.cluster.URL())
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int32
	proxy := httputil.NewSingleHostReverseProxy(to)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/audit" {
			n.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	u.env["KEYTURN_SERVER"] = server.URL
	return &n
}

// TestAudit_LastOfARealTrail: more than one answer holds, in a cluster that has done all of it.
func TestAudit_LastOfARealTrail(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	asked := counting(t, u)
	bearer := strings.TrimSpace(u.must("token").stdout)
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := range 66 {
				body := fmt.Sprintf(`{"name":"key %d of %d"}`, i, w)
				for status := 0; status != http.StatusCreated; {
					r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u.cluster.URL()+"/v1/join-keys", strings.NewReader(body))
					if err != nil {
						t.Error(err)
						return
					}
					r.Header = http.Header{"Authorization": {"Bearer " + bearer}, "Content-Type": {"application/json"}}
					a, err := http.DefaultClient.Do(r)
					if err != nil {
						t.Error(err)
						return
					}
					_ = a.Body.Close()
					if status = a.StatusCode; status != http.StatusCreated && status != http.StatusServiceUnavailable { // a commit has its limit
						t.Errorf("status %d", status)
						return
					}
				}
			}
		})
	}
	writers.Wait()
	u.must("credentials", "create", "--name", "first")
	u.must("credentials", "rotate", "--update-config", "--yes", "--reason", "it was time")
	all := events(t, u.must("audit", "--json"))
	if len(all) < 528 {
		t.Fatalf("%d events", len(all))
	}
	if newest := all[len(all)-1]; newest.Action != "credential.rotate" {
		t.Fatalf("the newest is %+v", newest)
	}
	for _, n := range []int{1, 2, 20, 499, 500, 501, 520, len(all) - 1, len(all), len(all) + 1, 100_000} {
		want := tail(all, n, func(httpapi.Event) bool { return true })
		if d := cmp.Diff(names(want), names(events(t, u.must("audit", "--last", strconv.Itoa(n), "--json")))); d != "" {
			t.Errorf("--last %d: %.600s", n, d)
		}
	}
	shared, _, _ := strings.Cut(u.cluster.ClientID(), "-")
	for name, c := range map[string]struct {
		args []string
		keep func(httpapi.Event) bool
	}{
		"Subject": {[]string{"--subject", shared}, func(e httpapi.Event) bool { return strings.HasPrefix(e.Subject, shared) }},
		"Actor":   {[]string{"--actor", shared + "-1"}, func(e httpapi.Event) bool { return e.Actor != nil && *e.Actor == shared+"-1" }},
		"Action":  {[]string{"--action", "join_key.create"}, func(e httpapi.Event) bool { return e.Action == "join_key.create" }},
		"Rare":    {[]string{"--action", "cluster.bootstrap"}, func(e httpapi.Event) bool { return e.Action == "cluster.bootstrap" }},
		"None":    {[]string{"--action", "cluster.recover"}, func(httpapi.Event) bool { return false }},
	} {
		for _, n := range []int{1, 3, 510} {
			want := tail(all, n, c.keep)
			got := events(t, u.must(append([]string{"audit", "--json", "--last", strconv.Itoa(n)}, c.args...)...))
			if d := cmp.Diff(names(want), names(got)); d != "" {
				t.Errorf("%s --last %d: %.600s", name, n, d)
			}
		}
		want := tail(all, len(all), c.keep)
		if d := cmp.Diff(names(want), names(events(t, u.must(append([]string{"audit", "--json"}, c.args...)...)))); d != "" {
			t.Errorf("%s: %.600s", name, d)
		}
		got := events(t, u.must(append([]string{"audit", "--json", "--limit", "2"}, c.args...)...))
		if d := cmp.Diff(names(want[:min(2, len(want))]), names(got)); d != "" {
			t.Errorf("%s --limit 2: %.600s", name, d)
		}
	}
	asked.Store(0)
	lines := strings.Split(strings.TrimSpace(u.must("audit", "--last", "2").stdout), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "AT ") || !strings.Contains(lines[1], "credential.create") ||
		!strings.Contains(lines[2], "it was time") {
		t.Errorf("%q", lines)
	}
	if n := asked.Load(); n > 12 {
		t.Errorf("%d requests for the last two of %d events", n, len(all))
	}
}

// library is an API that has a trail of any length: what docs/api.md says of it, over records that nobody has signed.
type library struct {
	regions map[string][]httpapi.Event // by number; those without an action are records that are no events
	asked   atomic.Int32
}

// newLibrary has a record a second in one region, now and then a second one there, few in another one, and none that is an event in
// a third.
func newLibrary(records int) *library {
	l := &library{regions: map[string][]httpapi.Event{}}
	begin := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 6000 {
		l.add("ap-south-1", httpapi.Event{At: httpapi.Time{Time: begin}})
	}
	for i := range records {
		e := httpapi.Event{At: httpapi.Time{Time: begin.Add(time.Duration(i) * time.Second)}, Action: "credential.create", Subject: "cli_" + strconv.Itoa(i)}
		actor := "cli_somebody-1"
		switch {
		case i%1000 == 7:
			e.Action, e.Subject = "credential.rotate", "cli_rotating-"+strconv.Itoa(i)
		case i == 11 || i == records/2:
			e.Action, actor = "cluster.recover", "cli_rare"
		}
		e.Actor = &actor
		if i%5000 == 4999 {
			e.At = httpapi.Time{Time: e.At.Add(-20 * time.Second)} // the clock was set back
		}
		region := "us-east-1"
		if i%97 == 0 && i < records-2000 {
			region = "eu-west-1"
		}
		l.add(region, e)
		if i%3 == 0 {
			l.add(region, httpapi.Event{At: e.At})
		}
	}
	return l
}

func (l *library) add(region string, e httpapi.Event) {
	e.Region, e.Seq = region, uint64(len(l.regions[region])+1)
	l.regions[region] = append(l.regions[region], e)
}

// all is everything in the order of time; none is before one of its own region, which may have set its clock back.
func (l *library) all() (all []httpapi.Event) {
	at := map[string]time.Time{} // by region and number
	for region, list := range l.regions {
		var heard time.Time
		for _, e := range list {
			if e.At.After(heard) {
				heard = e.At.Time
			}
			at[region+strconv.FormatUint(e.Seq, 10)] = heard
		}
	}
	for _, region := range l.names() {
		all = append(all, slices.DeleteFunc(slices.Clone(l.regions[region]), func(e httpapi.Event) bool { return e.Action == "" })...)
	}
	when := func(e httpapi.Event) time.Time { return at[e.Region+strconv.FormatUint(e.Seq, 10)] }
	slices.SortStableFunc(all, func(a, b httpapi.Event) int { return when(a).Compare(when(b)) })
	return all
}

func (l *library) names() []string { return slices.Sorted(maps.Keys(l.regions)) }

func (l *library) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/v1/oauth/token" {
		_, _ = w.Write([]byte(`{"access_token":"t","token_type":"Bearer","expires_in":3600,"scope":"admin"}`))
		return
	}
	l.asked.Add(1)
	q := r.URL.Query()
	limit, _ := strconv.Atoi(q.Get("limit"))
	at, err := authority.ParseCursor(q.Get("after"))
	if err != nil || limit < 1 || limit > 500 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	found, next := l.page(at, limit, q.Get("subject"), q.Get("actor"))
	body, _ := json.Marshal(map[string]any{"events": found, "next_cursor": next})
	_, _ = w.Write(body)
}

// page moves the cursor as the authority does, which looks at 5000 records for one answer.
func (l *library) page(at authority.Cursor, limit int, subject, actor string) ([]httpapi.Event, *string) {
	found, looked := []httpapi.Event{}, 0
	for _, region := range l.names() {
		list := l.regions[region]
		for at[region] < uint64(len(list)) {
			e := list[at[region]]
			wanted := e.Action != "" && (subject == "" || strings.HasPrefix(e.Subject+"-", subject+"-")) && (actor == "" || *e.Actor == actor)
			if looked == 5000 || wanted && len(found) == limit {
				next := at.String()
				return found, &next
			}
			if wanted {
				found = append(found, e)
			}
			at[region]++
			looked++
		}
	}
	return found, nil
}

// TestAudit_LastOfALongTrail: 100,000 records cost a few requests, also where a filter leaves little.
func TestAudit_LastOfALongTrail(t *testing.T) {
	t.Parallel()
	l := newLibrary(75_000)
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	u := &user{t: t, clock: &clock{}, env: map[string]string{
		"KEYTURN_CONFIG": t.TempDir() + "/config.json", "KEYTURN_SERVER": server.URL,
		"KEYTURN_CLIENT_ID": "cli_01m8121nd0f27raya7qqqe4cma-1", "KEYTURN_CLIENT_SECRET": credential.NewSecret().Reveal(),
	}}
	each := func(httpapi.Event) bool { return true }
	all := l.all()
	for _, c := range []struct {
		args []string
		n    int
		most int32 // requests
		keep func(httpapi.Event) bool
	}{
		{nil, 1, 40, each},
		{nil, 20, 40, each},
		{nil, 3000, 55, each},
		{[]string{"--subject", "cli_rotating"}, 5, 45, func(e httpapi.Event) bool { return strings.HasPrefix(e.Subject, "cli_rotating") }},
		{[]string{"--actor", "cli_rare"}, 5, 65, func(e httpapi.Event) bool { return *e.Actor == "cli_rare" }},
		{[]string{"--action", "cluster.recover"}, 2, 220, func(e httpapi.Event) bool { return e.Action == "cluster.recover" }},
	} {
		l.asked.Store(0)
		got := events(t, u.must(append([]string{"audit", "--json", "--last", strconv.Itoa(c.n)}, c.args...)...))
		if d := cmp.Diff(names(tail(all, c.n, c.keep)), names(got)); d != "" {
			t.Errorf("%v --last %d: %.600s", c.args, c.n, d)
		}
		t.Logf("%v --last %d: %d requests", c.args, c.n, l.asked.Load())
		if n := l.asked.Load(); n > c.most {
			t.Errorf("%v --last %d: %d requests", c.args, c.n, n)
		}
	}
}

// TestAudit_SaysWhenTheAnswerGoesNowhere: a server that always has more is not asked for ever.
func TestAudit_SaysWhenTheAnswerGoesNowhere(t *testing.T) {
	t.Parallel()
	const (
		joined = `{"events":[{"at":"2030-01-01T00:00:00Z","action":"peer.join","region":"local","seq":1}],"next_cursor":"local:1"}`
		stuck  = `{"events":[],"next_cursor":"local:1"}`
		none   = `{"events":[],"next_cursor":null}`
		behind = "local:4611686018427387904"
	)
	for name, c := range map[string]struct {
		says   string
		answer func(after, limit string) string
	}{
		"Silent":   {"does not go on", func(string, string) string { return stuck }},
		"Talking":  {"does not go on", func(string, string) string { return joined }},
		"NoCursor": {"not a page", func(string, string) string { return `{"events":[],"next_cursor":"nonsense"}` }},
		"Endless": {"it has no end", func(after, _ string) string {
			if after == behind {
				return none
			}
			return joined
		}},
		"Stuck": {"does not go on", func(after, limit string) string {
			switch {
			case limit != "1":
				return stuck
			case after == "":
				return joined
			}
			return none
		}},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if r.URL.Path == "/v1/oauth/token" {
				_, _ = io.WriteString(w, `{"access_token":"t","token_type":"Bearer","expires_in":3600,"scope":"admin"}`)
				return
			}
			_, _ = io.WriteString(w, c.answer(r.URL.Query().Get("after"), r.URL.Query().Get("limit")))
		}))
		u := &user{t: t, clock: &clock{}, env: map[string]string{
			"KEYTURN_CONFIG": t.TempDir() + "/config.json", "KEYTURN_SERVER": server.URL,
			"KEYTURN_CLIENT_ID": "cli_01m8121nd0f27raya7qqqe4cma-1", "KEYTURN_CLIENT_SECRET": credential.NewSecret().Reveal(),
		}}
		if r := u.does("audit", "--last", "3"); r.exit != 1 || !strings.Contains(r.stderr, c.says) {
			t.Errorf("%s: exit %d: %s", name, r.exit, r.stderr)
		}
		server.Close()
	}
}
