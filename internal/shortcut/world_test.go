package shortcut_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/shortcut"
	"github.com/keyturn/keyturn/internal/testleak"
	"github.com/keyturn/keyturn/internal/testport"
)

func TestMain(m *testing.M) { testleak.Main(m) }

// echo answers on both ways: 200 without a body to "yes", panics for "panic", and says what it sees to everybody else.
type echo struct {
	mu    sync.Mutex
	short int           // requests that were answered by Answer
	slow  chan struct{} // "wait" waits until it is closed, or the request's context ends
	begun chan struct{} // gets one of each "wait"
}

func newEcho() *echo { return &echo{slow: make(chan struct{}), begun: make(chan struct{}, 100)} }

func seen(r *http.Request) string {
	return fmt.Sprintf("%s %s %s?%s of %s, %s %q %q", r.Method, r.RequestURI, r.URL.Path, r.URL.RawQuery, r.Host, r.Proto,
		r.Header.Values("Authorization"), r.Header.Values("X-Forwarded-For"))
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Seen", seen(r))
	switch r.Header.Get("Authorization") {
	case "yes":
		w.WriteHeader(http.StatusOK)
		return
	case "panic":
		panic("no answer")
	case "abort":
		panic(http.ErrAbortHandler)
	case "wait":
		e.begun <- struct{}{}
		select {
		case <-e.slow:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusUnauthorized)
	w.Header().Set("Too-Late", "1")
	_, _ = fmt.Fprintf(w, "cookies %q", r.Header.Values("Cookie"))
}

func (e *echo) answer(r *http.Request, out []byte) ([]byte, http.Handler) {
	e.mu.Lock()
	e.short++
	e.mu.Unlock()
	switch r.Header.Get("Authorization") {
	case "yes":
		return append(out, "X-Seen: "+seen(r)+"\r\n"...), nil
	case "yes, later":
		e.begun <- struct{}{}
		<-e.slow
		return append(out, "X-Seen: "+seen(r)+"\r\n"...), nil
	case "takes time":
		return nil, nil
	case "panic at once":
		panic("no judgement")
	}
	return append(out, "of no matter"...), e
}

func (e *echo) answered() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.short
}

// server is an http.Server as internal/listen has them, behind a shortcut or not.
type server struct {
	*http.Server
	short   *shortcut.Listener // nil: there is none
	address string
	ended   chan error
}

type lines chan string

func (l lines) Write(b []byte) (int, error) { l <- string(b); return len(b), nil }

// serve serves until the test ends.
func serve(t *testing.T, l net.Listener, e *echo, short bool, to io.Writer) *server {
	t.Helper()
	if to == nil {
		to = io.Discard
	}
	complaints := log.New(to, "", 0)
	head, read := 5*time.Second, 15*time.Second
	if l.Addr().Network() == "tcp" { // in real time, where a machine may stand still for longer; the limits are tested in virtual time
		head, read = patience, patience
	}
	s := &server{address: l.Addr().String(), ended: make(chan error, 1), Server: &http.Server{
		Handler: e, ReadHeaderTimeout: head, ReadTimeout: read, WriteTimeout: 60 * time.Second,
		IdleTimeout: 120 * time.Second, MaxHeaderBytes: 16 << 10, ErrorLog: complaints,
	}}
	if short {
		r := asked()
		r.Answer = e.answer
		s.short = shortcut.Listen(l, r, shortcut.Options{
			HeadTimeout: head, IdleTimeout: 120 * time.Second, WriteTimeout: 60 * time.Second, MaxHead: 16 << 10,
			Log: complaints,
		})
		l = s.short
	}
	go func() { s.ended <- s.Serve(l) }()
	t.Cleanup(func() { s.end(t) })
	return s
}

func (s *server) end(t *testing.T) {
	_ = s.Close()
	if err := <-s.ended; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	s.ended <- http.ErrServerClosed
	if s.short != nil {
		s.short.Cut()
		if err := s.short.Drain(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	}
}

func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", testport.Hold(t)) // when it has ended, nobody else listens there
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// client is one connection.
type client struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func dial(t *testing.T, address string) *client {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &client{c, t, bufio.NewReader(c)}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// reply is an answer without its date.
type reply struct {
	Status, Body string
	Header       http.Header
	Length       int64
	Close        bool
}

// next reads one answer; io.EOF where the connection was closed before one.
func (c *client) next() (reply, error) {
	if _, err := c.in.Peek(1); err != nil {
		return reply{}, io.EOF // a reset ends a connection, too
	}
	a, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return reply{}, err
	}
	body, err := io.ReadAll(a.Body)
	if date, wrong := http.ParseTime(a.Header.Get("Date")); wrong != nil || time.Since(date).Abs() > time.Hour {
		if a.StatusCode != 400 && a.StatusCode < 500 && a.StatusCode != 431 && a.StatusCode != 417 { // net/http's own refusals have none
			c.t.Errorf("an answer of %q", a.Header.Get("Date"))
		}
	}
	a.Header.Del("Date")
	return reply{a.Status, string(body), a.Header, a.ContentLength, a.Close}, err
}

func (c *client) want(seenHas string) reply {
	c.t.Helper()
	a, err := c.next()
	if err != nil {
		c.t.Fatal(err)
	}
	if !strings.Contains(a.Header.Get("X-Seen"), seenHas) {
		c.t.Errorf("%+v, want one to %q", a, seenHas)
	}
	return a
}

// all reads what is answered until the connection is closed.
func (c *client) all() (list []reply) {
	c.t.Helper()
	for {
		a, err := c.next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			c.t.Errorf("after %d answers: %v", len(list), err)
			return list
		}
		list = append(list, a)
	}
}
