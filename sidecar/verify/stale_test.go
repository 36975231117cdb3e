package verify_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/token"
	"github.com/keyturn/keyturn/sidecar/verify"
)

// The age of what a sidecar knows grows while nobody tells, and each kind of scope has a bound of its own.
func TestVerifier_AgeBounds(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		scope string
		want  []string
		told  int // age
		after time.Duration
		err   error
	}{
		"WriteAtBound":     {"peers.write", nil, 0, time.Hour - time.Second, nil},
		"WriteBeyond":      {"peers.write", nil, 60, time.Hour - 59*time.Second, verify.ErrStale},
		"WriteToldAtBound": {"peers.write", nil, 3600, 0, nil},
		"WriteToldBeyond":  {"peers.write", nil, 3601, 0, verify.ErrStale},
		"ReadBeyondWrite":  {"peers.read", nil, 3601, time.Minute, nil},
		"ReadAtBound":      {"peers.read billing.read", nil, 86400, 0, nil},
		"ReadBeyond":       {"peers.read", nil, 86400, time.Second, verify.ErrStale},
		"BothBeyondWrite":  {"peers.read peers.write", nil, 3601, 0, verify.ErrStale},
		"BothUsedToRead":   {"peers.read peers.write", []string{"peers.read"}, 3601, 0, nil},
		"BothUsedForBoth":  {"peers.read peers.write", []string{"peers.read", "peers.write"}, 3601, 0, verify.ErrStale},
		"AdminWrites":      {"admin", nil, 3601, 0, verify.ErrStale},
		"AdminUsedToRead":  {"admin", []string{"peers.read"}, 3601, 0, nil},
		"NoScopeReads":     {"", nil, 3601, 0, nil},
		"Lacking":          {"peers.read", []string{"peers.write"}, 1 << 40, 0, verify.ErrForbidden},
		"FarTooOld":        {"peers.read", nil, 1 << 40, 0, verify.ErrStale},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.set(func() { w.age = &row.told })
			v := w.verifier(t, verify.Options{})
			defer v.Close()
			text := w.sign(authorityI, func(c *token.Claims) { c.Scope = row.scope })
			w.pass(row.after)
			for range 2 {
				_, err := v.Check(t.Context(), text, verify.Want{Scopes: row.want})
				is(t, err, row.err)
			}
		})
	}
}

func TestVerifier_OwnBounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := w.verifier(t, verify.Options{OfflineRead: time.Minute, OfflineWrite: time.Second})
	defer v.Close()
	read, write := w.sign(authorityI, nil), w.sign(authorityI, func(c *token.Claims) { c.Scope = "peers.write" })
	w.pass(2 * time.Second)
	_, err := v.Check(t.Context(), read, verify.Want{})
	is(t, err, nil)
	_, err = v.Check(t.Context(), write, verify.Want{})
	is(t, err, verify.ErrStale)
	w.pass(time.Minute)
	_, err = v.Check(t.Context(), read, verify.Want{})
	is(t, err, verify.ErrStale)
	if !strings.Contains(err.Error(), "1m2s") {
		t.Errorf("%v does not tell the age", err)
	}
	reads := w.verifier(t, verify.Options{OfflineRead: time.Minute}) // nobody may write for longer than read
	defer reads.Close()
	w.pass(2 * time.Minute)
	_, err = reads.Check(t.Context(), write, verify.Want{})
	is(t, err, verify.ErrStale)
}

// What is refused for sure is refused however old the state is; what never was fresh lets nobody in.
func TestVerifier_NeverFresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.set(func() { w.age = nil })
	w.revoke(readerI)
	v := w.verifier(t, verify.Options{OfflineRead: 1000 * time.Hour, OfflineWrite: 1000 * time.Hour})
	defer v.Close()
	_, err := v.Check(t.Context(), w.sign(authorityI, nil), verify.Want{})
	is(t, err, verify.ErrStale)
	_, err = v.Check(t.Context(), w.sign(authorityI, func(c *token.Claims) { c.Subject = readerI.String() }), verify.Want{})
	is(t, err, verify.ErrInvalid)
}

