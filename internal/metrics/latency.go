package metrics

import (
	"math"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// latency is a histogram as Prometheus reads it: counters of all requests that took at most so many seconds. Each request is
// counted once, in the bucket that it falls into; the sums are made when somebody looks.
type latency struct {
	bounds []float64       // seconds, ascending; the last one is +Inf
	counts []atomic.Uint64 // of requests above the bound before, and up to this one
	took   atomic.Int64    // all of them together, nanoseconds
}

func bounds() []float64 {
	return []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, math.Inf(1)}
}

func newLatency() *latency {
	l := &latency{bounds: bounds()}
	l.counts = make([]atomic.Uint64, len(l.bounds))
	return l
}

func (l *latency) observe(took time.Duration) {
	i, _ := slices.BinarySearch(l.bounds, took.Seconds())
	l.counts[i].Add(1)
	l.took.Add(int64(took))
}

// lines are the histogram's series under that name with those labels. Each counter is read once: the last bucket is the count,
// also while requests come in.
func (l *latency) lines(name, labels string) []line {
	var all []line
	var n uint64
	for i, le := range l.bounds {
		n += l.counts[i].Load()
		bound := labels + `,le="` + strconv.FormatFloat(le, 'g', -1, 64) + `"`
		all = append(all, line{name: name + "_bucket", labels: bound, value: strconv.FormatUint(n, 10)})
	}
	return append(
		all,
		line{name: name + "_sum", labels: labels, value: number(time.Duration(l.took.Load()).Seconds())},
		line{name: name + "_count", labels: labels, value: strconv.FormatUint(n, 10)},
	)
}
