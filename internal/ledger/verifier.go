package ledger

import (
	"fmt"
	"slices"
	"sync"

	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
)

// Verifier opens signed records: it checks a record's signature when it first sees it, and knows it again by its
// content. It may be used from many goroutines.
type Verifier struct {
	mu      sync.Mutex
	cluster id.ID
	keys    map[string]jwk.Key
	opened  generations[*Record]  // decoded records
	checked generations[struct{}] // sums of records with a good signature: small, so that there can be many
}

// How many records a Verifier remembers, at most twice over: decoded ones of about 1 kB, and 32-byte sums.
const (
	openedLimit  = 8 << 10
	checkedLimit = 256 << 10
)

// NewVerifier returns a Verifier that trusts anchor, and each key that a trusted one vouches for (Trust).
func NewVerifier(anchors ...jwk.Key) *Verifier {
	v := &Verifier{keys: map[string]jwk.Key{}, opened: newGenerations[*Record](openedLimit), checked: newGenerations[struct{}](checkedLimit)}
	for _, k := range anchors {
		v.keys[k.ID()] = k
	}
	return v
}

// Anchor makes v trust a key from the start, as NewVerifier does.
func (v *Verifier) Anchor(key jwk.Key) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys[key.ID()] = key
}

// Trust reads the records of the cluster itself (any order, data as stored) and learns its id and the ledger keys that
// trusted ones vouch for. Records that no trusted key signed are left out of the answer, and counted.
func (v *Verifier) Trust(data [][]byte) (records []*Record, refused int) {
	v.found(data)
	rest := slices.Clone(data)
	for {
		var later [][]byte
		for _, d := range rest {
			if r, err := v.Open(d); err == nil {
				v.learn(r)
				records = append(records, r)
			} else {
				later = append(later, d)
			}
		}
		if len(later) == len(rest) {
			return records, len(later)
		}
		rest = later // a key learned just now may have signed some of these
	}
}

// found learns which cluster it is before any record is believed: should an anchor have founded two, only records of the
// older one count, whatever the order.
func (v *Verifier) found(data [][]byte) {
	var oldest id.ID
	for _, d := range data {
		r, err := v.Open(d)
		if err != nil {
			continue
		}
		if _, founds := r.body.(*ClusterBody); founds && (oldest == "" || r.Cluster < oldest) {
			oldest = r.Cluster
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cluster == "" {
		v.cluster = oldest
	}
}

func (v *Verifier) learn(r *Record) {
	b, ok := r.body.(*KeyBody)
	if !ok || b.Use != UseLedger {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys[b.Key.ID()] = b.Key
}

// Open checks and decodes one signed record. It returns ErrRecord or ErrSignature. The record is shared: do not change
// it.
func (v *Verifier) Open(data []byte) (*Record, error) {
	sum := [32]byte(Sum(data))
	v.mu.Lock()
	known, ok := v.opened.get(sum)
	_, checked := v.checked.get(sum)
	cluster := v.cluster
	v.mu.Unlock()
	if ok {
		return known.in(cluster)
	}

	signed, err := Decode(data)
	if err != nil {
		return nil, err
	}
	if !checked && !v.signedByTrusted(signed) {
		return nil, fmt.Errorf("%w: key %.43s", ErrSignature, signed.KeyID)
	}
	r, err := decodeRecord(signed.Payload) // copies what it keeps
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.opened.put(sum, r)
	v.checked.put(sum, struct{}{})
	return r.in(cluster)
}

// in returns r, or ErrRecord where it belongs to another cluster. It is asked each time: a record may have been opened
// before the cluster was known. "" is any cluster.
func (r *Record) in(cluster id.ID) (*Record, error) {
	if cluster != "" && r.Cluster != cluster {
		return nil, fmt.Errorf("%w: it belongs to %.64q", ErrRecord, r.Cluster)
	}
	return r, nil
}

func (v *Verifier) signedByTrusted(s Signed) bool {
	v.mu.Lock()
	key, ok := v.keys[s.KeyID]
	v.mu.Unlock()
	return ok && s.signedBy(key)
}

// Trusts reports whether the ledger key of that thumbprint is trusted.
func (v *Verifier) Trusts(keyID string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.keys[keyID]
	return ok
}

// generations is a cache of bounded size: what was used since the last turn survives the next one.
type generations[T any] struct {
	limit      int
	young, old map[[32]byte]T
}

func newGenerations[T any](limit int) generations[T] {
	return generations[T]{limit: limit, young: map[[32]byte]T{}}
}

func (g *generations[T]) get(key [32]byte) (T, bool) {
	if value, ok := g.young[key]; ok {
		return value, true
	}
	value, ok := g.old[key]
	if ok {
		g.put(key, value)
	}
	return value, ok
}

func (g *generations[T]) put(key [32]byte, value T) {
	if len(g.young) >= g.limit {
		g.old, g.young = g.young, map[[32]byte]T{}
	}
	g.young[key] = value
}