// A token from the future is refused, but for a host whose own clock may be the wrong one: then it is neither good nor bad.
func TestVerifier_FromTheFuture(t *testing.T) {
	t.Parallel()
	early := func(c *token.Claims) { c.IssuedAt, c.ExpiresAt = c.IssuedAt+45, c.ExpiresAt+45 }
	t.Run("ByAClockThatIsRight", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		v := w.hurried(t, verify.Options{})
		defer v.Close()
		_, err := v.Check(t.Context(), w.sign(authorityI, early), verify.Want{})
		is(t, err, verify.ErrInvalid)
	})
	t.Run("TheSidecarHasNoProofByIt", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		v := w.hurried(t, verify.Options{})
		defer v.Close()
		w.set(func() { w.age = nil })
		_, err := v.Check(t.Context(), w.sign(authorityI, early), verify.Want{})
		is(t, err, verify.ErrStale)
		if !strings.Contains(err.Error(), "clock") {
			t.Errorf("%v does not name the clock", err)
		}
	})
}

// A token whose key or peer is not known is refused once the authority was asked. Where it cannot be, and before there is any proof
// of how fresh the sidecar is, that is neither yes nor no; and what it has all the same, it tells.
func TestVerifier_UnknownIsNotInvalid(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		cutOff, unproven bool
		err              error
	}{
		"Asked":    {false, false, verify.ErrInvalid},
		"CutOff":   {true, false, verify.ErrStale},
		"Unproven": {false, true, verify.ErrStale},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, v := open(t)
			w.set(func() {
				w.cutOff = row.cutOff
				if row.unproven {
					w.age = nil
				}
			})
			key := sign(t, newSigner(t, edKey("unknown")), claims())
			peers := w.sign(authorityI, func(c *token.Claims) { c.Subject, c.Scope = lateI.String(), "ledger.read" })
			early := w.sign(authorityI, func(c *token.Claims) { c.IssuedAt, c.ExpiresAt = c.IssuedAt+45, c.ExpiresAt+45 })
			for _, text := range []string{key, peers, early} {
				_, err := v.Check(t.Context(), text, verify.Want{})
				is(t, err, row.err)
			}
			expired := sign(t, newSigner(t, edKey("unknown")), func() token.Claims { c := claims(); c.ExpiresAt = now.Unix(); return c }())
			_, err := v.Check(t.Context(), expired, verify.Want{})
			is(t, err, verify.ErrInvalid) // nobody has to be asked about that
			if row.unproven {
				return
			}
			w.quiet(func() { w.join(lateI, "peers.read") })
			_, err = v.Check(t.Context(), w.sign(lateI, nil), verify.Want{})
			is(t, err, nil)
		})
	}
}

// bubble is a world in virtual time.
func bubble(t *testing.T, o verify.Options, test func(t *testing.T, w *world, v *verify.Verifier)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o.Now = func() time.Time { return now.Add(time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))) } // where a bubble begins
		v := w.verifier(t, o)
		defer v.Close()
		test(t, w, v)
	})
}

// read says how often the feed has been asked.
func (w *world) read() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reads
}

// asks says how often a reading had the authority asked.
func (w *world) asks() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

func TestVerifier_HearsAtOnce(t *testing.T) {
	t.Parallel()
	bubble(t, verify.Options{}, func(t *testing.T, w *world, v *verify.Verifier) {
		text := w.sign(authorityI, nil)
		time.Sleep(45 * time.Second) // virtual
		for range 2 {
			_, err := v.Check(t.Context(), text, verify.Want{})
			is(t, err, nil)
			synctest.Wait()
		}
		if v.Hits() != 1 {
			t.Errorf("%d hits", v.Hits())
		}
		before := time.Now()
		w.revoke(sharedI)
		synctest.Wait()
		_, err := v.Check(t.Context(), text, verify.Want{})
		is(t, err, verify.ErrInvalid)
		if time.Since(before) != 0 {
			t.Errorf("it took %s", time.Since(before))
		}
		reads := w.read()
		time.Sleep(10 * time.Minute) // 30 waits of 20 s
		if n := w.read() - reads; n < 28 || n > 32 {
			t.Errorf("%d readings", n)
		}
	})
}

// Where bounds are short, nobody waits so long for news that what is known becomes too old meanwhile.
func TestVerifier_ShortBounds(t *testing.T) {
	t.Parallel()
	bubble(t, verify.Options{OfflineRead: 8 * time.Second}, func(t *testing.T, w *world, v *verify.Verifier) {
		text := w.sign(authorityI, nil)
		for range 100 {
			time.Sleep(700 * time.Millisecond)
			_, err := v.Check(t.Context(), text, verify.Want{})
			is(t, err, nil)
		}
	})
}

