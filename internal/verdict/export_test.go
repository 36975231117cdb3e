package verdict

import "github.com/keyturn/keyturn/internal/id"

// Wait returns when what was Set before can be found.
func (t *Tokens[V]) Wait() { t.c.entries.Wait() }

// Wait returns when what was Set before can be found.
func (p *Pairs) Wait() { p.c.entries.Wait() }

// Wait returns when what was kept before can be found.
func (g *Gate) Wait() {
	g.tokens.Wait()
	g.pairs.Wait()
}

// Collide makes all keys of all caches have the same hash.
func (g *Gate) Collide() {
	g.tokens.Collide()
	g.pairs.Collide()
}

// Collide makes all tokens have the same hash.
func (t *Tokens[V]) Collide() { t.c.hash = func(string) uint64 { return 7 } }

// Collide makes all pairs have the same hash.
func (p *Pairs) Collide() { p.c.hash = func(pair) uint64 { return 7 } }

// Of returns the generation of a subject. It grows with every Move of the subject and every MoveAll, and sometimes with the
// Move of another.
func (g *Generations) Of(subject id.ID) uint64 { return g.of[g.slot(subject)].Load() + g.all.Load() }

// MoveAround is a Move, with something that happens in the middle of it.
func (g *Generations) MoveAround(subject id.ID, between func()) {
	g.move(&g.of[g.slot(subject)], between)
}

// Rests returns whether an answer that began at m may be kept, with something that happens in the middle of finding out,
// and then whether it still stands.
func (g *Generations) Rests(m Mark, subject, owner id.ID, between func()) (stands func() bool, ok bool) {
	s, ok := g.stampAround(m, subject, owner, between)
	return func() bool { return g.stands(s) }, ok
}

// InFront says whether the table in front of ristretto has this token.
func (t *Tokens[V]) InFront(text string) bool {
	e := t.c.front.of(t.c.hash(text)).Load()
	return e != nil && e.key == text
}

// Front is how many tokens the table in front has.
func (t *Tokens[V]) Front() int {
	n := 0
	for i := range t.c.front {
		if t.c.front[i].Load() != nil {
			n++
		}
	}
	return n
}

// Kept says whether ristretto has this token.
func (t *Tokens[V]) Kept(text string) bool {
	e, ok := t.c.entries.Get(t.c.hash(text))
	return ok && e.key == text
}

// Strand has ristretto let go of a token while a reader puts it into the table in front.
func (t *Tokens[V]) Strand(text string) {
	hash := t.c.hash(text)
	e, _ := t.c.entries.Get(hash)
	t.c.entries.Del(hash)
	t.c.front.of(hash).Store(e)
}

// Learning is how many hits of a lane there are from one that ristretto is told of to the next.
const Learning = learning

// OnCompare calls f before each comparison of two tokens. Nobody may be at work yet.
func (t *Tokens[V]) OnCompare(f func()) {
	equal := t.c.equal
	t.c.equal = func(a, b string) bool {
		f()
		return equal(a, b)
	}
}

// Closing says whether Close waits for a reader.
func (t *Tokens[V]) Closing() bool {
	for i := range t.c.lanes {
		if !t.c.lanes[i].open.TryRLock() {
			return true
		}
		t.c.lanes[i].open.RUnlock()
	}
	return false
}
