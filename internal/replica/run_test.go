package replica_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/replica"
)

var errDown = errors.New("the authority is down")

// waiter is an authority as serve is one: a request waits until there is something new.
type waiter struct {
	*scribe
	mu     sync.Mutex
	news   chan struct{}
	asked  []time.Time     // when each request came
	waits  []time.Duration // how long it was willing to wait
	down   bool
	poll   time.Duration // like the functions: it never waits, and says so
	slow   time.Duration // how long an answer takes
	region string
	hasty  bool // it never waits, and does not say so

	repeats bool          // it never waits, gives what it gave before, and says that there is more
	lag     time.Duration // how old its proofs of freshness are
}

func newWaiter(s *scribe) *waiter { return &waiter{scribe: s, news: make(chan struct{})} }

func (w *waiter) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	close(w.news)
	w.news = make(chan struct{})
}

func (w *waiter) requests() ([]time.Time, []time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]time.Time(nil), w.asked...), append([]time.Duration(nil), w.waits...)
}

func (w *waiter) Ledger(ctx context.Context, after authority.Cursor, limit int, wait time.Duration) (authority.LedgerPage, error) {
	w.mu.Lock()
	w.asked, w.waits = append(w.asked, time.Now()), append(w.waits, wait)
	slow := w.slow
	w.mu.Unlock()
	if slow > 0 {
		time.Sleep(slow) // virtual time
	}
	late := time.After(wait)
	for {
		w.mu.Lock()
		news, down, poll, hasty := w.news, w.down, w.poll, w.hasty
		w.scribe.at = time.Now().Add(-w.lag).UTC().Truncate(time.Second)
		if w.repeats = w.repeats && len(w.asked) < 1000; w.repeats { // who asks without end would stop the virtual clock
			after = nil
		}
		p := w.page(after, limit)
		if w.repeats {
			p.Heads = map[string]uint64{"local": 1 << 40}
		}
		p.PollAfter, p.Region = poll, w.region
		w.mu.Unlock()
		if down {
			return authority.LedgerPage{}, errDown
		}
		if len(p.Records) > 0 || wait == 0 || poll > 0 || hasty {
			return p, nil
		}
		select {
		case <-news:
		case <-late:
			wait = 0
		case <-ctx.Done():
			return authority.LedgerPage{}, ctx.Err()
		}
	}
}

// bubble runs a replica against a waiter, in virtual time.
func bubble(t *testing.T, test func(t *testing.T, w *waiter, h *host)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "replica.db")
	synctest.Test(t, func(t *testing.T) {
		s := newScribe(t, "local")
		s.at = time.Now().UTC().Truncate(time.Second)
		w := newWaiter(s)
		h := &host{t: t, path: path}
		h.o = replica.Options{Report: func(e replica.Event) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.events = append(h.events, e)
		}, Spare: h.spare}
		store, err := bolt.Open(path, bolt.Options{})
		if err != nil {
			t.Fatal(err)
		}
		h.over(store, "anchor")
		running, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.r.Run(running, w) }()
		synctest.Wait()
		test(t, w, h)
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
		if err := h.r.Pull(t.Context()); !errors.Is(err, replica.ErrStopped) {
			t.Errorf("a pull after the end: %v, want ErrStopped", err)
		}
		h.close()
	})
}

func TestRun_HearsOfNewsAtOnce(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *waiter, h *host) {
		time.Sleep(3 * time.Second)
		w.set(func() { w.create("local") })
		synctest.Wait()
		if c := h.r.Cursors()["local"]; c != 3 {
			t.Errorf("cursor %d at the instant of the news, want 3", c)
		}
		if age := h.r.Age(time.Now()); age > time.Second {
			t.Errorf("age %v", age)
		}
		asked, _ := w.requests()
		before := len(asked)
		time.Sleep(time.Minute)
		synctest.Wait()
		asked, waits := w.requests()
		if n := len(asked) - before; n < 2 || n > 4 {
			t.Errorf("%d requests in a quiet minute, want 3", n)
		}
		for _, wait := range waits {
			if wait != 20*time.Second {
				t.Errorf("a request waits %v", wait)
			}
		}
		if age := h.r.Age(time.Now()); age > 21*time.Second {
			t.Errorf("age %v after a quiet minute", age)
		}
	})
}

