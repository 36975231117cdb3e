package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyturn/keyturn/internal/authority"
)

const racers = 12

// race runs n goroutines that start together and waits for them.
func race(n int, run func(i int)) {
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-start
			run(i)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
}

var raceFacts = []fact{
	{"OneWinnerPerHead", func(t *testing.T, u *user) {
		for round := range 5 {
			head := u.heads(t)["local"]
			var won atomic.Int32
			race(racers, func(i int) {
				b := batch("local", head, fmt.Sprintf("round-%d-writer-%d", round, i))
				b.Entries[0].Lists = []string{"winners"}
				switch err := u.Append(u.ctx, b); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, authority.ErrConflict):
					t.Errorf("loser: %v, want ErrConflict", err)
				}
			})
			if n := won.Load(); n != 1 {
				t.Errorf("round %d: %d winners", round, n)
			}
		}
		if n := len(u.page(t, "winners", "", 100)); n != 5 {
			t.Errorf("%d subjects listed after 5 rounds", n)
		}
		u.checkChain(t, "local", 5)
	}},
	{"NoAppendIsLost", func(t *testing.T, u *user) {
		race(racers/2, func(i int) {
			for n := range 4 {
				u.insist(t, "local", fmt.Sprintf("writer-%d", i), n)
			}
		})
		u.checkChain(t, "local", racers/2*4)
		for i := range racers / 2 {
			if n := len(u.subject(t, fmt.Sprintf("writer-%d", i))); n != 4 {
				t.Errorf("writer %d: %d entries, want 4", i, n)
			}
		}
	}},
	{"RegionsDoNotDisturbEachOther", func(t *testing.T, u *user) {
		race(4, func(i int) {
			region := fmt.Sprintf("region-%d", i)
			var head authority.Head
			for range 5 { // nobody else writes there: not a single conflict
				b := batch(region, head, "shared")
				if err := u.Append(u.ctx, b); err != nil {
					t.Errorf("%s: %v", region, err)
					return
				}
				head = headAfter(b)
			}
		})
		if n := len(u.subject(t, "shared")); n != 20 {
			t.Errorf("%d entries, want 20", n)
		}
	}},
	{"OneClaimerWins", func(t *testing.T, u *user) {
		for round := range 5 {
			var won atomic.Int32
			race(racers, func(int) {
				if u.claim(t, fmt.Sprintf("k%d", round), past, future) == nil {
					won.Add(1)
				}
			})
			if n := won.Load(); n != 1 {
				t.Errorf("round %d: %d winners", round, n)
			}
		}
	}},
	{"OneClaimerTakesOverFromTheExpired", func(t *testing.T, u *user) {
		if err := u.claim(t, "k", past.AddDate(0, 0, -1), past); err != nil {
			t.Error(err)
		}
		var won atomic.Int32
		race(racers, func(int) {
			if u.claim(t, "k", past, future) == nil {
				won.Add(1)
			}
		})
		if n := won.Load(); n != 1 {
			t.Errorf("%d winners", n)
		}
	}},
	{"CounterNeverPassesMax", func(t *testing.T, u *user) {
		const most = racers / 3
		var counted atomic.Int32
		race(racers, func(i int) {
			b := batch(fmt.Sprintf("region-%d", i), authority.Head{}, "counted")
			b.Limits = []authority.Limit{{Name: "c", Delta: 1, Max: most}}
			switch err := u.Append(u.ctx, b); {
			case err == nil:
				counted.Add(1)
			case !errors.Is(err, authority.ErrConflict):
				t.Errorf("loser: %v, want ErrConflict", err)
			}
		})
		if n := int(counted.Load()); n > most {
			t.Errorf("%d passed a limit of %d", n, most)
		}
		if n := len(u.subject(t, "counted")); n != int(counted.Load()) {
			t.Errorf("%d entries, but %d winners", n, counted.Load())
		}
		if n := int(counted.Load()) + u.room(t, "c", most); n != most {
			t.Errorf("%d in the end, want %d", n, most)
		}
	}},
	{"ReadersSeeWholeBatches", func(t *testing.T, u *user) {
		race(4, func(i int) {
			if i == 0 {
				for n := range 15 {
					u.insist(t, "local", "pair", n, "pair")
				}
				return
			}
			for range 30 {
				es, err := u.Ledger(u.ctx, "local", 0, 100)
				if err != nil || len(es)%2 != 0 {
					t.Errorf("%d entries of pairs, %v", len(es), err)
					return
				}
			}
		})
		u.checkChain(t, "local", 30)
	}},
}

// insist appends for name, and for more in the same batch, until it wins.
func (u *user) insist(t *testing.T, region, name string, n int, more ...string) {
	for {
		h, err := u.Heads(u.ctx)
		if err != nil {
			t.Errorf("%s %d: %v", name, n, err)
			return
		}
		err = u.Append(u.ctx, batch(region, h[region], append([]string{name}, more...)...))
		if err == nil {
			return
		}
		if !errors.Is(err, authority.ErrConflict) {
			t.Errorf("%s %d: %v", name, n, err)
			return
		}
	}
}

// checkChain checks that a ledger has the sequences 1 to n, and that the head is its end.
func (u *user) checkChain(t *testing.T, region string, n int) {
	t.Helper()
	es := u.ledger(t, region)
	if len(es) != n {
		t.Errorf("%d entries, want %d", len(es), n)
	}
	for i, e := range es {
		if e.Seq != uint64(i)+1 {
			t.Fatalf("entry %d has sequence %d", i, e.Seq)
		}
	}
	if h := u.heads(t)[region]; h.Seq != uint64(n) {
		t.Errorf("head %d, want %d", h.Seq, n)
	}
}
