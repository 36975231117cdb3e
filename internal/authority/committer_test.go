package authority_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/authority/storetest"
	"github.com/keyturn/keyturn/internal/credential"
)

// slow is a store that counts its commits and lets each wait until it is told.
type slow struct {
	authority.Store
	commits atomic.Int32
	arrived chan int      // gets the size of each batch as it arrives; nil: nobody looks
	release chan struct{} // each commit takes one; nil: none waits
}

func (s *slow) Append(c context.Context, b authority.Batch) error {
	s.commits.Add(1)
	if s.arrived != nil {
		s.arrived <- len(b.Entries)
	}
	if s.release != nil {
		select {
		case <-s.release:
		case <-c.Done():
			return c.Err()
		}
	}
	return s.Store.Append(c, b)
}

// slowly is an authority over a store that writes nothing before it is released, and how somebody creates a credential there.
func slowly(t *testing.T) (w *world, s *slow, create func()) {
	t.Helper()
	w = found(t)
	s = &slow{Store: w.file, release: make(chan struct{})}
	w.over(s)
	return w, s, func() {
		if _, err := w.a.Create(ctx, w.root, w.origin(w.root), authority.CreateRequest{}, authority.Once{}); err != nil {
			t.Errorf("%v", err)
		}
	}
}

func TestCommitter_WritesTogetherWhatComesTogether(t *testing.T) {
	t.Parallel()
	w := found(t)
	s := &slow{Store: w.file, arrived: make(chan int, 100), release: make(chan struct{}, 100)}
	w.over(s)
	var wg sync.WaitGroup
	var made sync.Map
	create := func() {
		done, err := w.a.Create(ctx, w.root, w.origin(w.root), authority.CreateRequest{}, authority.Once{})
		if err != nil {
			t.Errorf("%v", err)
			return
		}
		made.Store(done.Credential.ID, done.Secret)
	}
	wg.Go(create)
	if n := <-s.arrived; n != 2 {
		t.Errorf("the first batch has %d entries", n)
	}
	for range 63 { // they queue behind the first
		wg.Go(create)
	}
	for late := time.Now().Add(time.Minute); authority.Waiting(w.a) < 63; runtime.Gosched() {
		if time.Now().After(late) {
			t.Fatalf("%d of 63 are waiting", authority.Waiting(w.a))
		}
	}
	for range 100 {
		s.release <- struct{}{}
	}
	wg.Wait()
	if n := s.commits.Load(); n != 2 {
		t.Errorf("%d commits for 64 creations, all but the first of which were waiting", n)
	}
	n := 0
	made.Range(func(subject, secret any) bool {
		n++
		w.accepts(true, secret.(credential.Secret), w.credential(subject.(idT)).ID.String())
		return true
	})
	if n != 64 || w.head() != 6+2*64 {
		t.Errorf("%d credentials, %d records", n, w.head())
	}
	if err := w.a.CheckLedger(ctx); err != nil {
		t.Errorf("the chain: %v", err)
	}
}

func TestCommitter_OneBatchForAllWhoWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, s, create := slowly(t)
		var wg sync.WaitGroup
		wg.Go(create)
		synctest.Wait() // it is being written
		for range 150 {
			wg.Go(create)
		}
		synctest.Wait() // all others wait
		close(s.release)
		wg.Wait()
		if n := s.commits.Load(); n != 3 { // 1, 128 and 22
			t.Errorf("%d commits", n)
		}
	})
}

func TestCommitter_WhoGoesAwayHurtsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, s, _ := slowly(t)
		gone, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() {
			done, err := w.a.Create(gone, w.root, w.origin(w.root), authority.CreateRequest{}, authority.Once{})
			if !errors.Is(err, access.ErrUnavailable) || !errors.Is(err, context.Canceled) || !done.Secret.IsZero() || done.Credential != nil {
				t.Errorf("who left: %+v, %v", done, err)
			}
		})
		synctest.Wait()
		for range 5 {
			wg.Go(func() {
				if _, err := w.a.Create(ctx, w.root, w.origin(w.root), authority.CreateRequest{}, authority.Once{}); err != nil {
					t.Errorf("who stayed: %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(s.release)
		wg.Wait()
		if w.head() != 6+2*6 { // what was begun is written
			t.Errorf("%d records", w.head())
		}
	})
}

func TestCommitter_CloseWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := found(t)
		s := &slow{Store: &keptOpen{w.file}, release: make(chan struct{})}
		w.over(s)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := w.a.Create(ctx, w.root, w.origin(w.root), authority.CreateRequest{}, authority.Once{}); err != nil {
					t.Errorf("%v", err)
				}
			})
		}
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- w.a.Close() }()
		synctest.Wait()
		select {
		case <-closed:
			t.Fatal("closed while a commit was under way")
		default:
		}
		if _, err := w.a.Create(ctx, w.root, w.origin(w.root), authority.CreateRequest{}, authority.Once{}); !errors.Is(err, access.ErrUnavailable) {
			t.Errorf("after Close: %v", err)
		}
		close(s.release)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		wg.Wait()
		if w.head() != 6+2*3 {
			t.Errorf("%d records", w.head())
		}
	})
}

// keptOpen is a store that others go on using.
type keptOpen struct{ authority.Store }

func (*keptOpen) Close() error { return nil }

// A record that cannot be signed is the trouble of its own caller.
func TestCommitter_OneBadRecordHurtsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, s, create := slowly(t)
		var wg sync.WaitGroup
		wg.Go(create)
		synctest.Wait()
		wg.Go(create)
		wg.Go(func() {
			o := w.origin(w.root)
			o.Reason = string(make([]byte, 200<<10)) // no edge lets this through
			if _, err := w.a.Create(ctx, w.root, o, authority.CreateRequest{}, authority.Once{}); err == nil {
				t.Error("a record of 200 kB was written")
			}
		})
		wg.Go(create)
		synctest.Wait()
		close(s.release)
		wg.Wait()
		if w.head() != 6+2*3 {
			t.Errorf("%d records", w.head())
		}
		if err := w.a.CheckLedger(ctx); err != nil {
			t.Errorf("the chain: %v", err)
		}
	})
}

// A revocation is written, but neither its commit nor a look at the ledger says so. Who asks again is told that it is done, with
// nothing left to write: whoever waits for news was woken by the first.
func TestChanged_InDoubt(t *testing.T) {
	t.Parallel()
	w := found(t, remembering)
	victim := w.create(w.root, nil)
	store := &swap{w.file}
	w.over(store)
	changed, head := w.a.Changed(), w.head()
	store.Store = storetest.Faulty(w.file, storetest.Fault{Method: "Append", Call: 1, After: true}, storetest.Fault{Method: "Ledger", Call: 1})
	if err := w.revoke(w.root, victim.target()); !errors.Is(err, access.ErrUnavailable) {
		t.Fatalf("the first: %v", err)
	}
	if err := w.revoke(w.root, victim.target()); err != nil || w.head() != head+1 {
		t.Fatalf("the second: %v, %d records", err, w.head()-head)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was woken")
	}
}

func TestChanged(t *testing.T) {
	t.Parallel()
	w := found(t)
	changed := w.a.Changed()
	select {
	case <-changed:
		t.Fatal("nothing has changed")
	default:
	}
	w.create(w.root, nil)
	select {
	case <-changed:
	case <-time.After(time.Minute):
		t.Fatal("the commit was not announced before it was answered")
	}
	if again := w.a.Changed(); again == changed {
		t.Error("the next commit has no channel of its own")
	}
}
