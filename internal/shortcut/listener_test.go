package shortcut_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/shortcut"
)

// patience is how long a test waits for what has to happen.
const patience = time.Minute

// The same bytes, over a shortcut and to net/http alone, are answered the same.
func TestListener_AnswersAsNetHTTPDoes(t *testing.T) {
	t.Parallel()
	e := newEcho()
	close(e.slow)
	short, alone := serve(t, loopback(t), e, true, nil), serve(t, loopback(t), e, false, nil)
	const last = "GET /last HTTP/1.1\r\nHost: sidecar:8081\r\nConnection: close\r\n\r\n"
	yes, no := get("/authz?a", "Authorization: yes"), get("/authz/b", "Authorization: no", "Cookie: c")
	cases := map[string][]string{
		"NothingAtAll":  {""},
		"Pipelined":     {yes + no + yes + get("/authz/c", "X-Forwarded-For: 192.0.2.1") + yes + last},
		"PipelinedOdd":  {yes + no + get("/authz", "TE: trailers", "Authorization: no") + yes + no + last},
		"PipelinedPost": {yes + "POST /authz HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + yes + last},
		"HalfAHead":     {yes + no[:20]},
		"HalfLater":     {yes + no[:20], no[20:] + yes, last},
		"Reused":        {yes, no, yes, get("/authz"), get("/authz", "Authorization: yes", "X-Forwarded-For: a"), yes, last},
		"Waited":        {get("/authz", "Authorization: wait") + yes + last},
		"TakesTime":     {yes + get("/authz", "Authorization: takes time") + yes + no + last},
		"Panics":        {yes + get("/authz", "Authorization: panic") + yes},
		"Aborts":        {yes + get("/authz", "Authorization: abort") + yes},
		"ByteByByte":    strings.Split(yes+no+last, ""),
		"Large":         {get("/authz", "X: "+strings.Repeat("x", 15<<10)) + yes + last},
		"LargeOdd":      {yes + get("/authz", "TE: trailers", "X: "+strings.Repeat("x", 9<<10), "Authorization: yes") + no + last},
		"ManyAtOnce":    {strings.Repeat(yes+no, 400) + last},
	}
	for name, text := range plain() {
		cases[name] = []string{text + yes + last}
	}
	for name, text := range odd() {
		if name == "Head" {
			continue // its answer has no body, and a reader has to know that
		}
		cases["Odd"+name], cases["OddFirst"+name] = []string{yes + text + yes + last}, []string{text + yes + last}
	}
	for name, parts := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, got := talk(t, alone.address, parts), talk(t, short.address, parts)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-net/http +shortcut)\n%s", diff)
			}
		})
	}
}

// talk sends the parts, each after a moment, then nothing more, and returns all answers.
func talk(t *testing.T, address string, parts []string) []reply {
	t.Helper()
	c := dial(t, address)
	go func() {
		for _, p := range parts {
			if _, err := io.WriteString(c, p); err != nil {
				return // it was refused before it was whole
			}
			time.Sleep(time.Millisecond) // so that they arrive apart, mostly; the answers are the same if not
		}
		_ = c.Conn.(*net.TCPConn).CloseWrite()
	}()
	return c.all()
}

func TestListener_PlainRequestsStay(t *testing.T) {
	t.Parallel()
	e := newEcho()
	path := filepath.Join(t.TempDir(), "s")
	unix, err := net.Listen("unix", path)
	if err != nil {
		t.Skip("the path is too long for a socket:", err)
	}
	for where, l := range map[string]net.Listener{"tcp": loopback(t), "unix": unix} {
		s := serve(t, l, e, true, nil)
		nc, err := net.Dial(l.Addr().Network(), s.address)
		if err != nil {
			t.Fatal(err)
		}
		before := e.answered()
		c := &client{nc, t, bufio.NewReader(nc)}
		for _, token := range []string{"yes", "no", "", "yes"} {
			text := get("/authz")
			if token != "" {
				text = get("/authz", "Authorization: "+token)
			}
			c.send(text)
			c.want("/authz")
		}
		if n := e.answered() - before; n != 4 || s.short.HandedOver() != 0 {
			t.Errorf("%s: %d were answered, and %d connections handed over", where, n, s.short.HandedOver())
		}
		c.send(get("/authz", "TE: trailers", "Authorization: yes"))
		c.want("/authz")
		c.send(get("/authz", "Authorization: yes")) // for good
		c.want("/authz")
		if n := e.answered() - before; n != 4 || s.short.HandedOver() != 1 {
			t.Errorf("%s: %d were answered, and %d connections handed over", where, n, s.short.HandedOver())
		}
		_ = nc.Close()
	}
}

