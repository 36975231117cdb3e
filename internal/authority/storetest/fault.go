package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/keyturn/keyturn/internal/authority"
)

// What a caller may rely on when a call failed and it does not know whether the store has done it.
var faultFacts = []fact{
	{"FailedBeforeLeavesNothing", func(t *testing.T, u *user) {
		f := Faulty(u.Store, Fault{Method: "Append", Call: 1})
		b := batch("local", authority.Head{}, "a")
		injected(t, f.Append(u.ctx, b))
		if h := u.heads(t); len(h) != 0 {
			t.Errorf("heads: %v", h)
		}
		if err := f.Append(u.ctx, b); err != nil {
			t.Errorf("again: %v", err)
		}
	}},
	{"FailedYetCommittedShowsInTheHead", func(t *testing.T, u *user) {
		f := Faulty(u.Store, Fault{Method: "Append", Call: 1, After: true})
		b := batch("local", authority.Head{}, "a")
		injected(t, f.Append(u.ctx, b))
		sameHead(t, u.heads(t)["local"], headAfter(b))
		conflict(t, "again", f.Append(u.ctx, b)) // so it is never there twice
		sameEntries(t, u.ledger(t, "local"), plain(b.Entries))
	}},
	{"FailedYetCommittedClaimIsHeld", func(t *testing.T, u *user) {
		f := Faulty(u.Store, Fault{Method: "Claim", Call: 1, After: true})
		c := authority.Claim{Key: "k", Value: []byte("me"), At: past, ExpiresAt: future}
		injected(t, f.Claim(u.ctx, c))
		conflict(t, "again", f.Claim(u.ctx, c))
		sameClaim(t, u, c) // the value tells its owner
	}},
	{"LookingAtTheHeadMakesItOnce", func(t *testing.T, u *user) {
		// One store serves all runs, so each run has a region of its own.
		run := 0
		Each(t, func(t *testing.T, faulty func(authority.Store) authority.Store) {
			run++
			region := fmt.Sprintf("run-%d", run)
			f := &user{Store: faulty(u.Store), ctx: u.ctx}
			for _, name := range []string{"a", "b", "c"} {
				f.once(t, region, name)
			}
			es := u.ledger(t, region)
			if len(es) != 3 || es[0].Subject != "a" || es[1].Subject != "b" || es[2].Subject != "c" {
				t.Errorf("ledger: %+v", es)
			}
		})
	}},
	{"FaultsAreCounted", func(t *testing.T, u *user) {
		f := Faulty(u.Store, Fault{Method: "Heads", Call: 2}, Fault{Call: 4})
		for call, want := range []bool{false, true, false, true, false} {
			if _, err := f.Heads(u.ctx); errors.Is(err, ErrInjected) != want {
				t.Errorf("call %d: %v", call+1, err)
			}
		}
		if n, calls := f.Fired(), f.Calls(); n != 2 || len(calls) != 5 || calls[4] != "Heads" {
			t.Errorf("%d faults in %v", n, calls)
		}
	}},
}

func injected(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrInjected) {
		t.Errorf("%v, want ErrInjected", err)
	}
}

// once appends an entry for name exactly once, through a store whose calls may fail: after an error that is no conflict
// it looks at the head, which is its own, the old one, or somebody else's.
func (u *user) once(t *testing.T, region, name string) {
	t.Helper()
	before := u.patientHead(t, region)
	b := batch(region, before, name)
	for range 10 {
		err := u.Append(u.ctx, b)
		if err == nil {
			return
		}
		now := u.patientHead(t, region)
		if bytes.Equal(now.Sum, headAfter(b).Sum) {
			return // failed, yet committed
		}
		if !bytes.Equal(now.Sum, before.Sum) {
			t.Fatalf("somebody else wrote to %s", region)
		}
	}
	t.Fatalf("%s was never appended", name)
}

func (u *user) patientHead(t *testing.T, region string) authority.Head {
	t.Helper()
	for range 10 {
		if h, err := u.Heads(u.ctx); err == nil {
			return h[region]
		}
	}
	t.Fatal("the heads could never be read")
	return authority.Head{}
}
