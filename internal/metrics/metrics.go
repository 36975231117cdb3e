// Package metrics counts what an authority or a sidecar does and writes it as Prometheus text. Names and labels are a contract with
// dashboards and live here, in one place; it is the only importer of github.com/VictoriaMetrics/metrics.
//
// The package knows no HTTP and nothing of credentials. Nothing in it fails: what cannot be a label becomes one that can.
package metrics

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"time"

	vm "github.com/VictoriaMetrics/metrics"
)

// Gauges are read each time that the metrics are written. A nil one is left out.
type Gauges struct {
	LedgerHead func() (region string, seq uint64, ok bool) // the newest record of the own region; not ok: unknown now
	StoreBytes func() (size int64, ok bool)                // size of the store's file
	More       func() []Sample                             // whatever else the program has
}

// Sample is one series at the moment.
type Sample struct {
	Name   string
	Labels [][2]string // name, value
	Value  float64
}

func (s Sample) write(w io.Writer) {
	var labels []string
	for _, l := range s.Labels {
		labels = append(labels, l[0]+`="`+label(l[1])+`"`)
	}
	name := s.Name
	if len(labels) > 0 {
		name += "{" + strings.Join(labels, ",") + "}"
	}
	_, _ = fmt.Fprintf(w, "%s %v\n", name, s.Value)
}

// Set is the metrics of one authority or sidecar. It may be used from many goroutines.
type Set struct {
	set      *vm.Set
	gauges   Gauges
	mu       sync.RWMutex            // asked on every request: plain maps, so that looking up allocates nothing
	requests map[Request]*vm.Counter // by the request without Took
	routes   map[string]*latency
	issued   [2]*vm.Counter
	swept    *vm.Counter
	proxied  *vm.Counter
}

// New returns the metrics of a program of that version, with every counter at zero.
func New(version string, g Gauges) *Set {
	set := vm.NewSet()
	s := &Set{set: set, gauges: g, requests: map[Request]*vm.Counter{}, routes: map[string]*latency{}, swept: set.NewCounter("keyturn_store_swept_total"), proxied: set.NewCounter("keyturn_proxied_total")}
	for i, secret := range [...]string{"current", "superseded"} {
		s.issued[i] = set.NewCounter(fmt.Sprintf(`keyturn_tokens_issued_total{secret="%s"}`, secret))
	}
	set.NewGauge(fmt.Sprintf(`keyturn_build_info{version="%s",go="%s"}`, label(version), label(runtime.Version())), func() float64 { return 1 })
	return s
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
	c.Inc()
}

// add makes the series of a request of a kind that has not been there.
func (s *Set) add(r Request) (*vm.Counter, *latency) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests[r] == nil {
		name := fmt.Sprintf(`keyturn_requests_total{route="%s",method="%s",status="%d",code="%s"}`, label(r.Route), r.Method, r.Status, label(r.Code))
		s.requests[r] = s.set.GetOrCreateCounter(name)
	}
	if s.routes[r.Route] == nil {
		s.routes[r.Route] = s.newLatency(label(r.Route))
	}
	return s.requests[r], s.routes[r.Route]
}

// Token counts a token that was issued for the current secret of a credential, or for a superseded one in its window: when
// those stop, a rotation has reached every host.
func (s *Set) Token(superseded bool) {
	if superseded {
		s.issued[1].Inc()
		return
	}
	s.issued[0].Inc()
}

// Swept counts items that a sweep removed from the store.
func (s *Set) Swept(items int) { s.swept.Add(items) }

// Proxied counts a request that another peer has answered.
func (s *Set) Proxied() { s.proxied.Inc() }

// WritePrometheus writes all metrics in the Prometheus text format, with those of the Go runtime and of the process.
func (s *Set) WritePrometheus(w io.Writer) {
	s.set.WritePrometheus(w)
	if s.gauges.LedgerHead != nil {
		if region, seq, ok := s.gauges.LedgerHead(); ok {
			_, _ = fmt.Fprintf(w, "keyturn_ledger_head{region=\"%s\"} %d\n", label(region), seq)
		}
	}
	if s.gauges.StoreBytes != nil {
		if size, ok := s.gauges.StoreBytes(); ok {
			_, _ = fmt.Fprintf(w, "keyturn_store_bytes %d\n", size)
		}
	}
	if s.gauges.More != nil {
		for _, sample := range s.gauges.More() {
			sample.write(w)
		}
	}
	vm.WriteProcessMetrics(w)
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
