// Package metrics counts what an authority or a sidecar does and writes it as Prometheus text, version 0.0.4. Names and labels
// are a contract with dashboards and live here, in one place; it is the only importer of github.com/VictoriaMetrics/metrics,
// which knows what there is to say of the Go runtime and of the process.
//
// The package knows no HTTP and nothing of credentials. Nothing in it fails: what cannot be a label becomes one that can.
package metrics

import (
	"bytes"
	"io"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	vm "github.com/VictoriaMetrics/metrics"
)

// Gauges are read each time that the metrics are written. A nil one is left out.
type Gauges struct {
	LedgerHead func() (region string, seq uint64, ok bool) // the newest record of the own region; not ok: unknown now
	StoreBytes func() (size int64, ok bool)                // size of the store's file
	More       func() []Sample                             // whatever else the program has
}

// Set is the metrics of one authority or sidecar. It may be used from many goroutines.
type Set struct {
	version  string
	gauges   Gauges
	mu       sync.RWMutex               // asked on every request: plain maps, so that looking up allocates nothing
	requests map[Request]*atomic.Uint64 // by the request without Took
	routes   map[string]*latency
	issued   [2]atomic.Uint64 // for a current secret, for a superseded one
	swept    atomic.Uint64
	proxied  atomic.Uint64
}

// New returns the metrics of a program of that version, with every counter at zero.
func New(version string, g Gauges) *Set {
	vm.ExposeMetadata(true) // the library's one switch for all that it writes, and nobody else here writes with it
	return &Set{version: version, gauges: g, requests: map[Request]*atomic.Uint64{}, routes: map[string]*latency{}}
}

// Request is one answered request. Route is the pattern that it matched, never its path: there are only so many.
type Request struct {
	Method string
	Route  string
	Status int
	Code   string // of the error answer; "" for none
	Took   time.Duration
}

// Request counts an answered request.
func (s *Set) Request(r Request) {
	took := r.Took
	r.Took, r.Method = 0, method(r.Method)
	s.mu.RLock()
	c, l := s.requests[r], s.routes[r.Route]
	s.mu.RUnlock()
	if c == nil || l == nil {
		c, l = s.add(r)
	}
	l.observe(took)
	c.Add(1)
}

// add makes the series of a request of a kind that has not been there.
func (s *Set) add(r Request) (*atomic.Uint64, *latency) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests[r] == nil {
		s.requests[r] = new(atomic.Uint64)
	}
	if s.routes[r.Route] == nil {
		s.routes[r.Route] = newLatency()
	}
	return s.requests[r], s.routes[r.Route]
}

// Token counts a token that was issued for the current secret of a credential, or for a superseded one in its window: when
// those stop, a rotation has reached every host.
func (s *Set) Token(superseded bool) {
	if superseded {
		s.issued[1].Add(1)
		return
	}
	s.issued[0].Add(1)
}

// Swept counts items that a sweep removed from the store.
func (s *Set) Swept(items int) { s.swept.Add(uint64(max(items, 0))) }

// Proxied counts a request that another peer has answered.
func (s *Set) Proxied() { s.proxied.Add(1) }

// WritePrometheus writes all metrics in the Prometheus text format, with those of the Go runtime and of the process.
func (s *Set) WritePrometheus(w io.Writer) {
	t := text{}
	t.add(s.counted()...)
	t.add(s.read()...)
	s.latencies(t)
	t.write(w)
	var process bytes.Buffer
	vm.WriteProcessMetrics(&process)
	for line := range bytes.Lines(process.Bytes()) {
		if !bytes.HasPrefix(line, []byte("# HELP ")) { // the library's help has no words
			_, _ = w.Write(line)
		}
	}
}

// counted is what the set has counted by itself, without the histogram.
func (s *Set) counted() []Sample {
	all := []Sample{
		{Name: "keyturn_build_info", Labels: [][2]string{{"version", s.version}, {"go", runtime.Version()}}, Value: 1},
		{Name: "keyturn_tokens_issued_total", Labels: [][2]string{{"secret", "current"}}, Value: float64(s.issued[0].Load())},
		{Name: "keyturn_tokens_issued_total", Labels: [][2]string{{"secret", "superseded"}}, Value: float64(s.issued[1].Load())},
		{Name: "keyturn_store_swept_total", Value: float64(s.swept.Load())},
		{Name: "keyturn_proxied_total", Value: float64(s.proxied.Load())},
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for r, n := range s.requests {
		labels := [][2]string{{"route", r.Route}, {"method", r.Method}, {"status", strconv.Itoa(r.Status)}, {"code", r.Code}}
		all = append(all, Sample{Name: "keyturn_requests_total", Labels: labels, Value: float64(n.Load())})
	}
	return all
}

// read is what the gauges say at the moment.
func (s *Set) read() (all []Sample) {
	if s.gauges.LedgerHead != nil {
		if region, seq, ok := s.gauges.LedgerHead(); ok {
			all = append(all, Sample{Name: "keyturn_ledger_head", Labels: [][2]string{{"region", region}}, Value: float64(seq)})
		}
	}
	if s.gauges.StoreBytes != nil {
		if size, ok := s.gauges.StoreBytes(); ok {
			all = append(all, Sample{Name: "keyturn_store_bytes", Value: float64(size)})
		}
	}
	if s.gauges.More != nil {
		all = append(all, s.gauges.More()...)
	}
	return all
}

// latencies puts the histogram of each route into the text, routes in order.
func (s *Set) latencies(t text) {
	const name = "keyturn_request_duration_seconds"
	s.mu.RLock()
	routes := maps.Clone(s.routes)
	s.mu.RUnlock()
	for _, route := range slices.Sorted(maps.Keys(routes)) {
		f := t.family(name, "histogram")
		f.lines = append(f.lines, routes[route].lines(name, `route="`+label(route)+`"`)...)
	}
}

// method keeps the number of series bounded: a client may send any word as a method.
func method(m string) string {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return m
	}
	return "other"
}

// label makes a text fit for a label's value without escapes.
func label(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '_'
		}
		return r
	}, s)
}
