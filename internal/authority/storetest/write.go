package storetest

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/keyturn/keyturn/internal/authority"
)

var appendFacts = []fact{
	{"NewStoreHasNoHeads", func(t *testing.T, u *user) {
		if h := u.heads(t); len(h) != 0 {
			t.Errorf("heads of a new store: %v", h)
		}
	}},
	{"MovesTheHead", func(t *testing.T, u *user) {
		b := u.grow(t, "local", "a", "b")
		sameHead(t, u.heads(t)["local"], headAfter(b))
		b = u.grow(t, "local", "c")
		sameHead(t, u.heads(t)["local"], headAfter(b))
	}},
	{"RegionsHaveLedgersOfTheirOwn", func(t *testing.T, u *user) {
		us := u.grow(t, "us-east-1", "a", "b")
		eu := u.grow(t, "eu-central-1", "c")
		h := u.heads(t)
		if len(h) != 2 {
			t.Errorf("%d heads, want 2", len(h))
		}
		sameHead(t, h["us-east-1"], headAfter(us))
		sameHead(t, h["eu-central-1"], headAfter(eu))
		sameEntries(t, u.ledger(t, "us-east-1"), plain(us.Entries))
		sameEntries(t, u.ledger(t, "eu-central-1"), plain(eu.Entries))
	}},
	{"StaleHeadLoses", func(t *testing.T, u *user) {
		first := batch("local", authority.Head{}, "a")
		u.append(t, first)
		conflict(t, "the same batch again", u.Append(u.ctx, first))
		conflict(t, "another batch for the old head", u.Append(u.ctx, batch("local", authority.Head{}, "b")))
		sameEntries(t, u.ledger(t, "local"), plain(first.Entries))
	}},
	{"HeadOfTheFutureLoses", func(t *testing.T, u *user) {
		ahead := headAfter(batch("local", authority.Head{}, "x"))
		conflict(t, "batch after a head that never was", u.Append(u.ctx, batch("local", ahead, "a")))
		if h := u.heads(t); len(h) != 0 {
			t.Errorf("heads: %v", h)
		}
	}},
	{"HeadIsSequenceAndSum", func(t *testing.T, u *user) {
		h := headAfter(u.grow(t, "local", "a"))
		h.Sum = bytes.Repeat([]byte{7}, len(h.Sum))
		conflict(t, "right sequence, wrong sum", u.Append(u.ctx, batch("local", h, "b")))
		h.Sum = nil
		conflict(t, "right sequence, no sum", u.Append(u.ctx, batch("local", h, "b")))
	}},
	{"KeepsNothingThatItWasGiven", func(t *testing.T, u *user) {
		b := batch("local", authority.Head{}, "a")
		b.Entries[0].Secret = []byte("hash")
		b.Claims = []authority.Claim{{Key: "k", Value: []byte("value"), At: past, ExpiresAt: future}}
		want := authority.Entry{Region: "local", Seq: 1, Subject: "a", Data: bytes.Clone(b.Entries[0].Data), Secret: []byte("hash")}
		sum := bytes.Clone(b.Entries[0].Sum)
		u.append(t, b)
		for _, given := range [][]byte{b.Entries[0].Data, b.Entries[0].Sum, b.Entries[0].Secret, b.Claims[0].Value} {
			clear(given)
		}
		sameEntries(t, u.subject(t, "a"), []authority.Entry{want})
		sameEntries(t, u.ledger(t, "local"), []authority.Entry{want})
		sameHead(t, u.heads(t)["local"], authority.Head{Seq: 1, Sum: sum})
		if c, err := u.Claimed(u.ctx, "k"); err != nil || string(c.Value) != "value" {
			t.Errorf("claim: %q, %v", c.Value, err)
		}
	}},
	{"ReturnsSlicesOfTheCallersOwn", func(t *testing.T, u *user) {
		large := func(b byte) []byte { return bytes.Repeat([]byte{b}, 3000) } // a store may copy small things anyway
		b := batch("local", authority.Head{}, "a")
		b.Entries[0].Data, b.Entries[0].Secret, b.Entries[0].Sum = large(1), large(2), large(3)
		b.Claims = []authority.Claim{{Key: "k", Value: large(4), At: past, ExpiresAt: future}}
		u.append(t, b)
		for range 2 { // what the first round spoils, the second must not see
			es := append(u.subject(t, "a"), u.ledger(t, "local")...)
			sameEntries(t, es, append(plain(b.Entries), plain(b.Entries)...))
			h := u.heads(t)["local"]
			sameHead(t, h, headAfter(b))
			c, err := u.Claimed(u.ctx, "k")
			if err != nil || !bytes.Equal(c.Value, large(4)) {
				t.Errorf("claim: %q, %v", c.Value, err)
			}
			clear(h.Sum)
			clear(c.Value)
			for _, e := range es {
				clear(e.Data)
				clear(e.Secret)
				_ = append(e.Data, "spoilt"...)
			}
		}
	}},
	{"ExpiryOfWhatIsNotThere", func(t *testing.T, u *user) {
		b := batch("local", authority.Head{}, "a")
		b.Expiries = []authority.Expiry{
			{Subject: "nobody", Region: "local", Seq: 70, Secret: future, Copy: future},
			{Subject: "nobody", Region: "elsewhere", Seq: 1, Secret: future, Copy: future},
		}
		u.append(t, b)
		sameEntries(t, u.ledger(t, "local"), plain(b.Entries))
		if es := u.subject(t, "nobody"); len(es) != 0 {
			t.Errorf("an expiry has made entries: %+v", es)
		}
	}},
}

