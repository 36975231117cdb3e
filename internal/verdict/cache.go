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
// empty cache takes about 45 bytes for each entry of its limit, and 32 KiB for the table in front.
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

// cache is ristretto with whole keys, lives that follow the caller's clock, a table in front and a safe Close.
type cache[K, V any] struct {
	generations *Generations
	hash        func(K) uint64
	equal       func(a, b K) bool
	front       front[K, V]
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
	c := &cache[K, V]{
		generations: g, hash: hash, equal: equal,
		least: max(l.Bytes/int64(l.Entries), 1), own: int64(reflect.TypeFor[entry[K, V]]().Size()),
	}
	c.near.New = func() any { return &c.lanes[c.next.Add(1)%lanes] }
	var err error
	c.entries, err = ristretto.NewCache(&ristretto.Config[uint64, *entry[K, V]]{
		NumCounters:        int64(max(10*l.Entries, 1000)),
		MaxCost:            l.Bytes,
		BufferItems:        64,
		IgnoreInternalCost: true, // it is in around
		KeyToHash:          func(hash uint64) (uint64, uint64) { return hash, 0 },
		OnExit: func(e *entry[K, V]) {
			if e != nil { // what was to be deleted, and was not there
				c.front.drop(c.hash(e.key), e)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// good says whether e, if there is any, answers for key at an instant.
func (c *cache[K, V]) good(e *entry[K, V], at time.Time, key K) bool {
	return e != nil && c.stands(e, at) && c.equal(e.key, key)
}

// stands says whether e is neither over nor dead.
func (c *cache[K, V]) stands(e *entry[K, V], at time.Time) bool {
	return e.covers(at) && c.generations.stands(e.stamp)
}

func (c *cache[K, V]) get(at time.Time, key K) (value V, ok bool) {
	hash := c.hash(key)
	l := c.near.Get().(*lane)
	e := c.front.of(hash).Load()
	if c.good(e, at, key) {
		if l.hits.Add(1)%learning == 0 {
			c.learn(l, hash, e)
		}
		value, ok = e.value, true
	} else if e = c.find(l, hash, at, key); e != nil {
		l.hits.Add(1)
		value, ok = e.value, true
	} else {
		l.misses.Add(1)
	}
	c.near.Put(l)
	return value, ok
}

// find returns a good entry that ristretto has, or nil. The next time it is found in front.
func (c *cache[K, V]) find(l *lane, hash uint64, at time.Time, key K) *entry[K, V] {
	l.open.RLock()
	defer l.open.RUnlock()
	if l.closed {
		return nil
	}
	if e, ok := c.entries.Get(hash); ok && c.good(e, at, key) {
		c.front.of(hash).Store(e) // close waits for the lane before it empties the table
		return e
	}
	return nil
}

// learn tells ristretto of a hit. If it has let go of e, so does the table.
func (c *cache[K, V]) learn(l *lane, hash uint64, e *entry[K, V]) {
	l.open.RLock()
	defer l.open.RUnlock()
	if l.closed {
		return
	}
	if now, _ := c.entries.Get(hash); now != e {
		c.front.drop(hash, e)
	}
}

// set keeps e from at on, unless anything has moved since m. extra is what key and value point to, in bytes.
func (c *cache[K, V]) set(m Mark, at time.Time, key K, e Entry[V], extra int) {
	s, ok := c.generations.stamp(m, e.Subject, e.Owner)
	kept := &entry[K, V]{newLife(s, e.NotBefore, e.Deadline), key, e.Value}
	if !ok || !kept.covers(at) {
		return
	}
	l := c.near.Get().(*lane)
	l.open.RLock()
	if !l.closed {
		c.entries.Set(c.hash(key), kept, max(c.own+around+int64(extra), c.least))
		if t, last := at.Unix(), c.swept.Load(); (t >= last+between || t < last-between) && c.swept.CompareAndSwap(last, t) {
			c.sweeps.Go(func() { c.sweep(at) })
		}
	}
	l.open.RUnlock()
	c.near.Put(l)
}

// sweep frees the memory of what is over or dead. Ristretto would do that for entries with a deadline of its own, and then
// asks the system's clock at each Get: a fifth of what a hit takes here, and far more where that clock is slow.
func (c *cache[K, V]) sweep(at time.Time) {
	var over []uint64
	c.entries.IterValues(func(e *entry[K, V]) bool {
		if !c.stands(e, at) {
			over = append(over, c.hash(e.key))
		}
		return false
	})
	for _, hash := range over {
		c.entries.Del(hash) // should there be a new entry by now, it costs a miss
	}
	c.front.sweep(func(e *entry[K, V]) bool { return c.stands(e, at) }) // what ristretto had let go of before
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
		c.sweeps.Wait()                                         // nobody can start one any more
		c.front.sweep(func(*entry[K, V]) bool { return false }) // nor find, and put in, what is not there any more
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