// What an operator denies one after the other moves no cursor, and is heard at once all the same.
func TestVerifier_HearsWhatMovesNoCursor(t *testing.T) {
	t.Parallel()
	bubble(t, verify.Options{}, func(t *testing.T, w *world, v *verify.Verifier) {
		reader := w.sign(authorityI, func(c *token.Claims) { c.Subject, c.Version = readerI.String(), 1 })
		synctest.Wait()
		w.set(func() { w.still = true })
		w.deny(sharedI.String())
		synctest.Wait()
		w.deny(sharedI.String(), readerI.String())
		synctest.Wait()
		for _, text := range []string{reader, w.sign(authorityI, nil)} {
			_, err := v.Check(t.Context(), text, verify.Want{})
			is(t, err, verify.ErrInvalid)
		}
	})
}

// A source that does not wait is not asked without a pause.
func TestVerifier_PausesWhereTheSourceDoesNot(t *testing.T) {
	t.Parallel()
	bubble(t, verify.Options{}, func(t *testing.T, w *world, v *verify.Verifier) {
		synctest.Wait()
		w.set(func() { w.hasty = true })
		time.Sleep(20 * time.Second)
		reads := w.read()
		time.Sleep(100 * time.Second)
		if n := w.read() - reads; n < 80 || n > 130 {
			t.Errorf("%d readings in 100 s", n)
		}
	})
}