func TestRun_ComesBackLaterAndLater(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *waiter, h *host) {
		began := time.Now()
		w.set(func() { w.down = true })
		time.Sleep(10 * time.Minute)
		asked, _ := w.requests()
		n := 0
		for i, at := range asked {
			if at.Before(began) {
				continue
			}
			n++
			if gap := at.Sub(asked[max(i-1, 0)]); gap > 31*time.Second {
				t.Errorf("%v between two requests", gap)
			}
		}
		if n < 20 || n > 45 {
			t.Errorf("%d requests in 10 minutes of an outage", n)
		}
		if told := h.told(replica.Failed); len(told) != 1 || !errors.Is(told[0].Err, errDown) {
			t.Errorf("told %v, want one Failed", told)
		}
		if age := h.r.Age(time.Now()); age < 9*time.Minute {
			t.Errorf("age %v", age)
		}
		w.set(func() { w.down = false; w.create("local") })
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if h.r.Cursors()["local"] != 3 || len(h.told(replica.Pulling)) != 1 {
			t.Errorf("cursors %v, told %v", h.r.Cursors(), h.events)
		}
	})
}

// The functions do not wait: they say when to come again, and nobody comes later than that.
func TestRun_PollsAsTold(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *waiter, h *host) {
		w.set(func() { w.poll = 5 * time.Second })
		time.Sleep(time.Minute)
		asked, _ := w.requests()
		for i := 2; i < len(asked); i++ {
			if gap := asked[i].Sub(asked[i-1]); gap < 3900*time.Millisecond || gap > 5*time.Second {
				t.Errorf("%v between two requests, want 4 to 5 s", gap)
			}
		}
		if len(asked) < 12 {
			t.Errorf("%d requests in a minute", len(asked))
		}
	})
}

// Who answers at once with nothing that is new, and says 0, is not asked without end.
func TestRun_DoesNotSpin(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(w *waiter){
		"Nothing": func(w *waiter) { w.hasty = true },
		"Known":   func(w *waiter) { w.repeats = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, w *waiter, h *host) {
				w.set(func() { change(w); w.create("local") })
				time.Sleep(time.Second)
				before, _ := w.requests()
				time.Sleep(10 * time.Second)
				after, _ := w.requests()
				if n := len(after) - len(before); n < 9 || n > 15 {
					t.Errorf("%d requests in 10 seconds", n)
				}
			})
		})
	}
}

// All who ask share one pull that begins after they asked, and pulls begin a second apart.
func TestPull_IsSharedAndBeginsAfterItIsAskedFor(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *waiter, h *host) {
		time.Sleep(5 * time.Second)
		synctest.Wait()
		before, _ := w.requests()
		w.mu.Lock()
		w.slow = 300 * time.Millisecond
		w.mu.Unlock()
		began := time.Now()
		var asking sync.WaitGroup
		took := make([]time.Duration, 20)
		for i := range took {
			asking.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond)
				if err := h.r.Pull(t.Context()); err != nil {
					t.Errorf("pull: %v", err)
				}
				took[i] = time.Since(began)
			})
		}
		asking.Wait()
		after, _ := w.requests()
		if n := len(after) - len(before); n != 2 {
			t.Errorf("%d requests for 20 who asked, want 2: the first one's, and one for who came while it was under way", n)
		}
		if took[0] != 300*time.Millisecond || took[1] != 1300*time.Millisecond || took[19] != 1300*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestPull_BringsAllThatTheSourceHas(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *waiter, h *host) {
		w.mu.Lock() // without a word to the request that waits
		subject := w.create("local")
		w.mu.Unlock()
		if err := h.r.Pull(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.at = time.Now()
		h.credential(subject)
	})
}

