package metrics_test

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/metrics"
)

// sample is one line of the text format: a name, labels in their order, a value.
var sample = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*(?:\{(?:[a-zA-Z_][a-zA-Z0-9_]*="[^"\\\n]*",? ?)*\})?) (\S+)$`)

// parse reads the text format, and fails on what Prometheus would refuse: a malformed line, or a series given twice.
func parse(t *testing.T, s *metrics.Set) map[string]float64 {
	t.Helper()
	var text strings.Builder
	s.WritePrometheus(&text)
	series := map[string]float64{}
	for line := range strings.Lines(text.String()) {
		m := sample.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			if !strings.HasPrefix(line, "# ") {
				t.Errorf("not a sample: %q", line)
			}
			continue
		}
		value, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if _, twice := series[m[1]]; twice {
			t.Errorf("%s is there twice", m[1])
		}
		series[m[1]] = value
	}
	return series
}

// ours leaves out what the Go runtime and the operating system say.
func ours(all map[string]float64) map[string]float64 {
	kept := map[string]float64{}
	for name, value := range all {
		if strings.HasPrefix(name, "keyturn_") && !strings.HasPrefix(name, "keyturn_build_info") && !strings.Contains(name, "_bucket") {
			kept[name] = value
		}
	}
	return kept
}

func TestSet_CountsEachThingUnderItsName(t *testing.T) {
	t.Parallel()
	s := metrics.New("v1", metrics.Gauges{
		LedgerHead: func() (string, uint64, bool) { return "local", 42, true },
		StoreBytes: func() (int64, bool) { return 1 << 40, true },
	})
	token := metrics.Request{Method: "POST", Route: "/v1/oauth/token", Status: 200, Took: 250 * time.Millisecond}
	s.Request(token)
	s.Request(token)
	token.Status, token.Code = 401, "UNAUTHORIZED"
	s.Request(token)
	s.Request(metrics.Request{Method: "BREW", Route: "other", Status: 405, Code: "METHOD_NOT_ALLOWED", Took: 500 * time.Millisecond})
	s.Token(false)
	s.Token(true)
	s.Token(true)
	s.Swept(7)
	s.Swept(0)
	want := map[string]float64{
		`keyturn_requests_total{route="/v1/oauth/token",method="POST",status="200",code=""}`:             2,
		`keyturn_requests_total{route="/v1/oauth/token",method="POST",status="401",code="UNAUTHORIZED"}`: 1,
		`keyturn_requests_total{route="other",method="other",status="405",code="METHOD_NOT_ALLOWED"}`:    1,
		`keyturn_request_duration_seconds_count{route="/v1/oauth/token"}`:                                3,
		`keyturn_request_duration_seconds_sum{route="/v1/oauth/token"}`:                                  0.75,
		`keyturn_request_duration_seconds_count{route="other"}`:                                          1,
		`keyturn_request_duration_seconds_sum{route="other"}`:                                            0.5,
		`keyturn_tokens_issued_total{secret="current"}`:                                                  1,
		`keyturn_tokens_issued_total{secret="superseded"}`:                                               2,
		`keyturn_store_swept_total`:                                                                      7,
		`keyturn_proxied_total`:                                                                          0,
		`keyturn_ledger_head{region="local"}`:                                                            42,
		`keyturn_store_bytes`:                                                                            1 << 40,
	}
	if diff := cmp.Diff(want, ours(parse(t, s))); diff != "" {
		t.Error(diff)
	}
}

func TestSet_BeginsAtZero(t *testing.T) {
	t.Parallel()
	want := map[string]float64{
		`keyturn_tokens_issued_total{secret="current"}`: 0, `keyturn_tokens_issued_total{secret="superseded"}`: 0,
		`keyturn_store_swept_total`: 0,
		`keyturn_proxied_total`:     0,
	}
	if diff := cmp.Diff(want, ours(parse(t, metrics.New("v1", metrics.Gauges{})))); diff != "" {
		t.Error(diff)
	}
}

func TestSet_UnknownGaugesAreLeftOut(t *testing.T) {
	t.Parallel()
	s := metrics.New("v1", metrics.Gauges{
		LedgerHead: func() (string, uint64, bool) { return "local", 0, false },
		StoreBytes: func() (int64, bool) { return 0, false },
	})
	for name := range parse(t, s) {
		if strings.HasPrefix(name, "keyturn_ledger_head") || strings.HasPrefix(name, "keyturn_store_bytes") {
			t.Errorf("%s is there", name)
		}
	}
}

func TestSet_BucketsCountAllUpToTheirBound(t *testing.T) {
	t.Parallel()
	s := metrics.New("v1", metrics.Gauges{})
	for _, took := range []time.Duration{0, time.Millisecond, time.Millisecond + 1, time.Minute} {
		s.Request(metrics.Request{Method: "GET", Route: "/livez", Status: 200, Took: took})
	}
	all := parse(t, s)
	for le, want := range map[string]float64{"0.0005": 1, "0.001": 2, "0.0025": 3, "30": 3, "+Inf": 4} {
		name := `keyturn_request_duration_seconds_bucket{route="/livez",le="` + le + `"}`
		if got, ok := all[name]; !ok || got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
}

func TestSet_SaysWhatRuns(t *testing.T) {
	t.Parallel()
	all := parse(t, metrics.New("v1\"}\n2", metrics.Gauges{}))
	build := false
	for name, value := range all {
		build = build || strings.HasPrefix(name, `keyturn_build_info{version="v1_}_2",go="go`) && value == 1
	}
	if !build {
		t.Error("there is no build info")
	}
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes"} {
		if all[name] <= 0 {
			t.Errorf("%s = %v", name, all[name])
		}
	}
}

func TestSet_ManyGoroutines(t *testing.T) {
	t.Parallel()
	s := metrics.New("v1", metrics.Gauges{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				s.Request(metrics.Request{Method: "GET", Route: "/livez", Status: 200, Took: time.Millisecond})
			}
		})
	}
	all.Wait()
	got := parse(t, s)
	for _, name := range []string{
		`keyturn_requests_total{route="/livez",method="GET",status="200",code=""}`,
		`keyturn_request_duration_seconds_count{route="/livez"}`,
		`keyturn_request_duration_seconds_bucket{route="/livez",le="0.001"}`,
	} {
		if got[name] != 8000 {
			t.Errorf("%s = %v, want 8000", name, got[name])
		}
	}
}

func BenchmarkSet_Request(b *testing.B) {
	s := metrics.New("v1", metrics.Gauges{})
	b.ReportAllocs()
	for b.Loop() {
		s.Request(metrics.Request{Method: "POST", Route: "/v1/oauth/token", Status: 200, Took: time.Millisecond})
	}
}
