package global_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/dynamo/global"
	"github.com/keyturn/keyturn/internal/testdose"
)

var fromSeed = flag.Uint64("history", 0, "the seed of the only history that is run; 0 runs many, with seeds by the clock")

// How many random histories of two regions are run.
var (
	inMemory = testdose.Dose{Least: 100, Most: 1000, Within: time.Minute}
	onLocal  = testdose.Dose{Least: 2, Most: 12, Within: 8 * time.Second}
)

// Two regions, a global table between them that delays, reorders and repeats, partitions, and a home that moves: whatever
// happens, no secret is lost, none comes back, and in the end both regions know the same.
func TestHistories_Memory(t *testing.T) {
	t.Parallel()
	run(t, inMemory, func(testing.TB) [2]region {
		var sides [2]region
		for i, name := range names {
			m := &global.Memory{}
			sides[i] = region{name: name, table: m, api: m}
		}
		return sides
	})
}

func TestHistories_DynamoDBLocal(t *testing.T) {
	t.Parallel()
	server.Endpoint(t)
	run(t, onLocal, func(t testing.TB) [2]region {
		var sides [2]region
		first := server.Client(t, names[0], nil)
		table := server.Table(t, first)
		for i, name := range names {
			client := first
			if i > 0 {
				client = server.Client(t, name, nil)
				server.Replica(t, client, table)
			}
			sides[i] = region{name: name, table: &global.Local{Client: client, Name: table}, api: client}
		}
		return sides
	})
}

// run runs histories, as many at once as there are processors, and prints the seed of each one that fails.
func run(t *testing.T, dose testdose.Dose, tables func(testing.TB) [2]region) {
	seed := *fromSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	} else {
		dose = testdose.Dose{Least: 1}
	}
	t.Logf("seeds from %d", seed)
	seeds := make(chan uint64)
	var failed atomic.Int64
	var all sync.WaitGroup
	var mu sync.Mutex
	total, stalled := map[string]int{}, 0
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for seed := range seeds {
				h := newHistory(t, seed, tables(t))
				h.run()
				mu.Lock()
				for what, n := range h.count {
					total[what] += n
				}
				if h.stalled {
					stalled++
				}
				mu.Unlock()
				if h.wrong == "" {
					continue
				}
				if h.stalled {
					t.Logf("without a verdict: %s", h.wrong)
					continue
				}
				failed.Add(1)
				t.Errorf("%s\nreplay it with: -run '%s' -history=%d\n%s", h.wrong, t.Name(), seed, strings.Join(h.log, "\n"))
			}
		})
	}
	done := 0
	for i := range dose.Rounds(t) {
		if failed.Load() >= 3 {
			break
		}
		seeds <- seed + uint64(i)
		done++
	}
	close(seeds)
	all.Wait()
	t.Logf("%d histories: %v", done, total)
	if done == stalled {
		t.Error("every history was broken off: the machine stands still too often")
	}
	for _, what := range []string{"rotated", "emergency", "revoked", "moved", "refused", "accepted", "unheard"} {
		if done >= 100 && total[what] == 0 {
			t.Errorf("no history has %q: they show nothing about it", what)
		}
	}
}

// run lives through one history.
func (h *history) run() {
	defer func() {
		if p := recover(); p != nil && p != errOver {
			h.wrong = fmt.Sprintf("panic: %v\n%s", p, stack())
		}
	}()
	h.bootstrap()
	for range 12 + h.rng.IntN(25) {
		h.step()
	}
	h.heal()
}

func (h *history) step() {
	h.now = h.now.Add(time.Second)
	r := h.rng.IntN(2)
	switch n := h.rng.IntN(100); {
	case n < 18:
		h.rotate(r)
	case n < 26:
		h.create(r)
	case n < 34:
		h.revoke(r)
	case n < 38 || n < 46 && h.partitioned:
		h.moveHome(r)
	case n < 56:
		h.pass()
	case n < 62:
		h.partitioned = !h.partitioned
		h.say("partitioned: %v", h.partitioned)
	case n < 68:
		h.expire(r)
	case n < 73:
		h.restart(r)
	default:
		h.deliver(1 + h.rng.IntN(40))
	}
	h.check()
}

// pass lets time go by: a moment, or more than a window, or more than a copy is kept.
func (h *history) pass() {
	list := []time.Duration{time.Minute, time.Hour, 6 * time.Hour, 25 * time.Hour, 8 * day, 33 * day}
	d := list[min(h.rng.IntN(len(list)), h.rng.IntN(len(list)))]
	if h.late += d; h.late > mostLate {
		h.deliverAll()
		h.late = 0
	}
	h.now = h.now.Add(d)
	h.say("%s later", d)
}

// mostLate is how late an item may arrive: copies of superseded versions are kept for 30 days, and a deadline that expires
// before the item that it is about has heard of it says nothing any more. See docs/decisions/0006.
const mostLate = 20 * day

// deliverAll lets everything arrive that is on its way.
func (h *history) deliverAll() {
	for h.replication.Pending() > 0 {
		h.must(h.replication.Deliver(ctx, h.replication.Pending()))
	}
	h.say("everything arrived")
}

func (h *history) deliver(n int) {
	if h.partitioned {
		return
	}
	before := h.replication.Pending()
	h.must(h.replication.Deliver(ctx, n))
	h.say("delivered %d of %d", n, before)
}

func (h *history) expire(r int) {
	h.must(h.replication.Expire(ctx, r, h.at(r)))
	h.say("%s: deleted what has expired", names[r])
}

func (h *history) say(format string, args ...any) {
	h.log = append(h.log, h.now.Format("01-02 15:04:05 ")+fmt.Sprintf(format, args...))
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 17)) }
