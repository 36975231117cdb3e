package metrics

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// latency is a histogram as Prometheus reads it: counters of all requests that took at most so many seconds. The
// library's own histogram has ranges instead, which only VictoriaMetrics reads. Each request is counted once, in the bucket
// that it falls into; the sums are made when somebody looks.
type latency struct {
	bounds []float64       // seconds, ascending; the last one is +Inf
	counts []atomic.Uint64 // of requests above the bound before, and up to this one
	took   atomic.Int64    // all of them together, nanoseconds
}

func bounds() []float64 {
	return []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, math.Inf(1)}
}

func (s *Set) newLatency(route string) *latency {
	const name = "keyturn_request_duration_seconds"
	l := &latency{bounds: bounds()}
	l.counts = make([]atomic.Uint64, len(l.bounds))
	series := func(suffix, labels string, value func() float64) {
		s.set.GetOrCreateGauge(fmt.Sprintf(`%s_%s{route="%s"%s}`, name, suffix, route, labels), value)
	}
	for i, le := range l.bounds {
		series("bucket", fmt.Sprintf(`,le="%s"`, strconv.FormatFloat(le, 'g', -1, 64)), func() float64 { return l.upTo(i) })
	}
	series("sum", "", func() float64 { return time.Duration(l.took.Load()).Seconds() })
	series("count", "", func() float64 { return l.upTo(len(l.bounds) - 1) })
	return l
}

// upTo is how many requests took at most bounds[i].
func (l *latency) upTo(i int) float64 {
	var n uint64
	for j := range l.counts[:i+1] {
		n += l.counts[j].Load()
	}
	return float64(n)
}

func (l *latency) observe(took time.Duration) {
	i, _ := slices.BinarySearch(l.bounds, took.Seconds())
	l.counts[i].Add(1)
	l.took.Add(int64(took))
}
