package agent_test

import (
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/agent"
)

// series are the lines of a text in Prometheus' format: name{labels} as it is written -> value.
type series map[string]float64

var (
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="[^"\\\n]*",? ?)*)\})? (\S+)$`)
	oneLabel   = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)="`)
)

// parseMetrics reads the text format, and fails on what Prometheus would refuse: a malformed line, or a series given twice.
func parseMetrics(t *testing.T, text string) series {
	t.Helper()
	s := series{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			if !strings.HasPrefix(line, "# ") {
				t.Errorf("not a sample: %q", line)
			}
			continue
		}
		value, err := strconv.ParseFloat(m[3], 64)
		name := strings.TrimSuffix(line, " "+m[3])
		if _, twice := s[name]; twice || err != nil {
			t.Errorf("%q: twice: %v, %v", line, twice, err)
		}
		s[name] = value
	}
	return s
}

// names are those of keyturn's own metrics, each with the names of its labels. A histogram counts as one.
func (s series) names() map[string]string {
	names := map[string]string{}
	for line := range s {
		name, labels, _ := strings.Cut(line, "{")
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		if !strings.HasPrefix(name, "keyturn_") {
			continue
		}
		var of []string
		for _, l := range oneLabel.FindAllStringSubmatch(labels, -1) {
			if l[1] != "le" {
				of = append(of, l[1])
			}
		}
		slices.Sort(of)
		names[name] = strings.Join(of, ",")
	}
	return names
}

func (w *world) metrics(server string) series {
	w.t.Helper()
	a := w.send(http.MethodGet, server+"/metrics", nil, "")
	if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain; version=0.0.4") {
		w.t.Fatalf("%d %v", a.status, a.header)
	}
	return parseMetrics(w.t, string(a.body))
}

