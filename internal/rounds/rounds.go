// Package rounds lets many who need something that is newer than their question share one reading of it: whoever asks waits
// for the next round that begins, and rounds that were asked for begin some time apart. What a round does it does not know.
//
// Its errors are ErrCrowd, what a round ended with, what the Rounds ended with, and those of contexts.
package rounds

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrCrowd says that too many wait already.
var ErrCrowd = errors.New("too many wait for the same answer already")

// Rounds are what one goroutine does for all who ask: it waits for Due, calls Begin, works, and calls Done on what it got. It is
// safe for concurrent use.
type Rounds struct {
	gap   time.Duration
	crowd int
	wake  chan struct{} // holds one: the next round may begin

	mu      sync.Mutex
	next    *Round // asked for and not begun
	resting *time.Timer
	cut     context.CancelFunc // ends the work that nobody has asked for
	waiting int
	ended   error // nil: not yet
}

// Round is the work that somebody waits for.
type Round struct {
	done chan struct{}
	err  error // once done
}

// New returns Rounds that begin at least gap apart, for at most crowd who wait at once; 0 is any number.
func New(gap time.Duration, crowd int) *Rounds {
	return &Rounds{gap: gap, crowd: crowd, wake: make(chan struct{}, 1)}
}

// Wait returns when a round that began after the call has ended, with its error. Else it is ErrCrowd, what End was given, or
// the context's error.
func (r *Rounds) Wait(ctx context.Context) error {
	asked, err := r.join()
	if err != nil {
		return err
	}
	defer r.leave()
	select {
	case <-asked.done:
		return asked.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ask has a round begin and does not wait for it.
func (r *Rounds) Ask() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended == nil {
		r.ask()
	}
}

func (r *Rounds) join() (*Round, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ended != nil:
		return nil, r.ended
	case r.crowd > 0 && r.waiting >= r.crowd:
		return nil, ErrCrowd
	}
	r.waiting++
	return r.ask(), nil
}

func (r *Rounds) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting--
}

func (r *Rounds) ask() *Round {
	if r.next == nil {
		r.next = &Round{done: make(chan struct{})}
		r.call()
	}
	return r.next
}

// call has the next round begin, unless the last one began just now.
func (r *Rounds) call() {
	if r.next == nil || r.resting != nil {
		return
	}
	if r.cut != nil {
		r.cut()
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Due receives when somebody has asked and the next round may begin.
func (r *Rounds) Due() <-chan struct{} { return r.wake }

// Begin returns the round that begins now, or nil where nobody has asked or it is too early. Work that begins all the same may
// leave a cut, which is called as soon as a round is due; nil is none.
func (r *Rounds) Begin(cut context.CancelFunc) *Round {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.wake:
	default:
	}
	if r.next == nil || r.resting != nil {
		r.cut = cut
		return nil
	}
	begun := r.next
	r.next, r.cut = nil, nil
	r.resting = time.AfterFunc(r.gap, r.rested)
	return begun
}

func (r *Rounds) rested() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resting = nil
	r.call()
}

// Done ends a round for all who wait for it, once. A nil Round is nobody's.
func (b *Round) Done(err error) {
	if b != nil {
		b.err = err
		close(b.done)
	}
}

// End sends everybody away with err, who waits for a round that has not begun and whoever comes later. err is not nil.
func (r *Rounds) End(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = err
	if r.resting != nil {
		r.resting.Stop()
	}
	r.next.Done(err)
	r.next = nil
}