func TestPull_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *waiter, h *host) {
		w.set(func() { w.down = true })
		if err := h.r.Pull(t.Context()); !errors.Is(err, errDown) {
			t.Errorf("pull: %v", err)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if err := h.r.Pull(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("pull with an ended context: %v", err)
		}
	})
}

func TestNudge_PullsSoon(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *waiter, h *host) {
		w.mu.Lock()
		w.create("local")
		w.mu.Unlock()
		h.r.Nudge()
		synctest.Wait()
		if c := h.r.Cursors()["local"]; c != 3 {
			t.Errorf("cursor %d, want 3", c)
		}
	})
}

// An authority that was restored from a backup has less than we have had from it.
func TestRun_RollbackBreaksTheCopy(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *waiter, h *host) {
		w.set(func() { w.region = "local" })
		var lost id.ID
		w.set(func() { lost = w.create("local") })
		synctest.Wait()
		h.at = time.Now()
		h.credential(lost)
		time.Sleep(2 * time.Second)
		w.set(func() { w.lines["local"] = w.lines["local"][:1] })
		err := h.r.Pull(t.Context())
		if !errors.Is(err, replica.ErrBroken) || !errors.Is(h.r.Broken(), replica.ErrBroken) {
			t.Fatalf("pull: %v, broken: %v", err, h.r.Broken())
		}
		synctest.Wait()
		before, _ := w.requests()
		time.Sleep(5 * time.Minute)
		if after, _ := w.requests(); len(after) > len(before)+1 {
			t.Errorf("%d requests after the fork", len(after)-len(before))
		}
		if age := h.r.Age(time.Now()); age < 4*time.Minute {
			t.Errorf("age %v: a broken copy gets older", age)
		}
		h.credential(lost) // it goes on answering
	})
}

// Heads are nobody's word: only a newer proof of freshness can say that a ledger is shorter than it was.
func TestRun_ALowerHeadNeedsAProof(t *testing.T) {
	t.Parallel()
	for name, proof := range map[string]func(w *waiter){
		"None":  func(w *waiter) { w.set(func() { w.withheld = true }) },
		"Old":   func(*waiter) {}, // the one that the copy has already
		"Other": func(w *waiter) { time.Sleep(2 * time.Second); w.set(func() { w.cluster = foreignID }) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, w *waiter, h *host) {
				w.set(func() { w.region = "local"; w.create("local") })
				synctest.Wait()
				proof(w)
				all := w.lines["local"]
				w.set(func() { w.lines["local"] = all[:1] })
				if err := h.r.Pull(t.Context()); !errors.Is(err, replica.ErrRefused) || h.r.Broken() != nil {
					t.Fatalf("pull: %v, broken: %v", err, h.r.Broken())
				}
				w.set(func() { w.lines["local"], w.withheld, w.cluster = all, false, clusterID })
				w.set(func() { w.create("local") })
				time.Sleep(time.Minute)
				if c := h.r.Cursors()["local"]; c != 5 {
					t.Errorf("cursor %d, want 5: it goes on", c)
				}
			})
		})
	}
}

// No answer makes a copy rest for longer than half a minute: what says when to ask again is not signed.
func TestRun_RestsForHalfAMinuteAtMost(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *waiter, h *host) {
		w.set(func() { w.poll = 10 * 365 * 24 * time.Hour; w.create("local") })
		synctest.Wait()
		w.set(func() { w.poll = 0; w.create("local") })
		time.Sleep(30 * time.Second)
		if c := h.r.Cursors()["local"]; c != 5 {
			t.Errorf("cursor %d, want 5", c)
		}
	})
}

