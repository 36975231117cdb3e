package shortcut

import (
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"time"
)

// early is the part of a time-out by which a deadline may come early: setting one for each request costs more than reading its
// head.
const early = 16

// conn is a connection for as long as everything on it is plain.
type conn struct {
	net.Conn
	l       *Listener
	in, out []byte // used again for each request

	now                   time.Time // when the last request came
	readUntil, writeUntil time.Time // the deadlines that are set

	head    head
	last    bool          // the answer that is made ends the connection
	target  string        // of request.URL
	request *http.Request // used again for each request
	values  [maxReads][]string
	date    clock
}

func newConn(l *Listener, nc net.Conn) *conn {
	c := &conn{Conn: nc, l: l, in: make([]byte, l.o.MaxHead)}
	c.request = (&http.Request{
		Method: http.MethodGet, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody,
	}).WithContext(l.base)
	if a := nc.RemoteAddr(); a != nil {
		c.request.RemoteAddr = a.String()
	}
	for i := range l.route.Reads {
		c.values[i] = make([]string, 1)
	}
	return c
}

// serve answers requests until one is not plain, or the connection ends.
func (c *conn) serve() {
	rest := c.serveAll()
	c.l.forget(c)
	if rest == nil || !c.handOver(rest) {
		_ = c.Close()
	}
}

// serveAll returns what has come and is not plain; nil where the connection is to be closed.
func (c *conn) serveAll() (rest []byte) {
	defer c.recovered(&rest)
	c.now = c.l.o.Now()
	for wait := c.l.o.HeadTimeout; c.mayRead(wait); wait = c.l.o.IdleTimeout {
		n, _ := c.Read(c.in)
		if n == 0 {
			return nil
		}
		c.now = c.l.o.Now()
		for rest = c.in[:n]; len(rest) > 0; {
			n := c.head.read(rest, &c.l.route)
			if n == 0 || !c.answer(rest[:n]) {
				return rest
			}
			if !c.write() || c.last {
				return nil
			}
			rest = rest[n:]
		}
	}
	return nil
}

// recovered does with a panic what net/http does: it is logged, and the connection is closed.
func (c *conn) recovered(rest *[]byte) {
	p := recover()
	if p == nil {
		return
	}
	*rest = nil
	if p != http.ErrAbortHandler && c.l.o.Log != nil {
		c.l.o.Log.Printf("http: panic serving %s: %v\n%s", c.request.RemoteAddr, p, debug.Stack())
	}
}

// mayRead says how long to wait for the next request. It is false once the listener has been closed: that is looked at after
// the deadline is set, for Close sets one after it has said so.
func (c *conn) mayRead(wait time.Duration) bool {
	if c.readUntil.Sub(c.now) < wait-wait/early {
		c.readUntil = c.now.Add(wait)
		_ = c.SetReadDeadline(c.readUntil)
	}
	return !c.l.stopping.Load()
}

// handOver gives the connection to net/http as if nothing had been read but what was answered.
func (c *conn) handOver(rest []byte) bool {
	_ = c.SetDeadline(time.Time{})
	return c.l.pass(accepted{conn: &handed{c.Conn, rest}})
}

// answer makes the answer to the request whose head has been read from raw. It is false where that is left to net/http.
func (c *conn) answer(raw []byte) bool {
	if !c.readRequest() {
		return false
	}
	out, other := c.l.route.Answer(c.request, append(c.out[:0], "HTTP/1.1 200 OK\r\n"...))
	switch {
	case other != nil:
		out = c.record(c.out[:0], raw, other)
	case out != nil:
		out = c.end(out)
	}
	if out == nil {
		return false
	}
	c.out = out
	return true
}

// readRequest makes the request of the head. Strings that are the same as last time are used again: a pooled connection asks
// the same path of the same host all the time.
func (c *conn) readRequest() bool {
	r := c.request
	if string(c.head.target) != c.target || r.URL == nil {
		target := string(c.head.target)
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return false
		}
		c.target, r.URL, r.RequestURI = target, u, target
	}
	if string(c.head.host) != r.Host {
		r.Host = string(c.head.host)
	}
	for i, name := range c.l.route.Reads {
		value := c.head.values[i]
		if value == nil {
			delete(r.Header, name)
			continue
		}
		if string(value) != c.values[i][0] {
			c.values[i][0] = string(value)
		}
		r.Header[name] = c.values[i]
	}
	return true
}

// write sends the answer. A peer that does not read it blocks nobody for ever.
func (c *conn) write() bool {
	if c.writeUntil.Sub(c.now) < c.l.o.WriteTimeout-c.l.o.WriteTimeout/early {
		c.writeUntil = c.now.Add(c.l.o.WriteTimeout)
		_ = c.SetWriteDeadline(c.writeUntil)
	}
	_, err := c.Write(c.out)
	return err == nil
}
