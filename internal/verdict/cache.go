package verdict

import (
	"fmt"
	"math"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/keyturn/keyturn/internal/id"
)

const (
	lanes = 64

	// around is what ristretto's own maps take for an entry, in bytes: 110 to 180, depending on how full they are.
	around = 144

	// between is the time from one sweep to the next, in seconds of the caller's clock.
	between = 300
)

// Limits bound a cache by entries and by bytes of memory, whichever is reached first. 0 means the default of the cache. An
// empty cache takes about 45 bytes for each entry of its limit.
type Limits struct {
	Entries int
	Bytes   int64
}

func (l Limits) or(entries int, bytes int64) Limits {
	if l.Entries == 0 {
		l.Entries = entries
	}
	if l.Bytes == 0 {
		l.Bytes = bytes
	}
	return l
}

// Stats are counted since the cache was made.
type Stats struct {
	Hits   uint64 `json:"hits"`
	Misses uint64 `json:"misses"`
	Bytes  int64  `json:"bytes"` // what the entries take now, as estimated
}

// life says when an entry is good.
type life struct {
	stamp
	from, until int64 // seconds since 1970: from <= t < until
}

func newLife(s stamp, notBefore, deadline time.Time) life {
	l := life{s, math.MinInt64, math.MaxInt64}
	if !notBefore.IsZero() {
		l.from = notBefore.Add(time.Second - 1).Unix() // parts of a second make a life shorter, never longer
	}
	if !deadline.IsZero() {
		l.until = deadline.Unix()
	}
	return l
}

func (l *life) covers(at time.Time) bool {
	t := at.Unix()
	return l.from <= t && t < l.until
}

type entry[K, V any] struct {
	life
	key   K
	value V
}

// lane is one of many counters and locks, so that readers on different cores do not meet. The padding keeps two lanes out
// of one cache line.
type lane struct {
	open   sync.RWMutex // held by readers while they are in ristretto, which does not bear a Close beside a Get or Set
	closed bool
	hits   atomic.Uint64
	misses atomic.Uint64
	_      [128 - 48]byte
}

// cache is ristretto with whole keys, lives that follow the caller's clock, and a safe Close.
type cache[K, V any] struct {
	generations *Generations
	hash        func(K) uint64
	equal       func(a, b K) bool
	entries     *ristretto.Cache[uint64, *entry[K, V]]
	least       int64 // the cost of an entry at least: so the limit of bytes limits the number too
	own         int64 // the size of an entry without what it points to
	lanes       [lanes]lane
	next        atomic.Uint32
	near        sync.Pool    // of *lane: mostly one for each core
	swept       atomic.Int64 // the second of the last sweep
	sweeps      sync.WaitGroup
	once        sync.Once
}

func newCache[K, V any](g *Generations, l Limits, hash func(K) uint64, equal func(a, b K) bool) (*cache[K, V], error) {
	if l.Entries < 0 || l.Bytes < 0 {
		return nil, fmt.Errorf("a cache of %d entries and %d bytes", l.Entries, l.Bytes)
	}
	entries, err := ristretto.NewCache(&ristretto.Config[uint64, *entry[K, V]]{
		NumCounters:        int64(max(10*l.Entries, 1000)),
		MaxCost:            l.Bytes,
		BufferItems:        64,
		IgnoreInternalCost: true, // it is in around
		KeyToHash:          func(hash uint64) (uint64, uint64) { return hash, 0 },
	})
	if err != nil {
		return nil, err
	}
	c := &cache[K, V]{
		generations: g, hash: hash, equal: equal, entries: entries,
		least: max(l.Bytes/int64(l.Entries), 1), own: int64(reflect.TypeFor[entry[K, V]]().Size()),
	}
	c.near.New = func() any { return &c.lanes[c.next.Add(1)%lanes] }
	return c, nil
}

// enter returns a lane; leave has to follow.
func (c *cache[K, V]) enter() *lane {
	l := c.near.Get().(*lane)
	l.open.RLock()
	return l
}

func (c *cache[K, V]) leave(l *lane) {
	l.open.RUnlock()
	c.near.Put(l)
}

func (c *cache[K, V]) get(at time.Time, key K) (value V, ok bool) {
	hash := c.hash(key)
	l := c.enter()
	if !l.closed {
		var e *entry[K, V]
		if e, ok = c.entries.Get(hash); ok {
			if ok = c.equal(e.key, key) && e.covers(at) && c.generations.stands(e.stamp); ok {
				value = e.value
			}
		}
	}
	if ok {
		l.hits.Add(1)
	} else {
		l.misses.Add(1)
	}
	c.leave(l)
	return value, ok
}

// set keeps e from at on, unless anything has moved since m. extra is what key and value point to, in bytes.
func (c *cache[K, V]) set(m Mark, at time.Time, key K, e Entry[V], extra int) {
	s, ok := c.generations.stamp(m, e.Subject, e.Owner)
	kept := &entry[K, V]{newLife(s, e.NotBefore, e.Deadline), key, e.Value}
	if !ok || !kept.covers(at) {
		return
	}
	l := c.enter()
	if !l.closed {
		c.entries.Set(c.hash(key), kept, max(c.own+around+int64(extra), c.least))
		if t, last := at.Unix(), c.swept.Load(); (t >= last+between || t < last-between) && c.swept.CompareAndSwap(last, t) {
			c.sweeps.Go(func() { c.sweep(at) })
		}
	}
	c.leave(l)
}

// sweep frees the memory of what is over or dead. Ristretto would do that for entries with a deadline of its own, and then
// asks the system's clock at each Get: a fifth of what a hit takes here, and far more where that clock is slow.
func (c *cache[K, V]) sweep(at time.Time) {
	var over []uint64
	c.entries.IterValues(func(e *entry[K, V]) bool {
		if !e.covers(at) || !c.generations.stands(e.stamp) {
			over = append(over, c.hash(e.key))
		}
		return false
	})
	for _, hash := range over {
		c.entries.Del(hash) // should there be a new entry by now, it costs a miss
	}
}

func (c *cache[K, V]) stats() Stats {
	s := Stats{Bytes: c.entries.MaxCost() - c.entries.RemainingCost()}
	for i := range c.lanes {
		s.Hits += c.lanes[i].hits.Load()
		s.Misses += c.lanes[i].misses.Load()
	}
	return s
}

func (c *cache[K, V]) close() {
	c.once.Do(func() {
		for i := range c.lanes {
			c.lanes[i].open.Lock()
			c.lanes[i].closed = true
			c.lanes[i].open.Unlock()
		}
		c.sweeps.Wait() // nobody can start one any more
		c.entries.Close()
	})
}

// Entry is a good answer and what it rests on.
type Entry[V any] struct {
	// Value is shared by all who get it: nobody changes it.
	Value V
	// Bytes is what Value points to and nobody else holds.
	Bytes int
	// Subject and Owner are whose moves make the entry dead: for a token the credential, and the peer whose key signed it.
	Subject, Owner id.ID
	// NotBefore and Deadline are the instants between which the answer holds: at Deadline it does not. Zero: no bound.
	NotBefore, Deadline time.Time
}
