package shortcut

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Listener accepts connections and answers the plain requests on them. Accept returns only those that are net/http's.
type Listener struct {
	net.Listener
	route Route
	o     Options

	base   context.Context // of requests
	cut    context.CancelFunc
	handed chan accepted
	count  atomic.Int64 // of connections that were handed over

	stopping atomic.Bool
	stopped  chan struct{} // closed with stopping
	group    sync.WaitGroup
	mu       sync.Mutex
	open     map[*conn]struct{} // connections that are answered here
}

// accepted is what Accept returns.
type accepted struct {
	conn net.Conn
	err  error
}

// Listen returns a Listener over l, which begins to accept at once. Close ends it, and Drain what it began.
func Listen(l net.Listener, r Route, o Options) *Listener {
	if o.Now == nil {
		o.Now = time.Now
	}
	w := &Listener{
		Listener: l, route: r, o: o,
		handed: make(chan accepted), stopped: make(chan struct{}), open: map[*conn]struct{}{},
	}
	w.base, w.cut = context.WithCancel(context.Background())
	w.group.Go(w.acceptAll)
	return w
}

// Accept implements net.Listener: the next connection that cannot be answered here, with all that was not answered on it.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case a := <-l.handed:
		if a.conn != nil {
			l.count.Add(1)
		}
		return a.conn, a.err
	case <-l.stopped:
		return nil, net.ErrClosed
	}
}

// HandedOver is how many connections Accept has returned.
func (l *Listener) HandedOver() int64 { return l.count.Load() }

// Close implements net.Listener. Connections that wait for a request are closed at once; a request that is being answered
// is the last one of its connection.
func (l *Listener) Close() error {
	if l.stopping.Swap(true) {
		return nil
	}
	close(l.stopped)
	err := l.Listener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // a past one wakes who waits, and does not touch who writes
	}
	return err
}

// Drain waits, after Close, until everything that is being answered is answered. When ctx ends before, it cuts what is left
// and returns ctx's error.
func (l *Listener) Drain(ctx context.Context) error {
	done := make(chan struct{})
	go func() { l.group.Wait(); close(done) }()
	defer l.Cut()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Cut closes, after Close, the connections that are still answered here, and ends the context of their requests.
func (l *Listener) Cut() {
	l.cut()
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		_ = c.Close()
	}
}

// acceptAll serves each connection in a goroutine of its own. Who calls Accept gets the errors, and says by calling again that
// there is to be another try.
func (l *Listener) acceptAll() {
	for {
		nc, err := l.Listener.Accept()
		if err == nil {
			l.start(nc)
		} else if !l.pass(accepted{err: err}) {
			return
		}
	}
}

// start serves a connection, which ends at once where the listener has been closed meanwhile.
func (l *Listener) start(nc net.Conn) {
	c := newConn(l, nc)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[c] = struct{}{}
	l.group.Go(c.serve)
}

// forget is told that a connection is not served here any more: Close and Drain will not touch it.
func (l *Listener) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

// pass gives something to who calls Accept; false where nobody will any more.
func (l *Listener) pass(a accepted) bool {
	select {
	case l.handed <- a:
		return true
	case <-l.stopped:
		return false
	}
}
