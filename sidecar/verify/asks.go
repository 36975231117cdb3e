package verify

import (
	"context"
	"errors"
	"sync"
	"time"
)

// crowd is how many checks may wait for a reading: with made-up tokens anybody can make checks wait.
const crowd = 1024

var (
	errClosed = errors.New("the verifier is closed")
	errCrowd  = errors.New("too many checks wait already")
)

// asks are checks that wait for a reading which begins after they asked: one for all of them, and not more than one in gap.
type asks struct {
	gap  time.Duration
	wake chan struct{} // holds one: the next round may begin

	mu      sync.Mutex
	next    *round // asked for and not begun
	resting *time.Timer
	cut     context.CancelFunc // ends the reading that waits for news
	waiting int
	closed  bool
}

// round is one reading that somebody waits for.
type round struct {
	done chan struct{}
	err  error // once done
}

func newAsks(gap time.Duration) *asks { return &asks{gap: gap, wake: make(chan struct{}, 1)} }

// wait returns when a reading that began after the call has ended, with its error.
func (a *asks) wait(ctx context.Context) error {
	r, err := a.join()
	if err != nil {
		return err
	}
	defer a.leave()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *asks) join() (*round, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed:
		return nil, errClosed
	case a.waiting >= crowd:
		return nil, errCrowd
	}
	a.waiting++
	if a.next == nil {
		a.next = &round{done: make(chan struct{})}
		a.call()
	}
	return a.next, nil
}

func (a *asks) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting--
}

// call has the next round begin, unless the last one began just now.
func (a *asks) call() {
	if a.next == nil || a.resting != nil {
		return
	}
	if a.cut != nil {
		a.cut()
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// begin says for whom the reading is that begins now. Where nobody waits, cut ends it when somebody does.
func (a *asks) begin(cut context.CancelFunc) *round {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.wake:
	default:
	}
	if a.next == nil || a.resting != nil {
		a.cut = cut
		return nil
	}
	r := a.next
	a.next, a.cut = nil, nil
	a.resting = time.AfterFunc(a.gap, a.rested)
	return r
}

func (a *asks) rested() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.resting = nil
	a.call()
}

// answer ends a round; nil is none.
func (a *asks) answer(r *round, err error) {
	if r != nil {
		r.err = err
		close(r.done)
	}
}

// end sends everybody away who waits, and whoever comes later.
func (a *asks) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.resting != nil {
		a.resting.Stop()
	}
	if a.next != nil {
		a.answer(a.next, errClosed)
		a.next = nil
	}
}