// What one request brought is not there for the next.
func TestListener_NothingIsLeftOfTheRequestBefore(t *testing.T) {
	t.Parallel()
	e := newEcho()
	s := serve(t, loopback(t), e, true, nil)
	c := dial(t, s.address)
	c.send(get("/authz/a?b", "Authorization: yes", "X-Forwarded-For: 192.0.2.1"))
	if a := c.want(`["yes"] ["192.0.2.1"]`); a.Status != "200 OK" {
		t.Error(a)
	}
	c.send("GET /authz HTTP/1.1\r\nHost: other\r\nCookie: a\r\n\r\n")
	if a := c.want(`GET /authz /authz? of other, HTTP/1.1 [] []`); a.Status != "401 Unauthorized" || a.Body != `cookies ["a"]` {
		t.Error(a)
	}
	c.send(get("/authz/a?b", "Authorization: yes"))
	c.want(`["yes"] []`)
}

func TestListener_APanicIsLoggedAndEndsTheConnection(t *testing.T) {
	t.Parallel()
	for _, token := range []string{"panic", "panic at once"} {
		said := make(lines, 10)
		s := serve(t, loopback(t), newEcho(), true, said)
		c := dial(t, s.address)
		c.send(get("/authz", "Authorization: "+token))
		if list := c.all(); list != nil {
			t.Errorf("%s: %+v", token, list)
		}
		if line := <-said; !strings.HasPrefix(line, "http: panic serving "+c.LocalAddr().String()+": no ") || !strings.Contains(line, "echo") {
			t.Errorf("%s: %s", token, line)
		}
		c = dial(t, s.address) // it goes on
		c.send(get("/authz", "Authorization: abort"))
		if list := c.all(); list != nil || len(said) != 0 {
			t.Errorf("what a handler ends by itself: %+v, and %d lines", list, len(said))
		}
	}
}

// late is a connection on which a deadline is being set while the listener is closed.
type late struct {
	net.Conn
	l     *shortcut.Listener
	reads int
	ended chan struct{}
}

func (c *late) SetReadDeadline(at time.Time) error {
	if at.After(time.Now()) {
		_ = c.l.Close() // which sets one that has passed, and then this one counts
	}
	return nil
}

func (c *late) Read([]byte) (int, error) { c.reads++; return 0, io.EOF }
func (c *late) RemoteAddr() net.Addr     { return nil }
func (c *late) Close() error             { close(c.ended); return nil }

