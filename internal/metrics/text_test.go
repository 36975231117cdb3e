package metrics_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/devcluster"
	"github.com/keyturn/keyturn/internal/metrics"
)

var (
	typeLine = regexp.MustCompile(`^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram|summary|untyped)$`)
	helpLine = regexp.MustCompile(`^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$`)
	dataLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$`)
	oneLabel = regexp.MustCompile(`^ ?([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)`)
)

// format reads the text format 0.0.4 line by line and gathers what a strict reader would refuse.
type format struct {
	kinds   map[string]string
	helped  map[string]bool
	current string   // the family of the block
	closed  []string // families whose block has ended
	seen    map[string]bool
	buckets map[string]*buckets // by the labels without le
	wrong   []string
}

// buckets are one series of a histogram.
type buckets struct {
	le, value  float64
	count      float64
	sum, ended bool
}

func (f *format) fault(what string, args ...any) {
	f.wrong = append(f.wrong, fmt.Sprintf(what, args...))
}

// check returns what is wrong with a text.
func check(text string) *format {
	f := &format{kinds: map[string]string{}, helped: map[string]bool{}, seen: map[string]bool{}, buckets: map[string]*buckets{}}
	if !strings.HasSuffix(text, "\n") {
		f.fault("the last line has no end")
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := helpLine.FindStringSubmatch(line); m != nil {
			f.enter(m[1])
			if f.helped[m[1]] || f.kinds[m[1]] != "" {
				f.fault("%s: HELP twice, or below TYPE", m[1])
			}
			f.helped[m[1]] = true
		} else if m := typeLine.FindStringSubmatch(line); m != nil {
			f.enter(m[1])
			if f.kinds[m[1]] != "" {
				f.fault("%s: TYPE twice", m[1])
			}
			f.kinds[m[1]] = m[2]
		} else {
			f.sample(line)
		}
	}
	f.enter("")
	return f
}

// enter begins the block of a family, and judges the one before.
func (f *format) enter(name string) {
	if name == f.current {
		return
	}
	if f.kinds[f.current] == "histogram" && strings.HasPrefix(f.current, "keyturn_") {
		for labels, b := range f.buckets {
			if !math.IsInf(b.le, 1) || !b.sum || !b.ended || b.count != b.value {
				f.fault("%s{%s}: the histogram is not whole: %+v", f.current, labels, *b)
			}
		}
	}
	if slices.Contains(f.closed, name) {
		f.fault("%s: a second block", name)
	}
	if f.current != "" {
		f.closed = append(f.closed, f.current)
	}
	f.current = name
	clear(f.buckets)
}

func (f *format) sample(line string) {
	m := dataLine.FindStringSubmatch(line)
	if m == nil {
		f.fault("not a line of the format: %q", line)
		return
	}
	value, err := strconv.ParseFloat(m[3], 64)
	labels, le, ok := splitLabels(m[2])
	if err != nil || !ok || f.seen[m[1]+"{"+m[2]+"}"] {
		f.fault("no number, broken labels, or there twice: %q", line)
	}
	f.seen[m[1]+"{"+m[2]+"}"] = true
	if m[1] != f.current && (f.kinds[f.current] == "histogram" || f.kinds[f.current] == "summary") {
		if suffix := strings.TrimPrefix(m[1], f.current); suffix == "_bucket" || suffix == "_sum" || suffix == "_count" {
			f.part(suffix, labels, le, value, line)
			return
		}
	}
	if m[1] != f.current || f.kinds[f.current] == "" {
		f.fault("outside the block of its family, or above its TYPE: %q", line)
	}
	if f.kinds[f.current] == "counter" && value < 0 {
		f.fault("a counter below zero: %q", line)
	}
}

// part is a line of a histogram.
func (f *format) part(suffix, labels, le string, value float64, line string) {
	b := f.buckets[labels]
	if b == nil {
		b = &buckets{le: math.Inf(-1)}
		f.buckets[labels] = b
	}
	switch suffix {
	case "_bucket":
		bound, err := strconv.ParseFloat(le, 64)
		if err != nil || bound <= b.le || value < b.value {
			f.fault("not above the bucket before, which is %v with %v: %q", b.le, b.value, line)
		}
		b.le, b.value = bound, value
	case "_sum":
		b.sum = true
	case "_count":
		b.ended, b.count = true, value
	}
}

// splitLabels returns the labels without le, and le.
func splitLabels(text string) (rest, le string, ok bool) {
	for text != "" {
		m := oneLabel.FindStringSubmatch(text)
		if m == nil {
			return "", "", false
		}
		if text = text[len(m[0]):]; m[1] == "le" {
			le = m[2]
		} else {
			rest += m[1] + "=" + m[2] + ","
		}
	}
	return rest, le, true
}

func written(s *metrics.Set) string {
	var b strings.Builder
	s.WritePrometheus(&b)
	return b.String()
}

// busy is a set with something of everything, given out of order.
func busy() *metrics.Set {
	s := metrics.New("v1", metrics.Gauges{
		LedgerHead: func() (string, uint64, bool) { return "local", 1 << 40, true },
		StoreBytes: func() (int64, bool) { return 1 << 40, true },
		More: func() []metrics.Sample {
			hits := func(cache string) metrics.Sample {
				return metrics.Sample{Name: "keyturn_cache_hits_total", Labels: [][2]string{{"cache", cache}}, Value: 2e9}
			}
			return []metrics.Sample{
				hits("tokens"), {Name: "keyturn_denied", Value: 0.5}, hits("pairs"), {Name: "keyturn_odd", Value: math.NaN()},
			}
		},
	})
	for i, route := range []string{"/v1/oauth/token", "/authz", "/livez"} {
		for _, took := range []time.Duration{0, 3 * time.Millisecond, time.Second, 7 * time.Second, time.Hour} {
			s.Request(metrics.Request{Method: "GET", Route: route, Status: 200 + i, Took: took})
			s.Request(metrics.Request{Method: "POST", Route: route, Status: 401, Code: "UNAUTHORIZED", Took: took})
		}
	}
	return s
}

func TestText_IsVersion004(t *testing.T) {
	t.Parallel()
	text := written(busy())
	if f := check(text); f.wrong != nil {
		t.Fatalf("%s\n%s", strings.Join(f.wrong, "\n"), text)
	}
	for _, want := range []string{
		"# HELP keyturn_denied Ids that are denied on this host alone.\n# TYPE keyturn_denied gauge\nkeyturn_denied 0.5\n",
		"# TYPE keyturn_cache_hits_total counter\nkeyturn_cache_hits_total{cache=\"pairs\"} 2000000000\n" +
			"keyturn_cache_hits_total{cache=\"tokens\"} 2000000000\n",
		"# TYPE keyturn_odd gauge\nkeyturn_odd NaN\n",
		"keyturn_ledger_head{region=\"local\"} 1099511627776\n",
		"# TYPE go_goroutines gauge\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	if again := written(busy()); block(again, "keyturn_requests_total") != block(text, "keyturn_requests_total") {
		t.Error("the order is another one each time")
	}
}

// block is what stands below the TYPE of a family.
func block(text, name string) string {
	_, rest, _ := strings.Cut(text, "# TYPE "+name+" ")
	found, _, _ := strings.Cut(rest, "# ")
	return found
}

func TestText_AHistogramIsOneBlockInTheOrderOfItsBounds(t *testing.T) {
	t.Parallel()
	s := metrics.New("v1", metrics.Gauges{})
	for _, took := range []time.Duration{0, 7 * time.Second, time.Hour} {
		s.Request(metrics.Request{Method: "GET", Route: "/livez", Status: 200, Took: took})
	}
	want := "histogram\n"
	for _, b := range [][2]string{
		{"0.0005", "1"},
		{"0.001", "1"},
		{"0.0025", "1"},
		{"0.005", "1"},
		{"0.01", "1"},
		{"0.025", "1"},
		{"0.05", "1"},
		{"0.1", "1"},
		{"0.25", "1"},
		{"0.5", "1"},
		{"1", "1"},
		{"2.5", "1"},
		{"5", "1"},
		{"10", "2"},
		{"30", "2"},
		{"+Inf", "3"},
	} {
		want += `keyturn_request_duration_seconds_bucket{route="/livez",le="` + b[0] + `"} ` + b[1] + "\n"
	}
	want += "keyturn_request_duration_seconds_sum{route=\"/livez\"} 3607\nkeyturn_request_duration_seconds_count{route=\"/livez\"} 3\n"
	if diff := cmp.Diff(want, block(written(s), "keyturn_request_duration_seconds")); diff != "" {
		t.Error(diff)
	}
}

// TestText_IsWholeWhileRequestsComeIn: the last bucket is the count at any instant.
func TestText_IsWholeWhileRequestsComeIn(t *testing.T) {
	t.Parallel()
	s, done := busy(), make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
				s.Request(metrics.Request{Method: "GET", Route: "/livez", Status: 200, Took: time.Duration(i) % time.Minute})
			}
		}
	}()
	for range 50 {
		if f := check(written(s)); f.wrong != nil {
			t.Error(strings.Join(f.wrong, "\n"))
			break
		}
	}
	close(done)
	<-ended
}

// TestText_OfBothPrograms: what an authority and a sidecar really answer.
func TestText_OfBothPrograms(t *testing.T) {
	t.Parallel()
	c, err := devcluster.Start(t.Context(), devcluster.Options{Peers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	for program, server := range map[string]string{"serve": c.URL(), "sidecar": c.Sidecars()[0]} {
		get(t, client, server+"/livez")
		get(t, client, server+"/no/such/path")
		text := get(t, client, server+"/metrics")
		f := check(text)
		if f.wrong != nil {
			t.Errorf("%s: %s\n%s", program, strings.Join(f.wrong, "\n"), text)
		}
		if f.kinds["keyturn_request_duration_seconds"] != "histogram" || f.kinds["keyturn_requests_total"] != "counter" {
			t.Errorf("%s: %v", program, f.kinds)
		}
	}
}

func get(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	a, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestCheck_FindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	histogram := func(lines ...string) string { return "# TYPE keyturn_h histogram\n" + strings.Join(lines, "\n") + "\n" }
	for name, text := range map[string]string{
		"NoType":        "a 1\n",
		"TypeBelow":     "a 1\n# TYPE a gauge\n",
		"TwoBlocks":     "# TYPE a gauge\na{l=\"1\"} 1\n# TYPE b gauge\nb 1\na{l=\"2\"} 1\n",
		"Twice":         "# TYPE a gauge\na 1\na 1\n",
		"TextOrder":     histogram(`keyturn_h_bucket{le="+Inf"} 1`, `keyturn_h_bucket{le="1"} 1`, "keyturn_h_sum 1", "keyturn_h_count 1"),
		"Ten":           histogram(`keyturn_h_bucket{le="10"} 1`, `keyturn_h_bucket{le="2.5"} 1`, `keyturn_h_bucket{le="+Inf"} 1`, "keyturn_h_sum 1", "keyturn_h_count 1"),
		"NotCumulative": histogram(`keyturn_h_bucket{le="1"} 2`, `keyturn_h_bucket{le="+Inf"} 1`, "keyturn_h_sum 1", "keyturn_h_count 1"),
		"OtherCount":    histogram(`keyturn_h_bucket{le="1"} 1`, `keyturn_h_bucket{le="+Inf"} 1`, "keyturn_h_sum 1", "keyturn_h_count 2"),
		"NoInf":         histogram(`keyturn_h_bucket{le="1"} 1`, "keyturn_h_sum 1", "keyturn_h_count 1"),
	} {
		if check(text).wrong == nil {
			t.Errorf("%s: nothing is found", name)
		}
	}
	good := histogram(`keyturn_h_bucket{le="1"} 1`, `keyturn_h_bucket{le="+Inf"} 1`, "keyturn_h_sum 1", "keyturn_h_count 1")
	if f := check(good); f.wrong != nil {
		t.Error(f.wrong)
	}
}
