package metrics

import (
	"fmt"
	"math"
	"strconv"
	"time"

	vm "github.com/VictoriaMetrics/metrics"
)

// latency is a histogram as Prometheus reads it: counters of all requests that took at most so many seconds. The
// library's own histogram has ranges instead, which only VictoriaMetrics reads.
type latency struct {
	bounds  []float64 // seconds, ascending; the last one is +Inf
	buckets []*vm.Counter
	sum     *vm.FloatCounter
	count   *vm.Counter
}

func bounds() []float64 {
	return []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, math.Inf(1)}
}

func (s *Set) latency(route string) *latency {
	if l, ok := s.routes.Load(route); ok {
		return l.(*latency)
	}
	l, _ := s.routes.LoadOrStore(route, s.newLatency(label(route)))
	return l.(*latency)
}

func (s *Set) newLatency(route string) *latency {
	const name = "keyturn_request_duration_seconds"
	l := &latency{
		bounds: bounds(),
		sum:    s.set.GetOrCreateFloatCounter(fmt.Sprintf(`%s_sum{route="%s"}`, name, route)),
		count:  s.set.GetOrCreateCounter(fmt.Sprintf(`%s_count{route="%s"}`, name, route)),
	}
	for _, le := range l.bounds {
		text := strconv.FormatFloat(le, 'g', -1, 64)
		l.buckets = append(l.buckets, s.set.GetOrCreateCounter(fmt.Sprintf(`%s_bucket{route="%s",le="%s"}`, name, route, text)))
	}
	return l
}

func (l *latency) observe(took time.Duration) {
	seconds := took.Seconds()
	for i := len(l.bounds) - 1; i >= 0 && seconds <= l.bounds[i]; i-- {
		l.buckets[i].Inc()
	}
	l.sum.Add(seconds)
	l.count.Inc()
}
