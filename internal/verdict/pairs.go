package verdict

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
)

// What Limits of Pairs are by default. A pair takes about 250 bytes.
const (
	pairEntries = 100_000
	pairBytes   = 28 << 20
)

// pair is what a client showed. The hash is in an exported field so that no verb of fmt prints it.
type pair struct {
	client id.ClientID
	Hash   credential.Hash
}

// equal takes the same time for every hash.
func (p pair) equal(q pair) bool { return p.client == q.client && p.Hash.Equal(q.Hash) }

// Pairs is a cache of client ids with the hashes of the secrets that they were accepted with. It is safe for concurrent
// use.
type Pairs struct {
	c *cache[pair, access.Client]
}

// NewPairs returns an empty cache that ends when Close is called. It fails for negative limits only.
func NewPairs(g *Generations, l Limits) (*Pairs, error) {
	seed := maphash.MakeSeed()
	c, err := newCache[pair, access.Client](g, l.or(pairEntries, pairBytes), func(p pair) uint64 {
		var version [8]byte
		binary.LittleEndian.PutUint64(version[:], uint64(p.client.Version))
		return maphash.String(seed, string(p.client.Credential)) ^ 3*maphash.Bytes(seed, version[:]) ^ 5*maphash.Bytes(seed, p.Hash[:])
	}, pair.equal)
	if err != nil {
		return nil, fmt.Errorf("pair cache: %w", err)
	}
	return &Pairs{c}, nil
}

// Get returns who was accepted with exactly this client id and hash, if that holds at instant at.
func (p *Pairs) Get(at time.Time, client id.ClientID, hash credential.Hash) (access.Client, bool) {
	return p.c.get(at, pair{client, hash})
}

// Set keeps that client was accepted as c at instant at, by a computation that began at m, until the end of the version or
// of the credential. It may keep nothing, as Tokens.Set.
func (p *Pairs) Set(m Mark, at time.Time, client id.ClientID, hash credential.Hash, c access.Client) {
	client.Credential = c.Credential.ID // the same text; the one that came in may be a piece of a whole request
	p.c.set(m, at, pair{client, hash}, Entry[access.Client]{
		Value: c, Subject: c.Credential.ID, Deadline: c.Credential.Deadline(c.Version),
	}, 0)
}

// Stats returns the counters.
func (p *Pairs) Stats() Stats { return p.c.stats() }

// Close ends the goroutines of the cache and empties it. What is called later finds nothing and keeps nothing.
func (p *Pairs) Close() { p.c.close() }