func TestListener_NobodyWaitsWhomCloseCouldNotWake(t *testing.T) {
	t.Parallel()
	p := newPipes()
	l := shortcut.Listen(p, asked(), shortcut.Options{HeadTimeout: time.Hour, IdleTimeout: time.Hour, WriteTimeout: time.Hour, MaxHead: 1 << 10})
	c := &late{l: l, ended: make(chan struct{})}
	p.conns <- c
	<-c.ended
	if c.reads != 0 {
		t.Error("it waits for a request after Close")
	}
	if err := l.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestListener_ClosesWhoWaitsAndFinishesWhoIsAnswered(t *testing.T) {
	t.Parallel()
	e := newEcho()
	s := serve(t, loopback(t), e, true, nil)
	idle, fresh, left := dial(t, s.address), dial(t, s.address), dial(t, s.address)
	busy := map[string]*client{"401 Unauthorized": dial(t, s.address), "200 OK": dial(t, s.address)}
	idle.send(get("/authz", "Authorization: yes"))
	idle.want("/authz")
	left.send(get("/authz", "TE: x", "Authorization: yes"))
	left.want("/authz")
	busy["401 Unauthorized"].send(get("/authz/slow", "Authorization: wait") + get("/authz", "Authorization: yes"))
	busy["200 OK"].send(get("/authz/slow", "Authorization: yes, later") + get("/authz", "Authorization: yes"))
	<-e.begun
	<-e.begun
	drained := make(chan error, 1)
	go func() { drained <- errors.Join(s.Shutdown(t.Context()), s.short.Drain(t.Context())) }()
	for _, c := range []*client{idle, fresh, left} {
		if list := c.all(); list != nil {
			t.Errorf("%+v", list)
		}
	}
	if _, err := net.Dial("tcp", s.address); err == nil {
		t.Error("it still accepts")
	}
	select {
	case err := <-drained:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	close(e.slow)
	for status, c := range busy {
		if list := c.all(); len(list) != 1 || list[0].Status != status || !list[0].Close {
			t.Errorf("%+v", list)
		}
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if nc, err := s.short.Accept(); nc != nil || !errors.Is(err, net.ErrClosed) {
		t.Error(nc, err)
	}
	if err := s.short.Close(); err != nil {
		t.Error(err)
	}
}

func TestListener_CutsOffWhatTakesTooLong(t *testing.T) {
	t.Parallel()
	e := newEcho()
	s := serve(t, loopback(t), e, true, nil)
	c := dial(t, s.address)
	c.send(get("/authz", "Authorization: wait"))
	<-e.begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.short.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.short.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := s.short.Drain(t.Context()); err != nil { // the context of the request has ended
		t.Error(err)
	}
	if list := c.all(); list != nil {
		t.Errorf("%+v", list)
	}
}

// limited fails now and then, as accepting does where there are too many files.
type limited struct {
	net.Listener
	fail chan error
}

func (l limited) Accept() (net.Conn, error) {
	select {
	case err := <-l.fail:
		return nil, err
	default:
		return l.Listener.Accept()
	}
}

type tooMany struct{ error }

func (tooMany) Timeout() bool   { return false }
func (tooMany) Temporary() bool { return true }

func TestListener_GoesOnAfterAFailureToAccept(t *testing.T) {
	t.Parallel()
	l := limited{loopback(t), make(chan error, 1)}
	said := make(lines, 10)
	l.fail <- tooMany{errors.New("too many open files")}
	s := serve(t, l, newEcho(), true, said)
	if line := <-said; !strings.Contains(line, "too many open files; retrying") {
		t.Error(line)
	}
	c := dial(t, s.address)
	c.send(get("/authz", "Authorization: yes"))
	c.want("/authz")
}

func TestListener_EndsWithItsListener(t *testing.T) {
	t.Parallel()
	s := serve(t, loopback(t), newEcho(), true, nil)
	_ = s.short.Listener.Close()
	if err := <-s.ended; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	s.ended <- http.ErrServerClosed // for the end of the test
}

// net/http ends what it refuses by closing one direction first, where the connection can do that.
func TestListener_WhatIsHandedOverCanBeClosedForWriting(t *testing.T) {
	t.Parallel()
	l := shortcut.Listen(loopback(t), asked(), shortcut.Options{HeadTimeout: patience, IdleTimeout: patience, WriteTimeout: patience, MaxHead: 1 << 10})
	defer func() { _ = l.Close(); _ = l.Drain(t.Context()) }()
	c := dial(t, l.Addr().String())
	c.send("odd")
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	if err := nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.in.Peek(1); err != io.EOF {
		t.Error(err)
	}
	c.send(" indeed")
	b := make([]byte, len("odd indeed"))
	if _, err := io.ReadFull(nc, b); err != nil || string(b) != "odd indeed" {
		t.Errorf("%q, %v", b, err)
	}
}