// One reading answers all who ask for what is not known; the next may begin a second later.
func TestVerifier_AsksOnceForAll(t *testing.T) {
	t.Parallel()
	bubble(t, verify.Options{}, func(t *testing.T, w *world, v *verify.Verifier) {
		unknown := sign(t, newSigner(t, edKey("unknown")), claims())
		before := time.Now()
		_, err := v.Check(t.Context(), unknown, verify.Want{})
		is(t, err, verify.ErrInvalid)
		synctest.Wait()
		if time.Since(before) != 0 {
			t.Error("the first one waited")
		}
		w.quiet(func() { w.join(lateI, "peers.read") })
		late := w.sign(lateI, nil)
		reads, asked := w.read(), w.asks()
		var good, refused atomic.Int32
		for i := range 100 {
			go func() {
				text := late
				if i%2 == 0 {
					text = unknown
				}
				switch _, err := v.Check(context.Background(), text, verify.Want{}); {
				case err == nil:
					good.Add(1)
				case errors.Is(err, verify.ErrInvalid):
					refused.Add(1)
				}
			}()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if good.Load() != 50 || refused.Load() != 50 {
			t.Errorf("%d good, %d refused after %s", good.Load(), refused.Load(), time.Since(before))
		}
		if n := w.read() - reads; n != 2 { // that, and the next waiting one
			t.Errorf("%d readings", n)
		}
		if n := w.asks() - asked; n != 1 {
			t.Errorf("the authority was asked %d times", n)
		}
		for range 5 {
			_, err := v.Check(context.Background(), unknown, verify.Want{})
			is(t, err, verify.ErrInvalid)
		}
		if took := time.Since(before); took != 6*time.Second {
			t.Errorf("all took %s", took)
		}
	})
}

// What a look says that is no token of this cluster, nobody asks about.
func TestVerifier_AsksForNothingInVain(t *testing.T) {
	t.Parallel()
	w, v := open(t)
	w.remove(sidecarI)
	sync1(t, v)
	foreign := newSigner(t, edKey("foreign"))
	reads := w.read()
	for name, change := range map[string]func(c *token.Claims){
		"expired": func(c *token.Claims) { c.ExpiresAt = now.Unix() },
		"cluster": func(c *token.Claims) { c.ClusterID = otherI.String() },
		"issuer":  func(c *token.Claims) { c.Issuer = billing },
		"removed": func(c *token.Claims) { c.PeerID = sidecarI.String() },
		"no peer": func(c *token.Claims) { c.PeerID = "peer" },
	} {
		c := claims()
		change(&c)
		_, err := v.Check(t.Context(), sign(t, foreign, c), verify.Want{})
		is(t, err, verify.ErrInvalid)
		if n := w.read(); n > reads+1 { // the waiting one may begin late
			t.Errorf("%s: %d readings", name, n-reads)
		}
	}
}

// While the sidecar is away what is known is good until its bound, and what is not known is neither yes nor no.
func TestVerifier_SidecarAway(t *testing.T) {
	t.Parallel()
	var reports atomic.Int32
	o := verify.Options{Report: func(error) { reports.Add(1) }}
	bubble(t, o, func(t *testing.T, w *world, v *verify.Verifier) {
		write := w.sign(authorityI, func(c *token.Claims) { c.Scope = "peers.write" })
		unknown := sign(t, newSigner(t, edKey("unknown")), claims())
		w.set(func() { w.fails = errors.New("the disk is on fire") })
		time.Sleep(59 * time.Minute)
		_, err := v.Check(t.Context(), write, verify.Want{})
		is(t, err, nil)
		_, err = v.Check(t.Context(), unknown, verify.Want{})
		is(t, err, verify.ErrStale)
		time.Sleep(2 * time.Minute)
		write = w.sign(authorityI, func(c *token.Claims) { from(c, 61*time.Minute); c.Scope = "peers.write" })
		_, err = v.Check(t.Context(), write, verify.Want{})
		is(t, err, verify.ErrStale)
		_, err = v.Check(t.Context(), w.sign(authorityI, func(c *token.Claims) { from(c, 61*time.Minute) }), verify.Want{})
		is(t, err, nil)
		if n := reports.Load(); n < 500 || n > 1500 { // each 5 s
			t.Errorf("%d reports", n)
		}
		w.set(func() { w.fails = nil })
		time.Sleep(6 * time.Second)
		_, err = v.Check(t.Context(), write, verify.Want{})
		is(t, err, nil)
	})
}

// from issues a token that much later.
func from(c *token.Claims, after time.Duration) {
	c.IssuedAt, c.ExpiresAt = now.Add(after).Unix(), now.Add(after+time.Hour).Unix()
}

func TestVerifier_WaitersGiveUp(t *testing.T) {
	t.Parallel()
	bubble(t, verify.Options{}, func(t *testing.T, w *world, v *verify.Verifier) {
		unknown := sign(t, newSigner(t, edKey("unknown")), claims())
		_, err := v.Check(context.Background(), unknown, verify.Want{}) // the next has to wait
		is(t, err, verify.ErrInvalid)
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_, err = v.Check(ctx, unknown, verify.Want{})
		is(t, err, verify.ErrStale)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		var stale atomic.Int32
		for range 1200 {
			go func() {
				if _, err := v.Check(context.Background(), unknown, verify.Want{}); errors.Is(err, verify.ErrStale) {
					stale.Add(1)
				}
			}()
		}
		synctest.Wait()
		if stale.Load() != 1200-1024 {
			t.Errorf("%d were sent away", stale.Load())
		}
		go v.Close()
		synctest.Wait()
		if stale.Load() != 1200 {
			t.Errorf("%d were sent away when it closed", stale.Load())
		}
	})
}

func TestNew_WaitsForTheSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.set(func() { w.fails = access.ErrNotBootstrapped })
		go func() {
			time.Sleep(5 * time.Second)
			w.set(func() { w.fails = nil })
		}()
		v, err := verify.New(t.Context(), "http://127.0.0.1:8081", verify.Options{Transport: direct{w.handler()}, Now: w.now})
		if err != nil {
			t.Fatal(err)
		}
		v.Close()
		w.set(func() { w.fails = access.ErrNotBootstrapped })
		before := time.Now()
		_, err = verify.New(t.Context(), "http://127.0.0.1:8081", verify.Options{Transport: direct{w.handler()}, Now: w.now})
		is(t, err, verify.ErrStale)
		if took := time.Since(before); took != 10*time.Second {
			t.Errorf("it waited %s", took)
		}
		if text := fmt.Sprint(err); !strings.Contains(text, "503") {
			t.Error(text)
		}
	})
}

// slow lets time pass in each reading.
type slow struct {
	direct
	w    *world
	each time.Duration
}

// RoundTrip implements http.RoundTripper.
func (s slow) RoundTrip(r *http.Request) (*http.Response, error) {
	s.w.pass(s.each)
	return s.direct.RoundTrip(r)
}

// A token whose key has to be asked about is judged by the time at which that is known.
func TestCheck_ATokenThatExpiresWhileTheSourceIsAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v, err := verify.NewHasty(context.Background(), "http://127.0.0.1:8081", verify.Options{
		Now: w.now, Transport: slow{direct{w.handler()}, w, 10 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	w.quiet(func() { w.join(lateI, "peers.read") })
	text := w.sign(lateI, func(c *token.Claims) { c.ExpiresAt = w.now().Add(5 * time.Second).Unix() })
	_, err = v.Check(context.Background(), text, verify.Want{})
	is(t, err, verify.ErrInvalid)
	if !strings.Contains(err.Error(), "expired") {
		t.Error(err)
	}
}
