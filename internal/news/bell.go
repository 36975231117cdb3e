// Package news tells everybody who waits that something has happened, and not what: they look for themselves.
package news

import "sync"

// Bell wakes all who wait each time that it rings. The zero Bell works. It may be used from many goroutines.
type Bell struct {
	mu sync.Mutex
	ch chan struct{} // nil: nobody waits
}

// Wait returns a channel that is closed when the bell rings next.
func (b *Bell) Wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

// Ring wakes all who wait.
func (b *Bell) Ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
