package rounds_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/rounds"
)

var (
	errWork = errors.New("it does not work")
	errOver = errors.New("it is over")
)

// work does rounds until the bubble's test is over: each takes a while and ends with what end says.
func work(t *testing.T, r *rounds.Rounds, takes time.Duration, end func() error) *atomic.Int32 {
	var done atomic.Int32
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	go func() {
		for {
			select {
			case <-r.Due():
			case <-ctx.Done():
				return
			}
			if b := r.Begin(nil); b != nil {
				err := end()
				time.Sleep(takes) // virtual
				done.Add(1)
				b.Done(err)
			}
		}
	}()
	return &done
}

func fine() error { return nil }

// bubble runs a test in virtual time.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

func TestRounds_AreSharedAndBeginAfterTheQuestion(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := rounds.New(time.Second, 0)
		var state atomic.Int32
		var seen atomic.Int32
		done := work(t, r, 5*time.Second, func() error { seen.Store(state.Load()); return nil })
		var answered atomic.Int32
		for i := range int32(4) { // the first one's begins at once, and the others ask during it
			state.Store(i)
			go func() {
				if err := r.Wait(t.Context()); err != nil || seen.Load() < i {
					t.Errorf("%d: what was seen is %d: %v", i, seen.Load(), err)
				}
				answered.Add(1)
			}()
			synctest.Wait()
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Second)
		if done.Load() != 2 || answered.Load() != 4 {
			t.Errorf("%d rounds answered %d", done.Load(), answered.Load())
		}
	})
}

func TestRounds_BeginAGapApart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := rounds.New(time.Second, 0)
		done := work(t, r, 0, fine)
		begin := time.Now()
		for i := range 5 {
			if err := r.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			if took, want := time.Since(begin), time.Duration(i)*time.Second; took != want {
				t.Errorf("round %d after %s, want %s", i, took, want)
			}
		}
		time.Sleep(time.Minute)
		if done.Load() != 5 {
			t.Errorf("%d rounds: some nobody asked for", done.Load())
		}
	})
}

func TestRounds_TellTheirError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := rounds.New(time.Second, 0)
		work(t, r, time.Minute, func() error { return errWork })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := r.Wait(t.Context()); !errors.Is(err, errWork) {
			t.Error(err)
		}
	})
}

func TestRounds_Ask(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := rounds.New(time.Second, 1)
		done := work(t, r, 0, fine)
		for range 10 {
			r.Ask()
		}
		synctest.Wait()
		if done.Load() != 1 {
			t.Errorf("%d rounds", done.Load())
		}
		if err := r.Wait(t.Context()); err != nil {
			t.Errorf("who asks and does not wait is counted as waiting: %v", err)
		}
	})
}

func TestRounds_Crowd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := rounds.New(time.Second, 3)
		var sent, answered atomic.Int32
		for range 5 {
			go func() {
				switch err := r.Wait(t.Context()); {
				case err == nil:
					answered.Add(1)
				case errors.Is(err, rounds.ErrCrowd):
					sent.Add(1)
				}
			}()
		}
		synctest.Wait()
		work(t, r, 0, fine)
		synctest.Wait()
		if sent.Load() != 2 || answered.Load() != 3 {
			t.Errorf("%d were sent away, %d answered", sent.Load(), answered.Load())
		}
		if err := r.Wait(t.Context()); err != nil {
			t.Errorf("after the crowd has gone: %v", err)
		}
	})
}

// Work that nobody has asked for is cut as soon as a round is due, and no earlier.
func TestRounds_Cut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := rounds.New(time.Second, 0)
		r.Ask()
		r.Begin(nil).Done(nil)
		select {
		case <-r.Due():
			t.Error("a round that has begun is still due")
		default:
		}
		cuts := 0
		ctx, cancel := context.WithCancel(t.Context())
		cut := func() { cuts++; cancel() }
		if b := r.Begin(cut); b != nil {
			t.Error("a round that nobody has asked for")
		}
		r.Ask()
		if b := r.Begin(cut); b != nil || ctx.Err() != nil {
			t.Error("a round begins before the gap is over")
		}
		time.Sleep(999 * time.Millisecond)
		if ctx.Err() != nil {
			t.Error("it is cut before the gap is over")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if ctx.Err() == nil {
			t.Error("it is not cut")
		}
		select {
		case <-r.Due():
		default:
			t.Error("it is not due")
		}
		again, cutAgain := context.WithCancel(t.Context())
		defer cutAgain()
		if b := r.Begin(cutAgain); b == nil {
			t.Error("nobody has asked")
		}
		r.Ask()
		time.Sleep(time.Minute)
		if again.Err() != nil || cuts != 1 {
			t.Errorf("a round that was asked for is cut, or what was over: %v, %d times", again.Err(), cuts)
		}
	})
}

func TestRounds_End(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := rounds.New(time.Second, 0)
		errs := make(chan error)
		go func() { errs <- r.Wait(t.Context()) }()
		synctest.Wait()
		begun := r.Begin(nil)
		go func() { errs <- r.Wait(t.Context()) }()
		synctest.Wait()
		r.End(errOver)
		if err := <-errs; !errors.Is(err, errOver) {
			t.Errorf("who waits for what has not begun: %v", err)
		}
		begun.Done(nil)
		if err := <-errs; err != nil {
			t.Errorf("who waits for what has begun: %v", err)
		}
		if err := r.Wait(t.Context()); !errors.Is(err, errOver) {
			t.Errorf("who comes later: %v", err)
		}
		r.Ask()
		time.Sleep(time.Minute)
		if b := r.Begin(nil); b != nil {
			t.Error("a round begins after the end")
		}
		r.End(errOver)
		fresh := rounds.New(time.Second, 0)
		fresh.End(errOver)
		fresh.Ask()
		if b := fresh.Begin(nil); b != nil {
			t.Error("a round begins after the end of what never began")
		}
	})
}
