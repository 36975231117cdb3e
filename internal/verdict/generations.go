package verdict

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/keyturn/keyturn/internal/id"
)

// slots is how many counters subjects share. Two subjects in one slot cost each other a miss, nothing else.
const slots = 4096

// Generations say what has changed. Whoever changes what is known of a subject (a tombstone, a rotation, a hash that came
// or went, a peer that was changed or removed) first makes the change visible to readers, then calls Move, and only then
// answers that it is done: from that instant on no entry made of the older state is good.
//
// The other order is wrong: between a Move and its change an entry could be made that nothing moves away.
type Generations struct {
	seed  maphash.Seed
	epoch atomic.Uint64 // moves with every move, before it: see stamp
	all   atomic.Uint64
	of    [slots]atomic.Uint64
}

// NewGenerations returns counters that nothing has moved yet.
func NewGenerations() *Generations {
	g := &Generations{seed: maphash.MakeSeed()}
	g.epoch.Store(1) // so that the zero Mark is never current
	return g
}

// Move makes every entry that rests on subject, a credential or a peer, dead, and sometimes one that rests on another. It is safe
// for concurrent use, and cheap.
func (g *Generations) Move(subject id.ID) {
	g.move(&g.of[g.slot(subject)], func() {})
}

// MoveAll makes every entry dead: for a change of the key set or of the cluster, and for a view that stops answering.
func (g *Generations) MoveAll() {
	g.move(&g.all, func() {})
}

// move raises the epoch first: see stamp. What happens in between is for tests.
func (g *Generations) move(counter *atomic.Uint64, between func()) {
	g.epoch.Add(1)
	between()
	counter.Add(1)
}

// Mark is an instant in the order of moves. The zero Mark is before all of them.
type Mark uint64

// Mark returns the present. It has to be taken before the state is read that an entry is made of.
func (g *Generations) Mark() Mark { return Mark(g.epoch.Load()) }

func (g *Generations) slot(subject id.ID) uint16 {
	return uint16(maphash.String(g.seed, string(subject)) % slots)
}

// stamp is the generations that an entry rests on. The counters only grow, so their sum stands still only as long as each
// of them does.
type stamp struct {
	sum            uint64
	subject, owner uint16
}

// stamp is for an answer whose computation began at m. It is false where anything has moved since: the answer may rest on
// what was before. A move raises the epoch first. So where the epoch still stands after the sum was read, the sum is that
// of m, and whatever moves later makes the entry dead.
func (g *Generations) stamp(m Mark, subject, owner id.ID) (stamp, bool) {
	return g.stampAround(m, subject, owner, func() {})
}

func (g *Generations) stampAround(m Mark, subject, owner id.ID, between func()) (stamp, bool) {
	s := stamp{subject: g.slot(subject), owner: g.slot(owner)}
	s.sum = g.sum(s)
	between()
	return s, g.Mark() == m
}

func (g *Generations) sum(s stamp) uint64 {
	return g.of[s.subject].Load() + g.of[s.owner].Load() + g.all.Load()
}

func (g *Generations) stands(s stamp) bool { return g.sum(s) == s.sum }