func TestMetrics_CountWhatTheSidecarDoes(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	sidecar := w.Sidecars()[0]
	made := w.create("billing.read")
	tok := w.token(sidecar, made.ClientID, made.ClientSecret, "").AccessToken
	w.token(sidecar, made.ClientID, made.ClientSecret, "")
	for range 3 {
		w.send(http.MethodGet, sidecar+"/authz/bills", bearer(tok), "")
	}
	w.send(http.MethodGet, sidecar+"/authz?scope=billing.write", bearer(tok), "")
	w.send(http.MethodGet, sidecar+"/authz", nil, "")
	for range 2 {
		w.send(http.MethodGet, sidecar+"/v1/credentials", bearer(w.admin), "")
	}
	w.send(http.MethodGet, sidecar+"/no/such/path", nil, "")
	r, err := agent.Find(w.SidecarDir(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Deny(t.Context(), "cli_01m8121nd0fsmbsrvqa84dbr6w"); err != nil {
		t.Fatal(err)
	}
	s := w.metrics(sidecar)
	for name, want := range map[string]float64{
		`keyturn_requests_total{route="/v1/oauth/token",method="POST",status="200",code=""}`:   2,
		`keyturn_requests_total{route="/authz",method="GET",status="200",code=""}`:             3,
		`keyturn_requests_total{route="/authz",method="GET",status="403",code="FORBIDDEN"}`:    1,
		`keyturn_requests_total{route="/authz",method="GET",status="401",code="UNAUTHORIZED"}`: 1,
		`keyturn_requests_total{route="/v1/credentials",method="GET",status="200",code=""}`:    2,
		`keyturn_request_duration_seconds_count{route="/authz"}`:                               5,
		`keyturn_request_duration_seconds_bucket{route="/authz",le="+Inf"}`:                    5,
		`keyturn_request_duration_seconds_count{route="/v1/oauth/token"}`:                      2,
		`keyturn_tokens_issued_total{secret="current"}`:                                        2,
		`keyturn_tokens_issued_total{secret="superseded"}`:                                     0,
		`keyturn_proxied_total`:                         2,
		`keyturn_replica_broken`:                        0,
		`keyturn_replica_reachable`:                     1,
		`keyturn_replica_pulled_anew`:                   0,
		`keyturn_replica_refused_records_total`:         0,
		`keyturn_replica_bound_seconds{scopes="read"}`:  24 * 60 * 60,
		`keyturn_replica_bound_seconds{scopes="write"}`: 60 * 60,
		`keyturn_peer_active`:                           1,
		`keyturn_denied`:                                1,
	} {
		if got, ok := s[name]; !ok || got != want {
			t.Errorf("%s is %v (there: %v), want %v", name, got, ok, want)
		}
	}
	status := w.status(1)
	for region, seq := range status.Cursors {
		if got := s[`keyturn_replica_cursor{region="`+region+`"}`]; got == 0 || got > float64(seq) {
			t.Errorf("the cursor of %s is %v, the status says %d", region, got, seq)
		}
		if got := s[`keyturn_replica_head{region="`+region+`"}`]; got == 0 || got > float64(status.Heads[region]) {
			t.Errorf("the head of %s is %v, the status says %d", region, got, status.Heads[region])
		}
	}
	if len(status.Cursors) != 1 {
		t.Errorf("cursors: %v", status.Cursors)
	}
	if age, ok := s["keyturn_replica_age_seconds"]; !ok || age < 0 || age > 60 {
		t.Errorf("the age is %v (there: %v)", age, ok)
	}
	if s["keyturn_store_bytes"] <= 0 || s["process_resident_memory_bytes"] <= 0 {
		t.Error("sizes are missing")
	}
	if got := s[`keyturn_cache_hits_total{cache="tokens"}`] + s[`keyturn_cache_misses_total{cache="tokens"}`]; got != 4 {
		t.Errorf("tokens were looked up %v times, want 4", got)
	}
	w.eventually("both caches answer", func() bool { // one that has no room at the moment drops what it is given
		w.send(http.MethodGet, sidecar+"/authz", bearer(tok), "")
		w.token(sidecar, made.ClientID, made.ClientSecret, "")
		s := w.metrics(sidecar)
		return s[`keyturn_cache_hits_total{cache="tokens"}`] > 0 && s[`keyturn_cache_hits_total{cache="pairs"}`] > 0
	})
}

// TestMetrics_ShowWhatAnAlarmLooksAt: each number that docs/operations.md has an alarm for moves when it should.
func TestMetrics_ShowWhatAnAlarmLooksAt(t *testing.T) {
	t.Parallel()
	w := start(t, 2)
	sidecar := w.Sidecars()[0]
	w.call(w.URL(), http.MethodDelete, "/v1/peers/"+w.status(2).PeerID, nil, nil)
	w.eventually("the removed one says so", func() bool { return w.metrics(w.Sidecars()[1])["keyturn_peer_active"] == 0 })
	if s := w.metrics(sidecar); s["keyturn_peer_active"] != 1 {
		t.Error("the other one says so too")
	}
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	w.eventually("the authority is out of reach", func() bool { return w.metrics(sidecar)["keyturn_replica_reachable"] == 0 })
	w.ahead.Store(int64(3 * time.Hour))
	s := w.metrics(sidecar)
	if age := s["keyturn_replica_age_seconds"]; age < 3*60*60 || age <= s[`keyturn_replica_bound_seconds{scopes="write"}`] {
		t.Errorf("after three hours the age is %v", age)
	}
	if err := w.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	w.eventually("the authority answers again, and that is proof enough", func() bool {
		s := w.metrics(sidecar)
		return s["keyturn_replica_reachable"] == 1 && s["keyturn_replica_age_seconds"] < 60
	})
	t.Logf("fresh again after %s", time.Since(began))
}

func TestMetrics_OfADamagedCopy(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	c := w.another("127.0.0.1:0")
	_, stop := w.runs(c)
	stop()
	if err := os.WriteFile(c.DataDir+"/replica.db", []byte("not what it was"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, _ := w.runs(c)
	if s := w.metrics(a.URL()); s["keyturn_replica_pulled_anew"] != 1 {
		t.Error("nothing tells that the copy was damaged")
	}
}

var documentedMetric = regexp.MustCompile("`(keyturn_[a-z_]+)(?:\\{([a-z,]*)\\})?`")

// TestMetrics_AreThoseOfTheDocumentation: docs/operations.md names every metric of both programs with its labels, and no other.
func TestMetrics_AreThoseOfTheDocumentation(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	w.eventually("the heads are told, a moment after the copy is ready", func() bool { return len(w.status(1).Heads) > 0 })
	real := w.metrics(w.Sidecars()[0]).names()
	maps.Copy(real, w.metrics(w.URL()).names())
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for _, m := range documentedMetric.FindAllStringSubmatch(string(page), -1) {
		labels := strings.Split(m[2], ",")
		slices.Sort(labels)
		if told[m[1]] == "" { // the text may name it again without its labels
			told[m[1]] = strings.Join(labels, ",")
		}
	}
	if diff := cmp.Diff(told, real); diff != "" {
		t.Errorf("docs/operations.md and reality (-docs +real):\n%s", diff)
	}
}

// TestMetrics_AreForThisHost unless the operator opens them, on a sidecar as on an authority.
func TestMetrics_AreForThisHost(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	for open, want := range map[bool]int{false: 404, true: 200} {
		c := w.another("127.0.0.1:0")
		c.MetricsOpen = open
		a, stop := w.runs(c)
		if got := w.send(http.MethodGet, a.URL()+"/metrics", http.Header{"X-Forwarded-For": {"192.0.2.1"}}, ""); got.status != want {
			t.Errorf("open %v: %d", open, got.status)
		}
		if got := w.send(http.MethodPost, a.URL()+"/metrics", nil, ""); got.status != 405 || got.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("POST: %d %v", got.status, got.header)
		}
		stop()
	}
}