// plain is how entries come back: without Lists and Sum.
func plain(es []authority.Entry) []authority.Entry {
	es = slices.Clone(es)
	for i := range es {
		es[i].Lists, es[i].Sum = nil, nil
	}
	return es
}

// Each of these batches fails for one reason and must leave nothing of its other parts.
var atomicFacts = []fact{
	{"HeadHasMoved", leavesNothing(func(b *authority.Batch) {
		b.After, b.Entries[0].Seq, b.Entries[1].Seq = authority.Head{}, 1, 2
	})},
	{"ClaimIsHeld", leavesNothing(func(b *authority.Batch) {
		b.Claims = append(b.Claims, authority.Claim{Key: "held", Value: []byte("mine"), At: past, ExpiresAt: future})
	})},
	{"ClaimBeforeOthersIsHeld", leavesNothing(func(b *authority.Batch) {
		b.Claims = slices.Insert(b.Claims, 0, authority.Claim{Key: "held", At: past, ExpiresAt: future})
	})},
	{"LimitIsReached", leavesNothing(func(b *authority.Batch) {
		b.Limits = append(b.Limits, authority.Limit{Name: "full", Delta: 1, Max: 1})
	})},
	{"LimitBeforeOthersIsReached", leavesNothing(func(b *authority.Batch) {
		b.Limits = slices.Insert(b.Limits, 0, authority.Limit{Name: "full", Delta: 1, Max: 1})
	})},
}

func leavesNothing(spoil func(*authority.Batch)) func(*testing.T, *user) {
	return func(t *testing.T, u *user) {
		before := batch("local", authority.Head{}, "old")
		before.Entries[0].Secret = []byte("hash")
		before.Claims = []authority.Claim{{Key: "held", Value: []byte("theirs"), At: past, ExpiresAt: future}}
		before.Limits = []authority.Limit{{Name: "full", Delta: 1, Max: 1}, {Name: "free", Delta: 1, Max: 3}}
		head := u.append(t, before)

		b := batch("local", head, "new", "old")
		b.Entries[0].Lists, b.Entries[0].Secret = []string{"list"}, []byte("another hash")
		b.Expiries = []authority.Expiry{{Subject: "old", Region: "local", Seq: 1, Secret: future, Copy: future}}
		b.Claims = []authority.Claim{{Key: "untouched", At: past, ExpiresAt: future}}
		b.Limits = []authority.Limit{{Name: "free", Delta: 1, Max: 3}}
		spoil(&b)
		conflict(t, "spoilt batch", u.Append(u.ctx, b))

		sameHead(t, u.heads(t)["local"], head)
		sameEntries(t, u.ledger(t, "local"), plain(before.Entries))
		sameEntries(t, u.subject(t, "old"), plain(before.Entries))
		if es := u.subject(t, "new"); len(es) != 0 {
			t.Errorf("subject of the failed batch: %+v", es)
		}
		if names := u.page(t, "list", "", 9); len(names) != 0 {
			t.Errorf("list of the failed batch: %v", names)
		}
		if _, err := u.Claimed(u.ctx, "untouched"); !errors.Is(err, authority.ErrNotFound) {
			t.Errorf("claim of the failed batch: %v, want ErrNotFound", err)
		}
		if c, err := u.Claimed(u.ctx, "held"); err != nil || string(c.Value) != "theirs" {
			t.Errorf("claim of the holder: %q, %v", c.Value, err)
		}
		if n := u.room(t, "free", 3); n != 2 {
			t.Errorf("room for %d more, want 2", n)
		}
	}
}