func TestResync_AcceptsTheOtherLedger(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *waiter, h *host) {
		var lost, kept id.ID
		w.set(func() { lost, w.region = w.create("local"), "local" })
		synctest.Wait()
		time.Sleep(2 * time.Second)
		w.set(func() { w.lines["local"] = w.lines["local"][:1] })
		_ = h.r.Pull(t.Context())
		w.set(func() {
			kept = w.create("local")
			w.create("local")
		})
		if err := h.r.Resync(t.Context()); err != nil {
			t.Fatalf("resync: %v", err)
		}
		h.at = time.Now()
		h.credential(kept)
		if _, err := h.r.Credential(ctx, h.at, lost); err == nil {
			t.Error("what the restored authority does not know is still here")
		}
		if h.r.Broken() != nil || len(h.told(replica.Resynced)) != 1 {
			t.Errorf("broken %v, told %v", h.r.Broken(), h.events)
		}
		var news id.ID
		w.set(func() { news = w.create("local") })
		synctest.Wait()
		h.credential(news) // it follows the new ledger at once
		if age := h.r.Age(time.Now()); age > time.Second {
			t.Errorf("age %v", age)
		}
	})
}

// The heads that are told afterwards are those of the ledger that was accepted, which may be the shorter one.
func TestResync_TellsTheNewHeads(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *waiter, h *host) {
		w.set(func() { w.region = "local"; w.create("local"); w.create("local"); w.create("local") })
		synctest.Wait()
		time.Sleep(2 * time.Second)
		if got := h.r.Heads()["local"]; got != 7 {
			t.Fatalf("heads before: %d", got)
		}
		w.set(func() { w.lines["local"] = w.lines["local"][:1] })
		_ = h.r.Pull(t.Context())
		w.set(func() { w.create("local") })
		if err := h.r.Resync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if heads, cursor := h.r.Heads(), h.r.Cursors()["local"]; heads["local"] != 3 || cursor != 3 {
			t.Errorf("heads %v, cursor %d, want 3 and 3", heads, cursor)
		}
	})
}

// What was true once is no reason to give up what is known now: a new copy has to be as fresh as any can be.
func TestResync_NeedsAProofOfNow(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(w *waiter)
		good   bool
	}{
		"None":   {func(w *waiter) { w.withheld = true }, false},
		"Old":    {func(w *waiter) { w.lag = 3 * time.Minute }, false},
		"Minute": {func(w *waiter) { w.lag = time.Minute }, true}, // as it comes from a region that is not home
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, w *waiter, h *host) {
				var revoked id.ID
				w.set(func() { revoked = w.create("local") })
				w.set(func() { w.revoke("local", revoked, 0) })
				synctest.Wait()
				time.Sleep(time.Hour)
				fresh := h.r.Fresh()
				w.set(func() { w.lines["local"] = w.lines["local"][:3]; row.change(w) })
				err := h.r.Resync(t.Context())
				h.at = time.Now()
				lives := h.credential(revoked).RevokedAt.IsZero()
				if row.good != (err == nil) || !row.good && !errors.Is(err, replica.ErrRefused) || lives != row.good {
					t.Errorf("resync: %v; what was revoked lives: %v; fresh since %s, before %s", err, lives, h.r.Fresh(), fresh)
				}
			})
		})
	}
}

// Where the new copy cannot be had, the old one stays.
func TestResync_FailsWithoutHarm(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *waiter, h *host) {
		subject := w.create("local")
		w.set(func() {})
		synctest.Wait()
		w.set(func() { w.down = true })
		if err := h.r.Resync(t.Context()); !errors.Is(err, errDown) {
			t.Errorf("resync: %v", err)
		}
		h.at = time.Now()
		h.credential(subject)
		w.set(func() { w.down = false })
		if err := h.r.Resync(t.Context()); err != nil {
			t.Errorf("resync after that: %v", err)
		}
		h.credential(subject)
	})
}
