package verdict

import (
	"fmt"
	"hash/maphash"
	"strings"
	"time"
)

// What Limits of Tokens are by default. A token of 750 bytes takes about 1300 with its claims, so the bytes are reached at
// about 40,000 of those; 100,000 would take 130 MB, and the garbage collector as much again.
const (
	tokenEntries = 100_000
	tokenBytes   = 48 << 20
)

// tail is how much of a token is hashed to find it, in bytes: the end of a JWT is the end of its signature, which no two
// have in common. What is found is compared as a whole.
const tail = 32

// Tokens is a cache of verified tokens. It is safe for concurrent use.
type Tokens[V any] struct{ c *cache[string, V] }

// NewTokens returns an empty cache that ends when Close is called. It fails for negative limits only.
func NewTokens[V any](g *Generations, l Limits) (*Tokens[V], error) {
	seed := maphash.MakeSeed()
	c, err := newCache[string, V](g, l.or(tokenEntries, tokenBytes),
		func(text string) uint64 { return maphash.String(seed, text[max(0, len(text)-tail):]) },
		func(a, b string) bool { return a == b })
	if err != nil {
		return nil, fmt.Errorf("token cache: %w", err)
	}
	return &Tokens[V]{c}, nil
}

// Get returns what was kept for exactly this token, if that holds at instant at. It allocates nothing.
func (t *Tokens[V]) Get(at time.Time, text string) (V, bool) { return t.c.get(at, text) }

// Set keeps an answer that holds at instant at and whose computation began at m. It may keep nothing: always where anything
// moved since m, sometimes for want of room or time. Only good answers may be given to it.
func (t *Tokens[V]) Set(m Mark, at time.Time, text string, e Entry[V]) {
	// A header's value is a piece of all headers of its request, which it would keep alive.
	t.c.set(m, at, strings.Clone(text), e, len(text)+e.Bytes)
}

// Stats returns the counters.
func (t *Tokens[V]) Stats() Stats { return t.c.stats() }

// Close ends the goroutines of the cache and empties it. What is called later finds nothing and keeps nothing.
func (t *Tokens[V]) Close() { t.c.close() }