var limitFacts = []fact{
	{"NewCounterIsZero", func(t *testing.T, u *user) {
		if n := u.room(t, "c", 3); n != 3 {
			t.Errorf("room for %d, want 3", n)
		}
	}},
	{"ReachesMaxAndNoMore", func(t *testing.T, u *user) {
		u.count(t, "c", 2, 2)
		conflict(t, "one more", u.tryCount("c", 1, 2))
		u.count(t, "c", 1, 3) // the limit is the caller's, not the counter's
		conflict(t, "far too many", u.tryCount("c", 100, 3))
	}},
	{"MaxZeroAllowsNone", func(t *testing.T, u *user) {
		conflict(t, "one of none", u.tryCount("c", 1, 0))
	}},
	{"CountsDownWhateverMaxSays", func(t *testing.T, u *user) {
		u.count(t, "c", 5, 5)
		u.count(t, "c", -1, 1)
		u.count(t, "c", 0, 0)
		if n := u.room(t, "c", 5); n != 1 {
			t.Errorf("room for %d, want 1", n)
		}
	}},
	{"NeverFallsBelowZero", func(t *testing.T, u *user) {
		u.count(t, "c", -3, 0)
		u.count(t, "c", 1, 5)
		u.count(t, "c", -7, 0)
		if n := u.room(t, "c", 2); n != 2 {
			t.Errorf("room for %d, want 2", n)
		}
	}},
	{"MovesOfOneBatchComeInTurn", func(t *testing.T, u *user) {
		for _, before := range []int{0, 1, 5} { // sets the counter to 2, whatever it is
			u.count(t, "c", before, math.MaxInt32)
			b := batch("count", u.heads(t)["count"], "counted")
			b.Limits = []authority.Limit{{Name: "c", Delta: -math.MaxInt32}, {Name: "c", Delta: 2, Max: 2}}
			u.append(t, b)
			if n := u.room(t, "c", 3); n != 1 {
				t.Errorf("from %d: room for %d, want 1", before, n)
			}
		}
		b := batch("count", u.heads(t)["count"], "counted")
		b.Limits = []authority.Limit{{Name: "c", Delta: -math.MaxInt32}, {Name: "c", Delta: 3, Max: 2}}
		conflict(t, "above the limit in the end", u.Append(u.ctx, b))
	}},
	{"CountersAreApart", func(t *testing.T, u *user) {
		u.count(t, "c", 3, 3)
		if n := u.room(t, "d", 3); n != 3 {
			t.Errorf("room for %d, want 3", n)
		}
	}},
}

func (u *user) tryCount(name string, delta, limit int) error {
	h, err := u.Heads(u.ctx)
	if err != nil {
		return err
	}
	b := batch("count", h["count"], "counted")
	b.Limits = []authority.Limit{{Name: name, Delta: delta, Max: limit}}
	return u.Append(u.ctx, b)
}

func (u *user) count(t *testing.T, name string, delta, limit int) {
	t.Helper()
	if err := u.tryCount(name, delta, limit); err != nil {
		t.Fatalf("counter %s by %d up to %d: %v", name, delta, limit, err)
	}
}
