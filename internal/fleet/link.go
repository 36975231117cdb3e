package fleet

import (
	"io"
	"net"
	"sync"
)

// Link passes TCP connections on to an address until it is cut. It may be used from many goroutines.
type Link struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	cut   bool
	open  map[net.Conn]bool
	using sync.WaitGroup
}

// NewLink returns a whole link to HOST:PORT.
func NewLink(to string) (*Link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &Link{listener: l, to: to, open: map[net.Conn]bool{}}
	k.using.Go(k.accept)
	return k, nil
}

// Address is where the link begins.
func (k *Link) Address() string { return k.listener.Addr().String() }

func (k *Link) accept() {
	for {
		in, err := k.listener.Accept()
		if err != nil {
			return
		}
		k.using.Go(func() { k.pass(in) })
	}
}

// pass carries one connection. While the link is cut, it ends at once.
func (k *Link) pass(in net.Conn) {
	defer in.Close() //nolint:errcheck // it is over
	if !k.take(in) {
		return
	}
	defer k.leave(in)
	out, err := net.Dial("tcp", k.to)
	if err != nil {
		return
	}
	defer out.Close() //nolint:errcheck // it is over
	if !k.take(out) {
		return
	}
	defer k.leave(out)
	both := make(chan struct{}, 2)
	go func() { _, _ = io.Copy(out, in); both <- struct{}{} }()
	go func() { _, _ = io.Copy(in, out); both <- struct{}{} }()
	<-both
	_, _ = in.Close(), out.Close()
	<-both
}

func (k *Link) take(c net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cut {
		return false
	}
	k.open[c] = true
	return true
}

func (k *Link) leave(c net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.open, c)
}

// Cut ends every connection and lets no new one through until Mend.
func (k *Link) Cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut = true
	for c := range k.open {
		_ = c.Close()
	}
}

// Mend makes the link whole again.
func (k *Link) Mend() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut = false
}

// Close ends the link for good.
func (k *Link) Close() {
	_ = k.listener.Close()
	k.Cut()
	k.using.Wait()
}
