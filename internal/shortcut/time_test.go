package shortcut_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/shortcut"
)

// pipes is a listener whose connections are in memory, so that their deadlines follow the time of a bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (p *pipes) dial(t *testing.T) *client {
	a, b := net.Pipe()
	p.conns <- b
	t.Cleanup(func() { _ = a.Close() })
	return &client{a, t, bufio.NewReader(a)}
}

// bubble runs a test where time passes only when everybody waits.
func bubble(t *testing.T, test func(t *testing.T, e *echo, s *server, p *pipes)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		e := newEcho()
		test(t, e, serve(t, p, e, true, nil), p)
	})
}

// within fails where something took another time than it may.
func within(t *testing.T, what string, began time.Time, least, most time.Duration) {
	t.Helper()
	if took := time.Since(began); took < least || took > most {
		t.Errorf("%s: after %s, want %s to %s", what, took, least, most)
	}
}

func TestConn_WaitsNoLongerForTheFirstRequestThanNetHTTP(t *testing.T) {
	bubble(t, func(t *testing.T, e *echo, _ *server, p *pipes) {
		c, began := p.dial(t), time.Now()
		if list := c.all(); list != nil || e.answered() != 0 {
			t.Error(list)
		}
		within(t, "nothing came", began, 5*time.Second, 5*time.Second)
	})
}

func TestConn_WaitsLongerBetweenRequests(t *testing.T) {
	bubble(t, func(t *testing.T, _ *echo, s *server, p *pipes) {
		c := p.dial(t)
		for range 50 { // far longer in all than one deadline
			c.send(get("/authz", "Authorization: yes"))
			c.want("/authz")
			time.Sleep(100 * time.Second)
		}
		c.send(get("/authz", "Authorization: no"))
		c.want("/authz")
		began := time.Now()
		if list := c.all(); list != nil || s.short.HandedOver() != 0 {
			t.Error(list)
		}
		within(t, "nothing more came", began, 110*time.Second, 120*time.Second)
	})
}

// busy connections do not set a deadline for each request, and their last wait is no shorter for it than the rule says.
func TestConn_ABusyOneHasItsTimeToo(t *testing.T) {
	bubble(t, func(t *testing.T, _ *echo, _ *server, p *pipes) {
		c := p.dial(t)
		for range 400 {
			c.send(get("/authz", "Authorization: yes"))
			c.want("/authz")
			time.Sleep(time.Second)
		}
		began := time.Now()
		c.all()
		within(t, "nothing more came", began, 110*time.Second, 120*time.Second)
	})
}

// A head that comes slowly is net/http's, which gives it five seconds.
func TestConn_ASlowHeadHasNoMoreTime(t *testing.T) {
	bubble(t, func(t *testing.T, _ *echo, s *server, p *pipes) {
		for _, first := range []string{"", get("/authz", "Authorization: yes")} {
			c := p.dial(t)
			if first != "" {
				c.send(first)
				c.want("/authz")
			}
			began := time.Now()
			go func() {
				for _, b := range get("/authz", "Authorization: yes") {
					if _, err := c.Write([]byte(string(b))); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			if list := c.all(); len(list) > 1 || len(list) == 1 && !strings.HasPrefix(list[0].Status, "400") { // of half a line
				t.Error(list)
			}
			within(t, "a slow head", began, 5*time.Second, 6*time.Second)
			time.Sleep(time.Minute)
		}
		if n := s.short.HandedOver(); n != 2 {
			t.Errorf("%d were handed over", n)
		}
	})
}

// A peer that does not read its answer blocks nobody for ever.
func TestConn_AnAnswerThatNobodyReadsIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T, e *echo, _ *server, p *pipes) {
		for _, token := range []string{"yes", "no"} {
			c, began := p.dial(t), time.Now()
			c.send(get("/authz", "Authorization: "+token))
			before := e.answered()
			_ = c.SetWriteDeadline(time.Now().Add(time.Hour))
			if _, err := c.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
				t.Error(err, errors.Is(err, os.ErrDeadlineExceeded))
			}
			within(t, "nobody read", began, 55*time.Second, 60*time.Second)
			if e.answered() > before+1 {
				t.Error("it went on")
			}
		}
	})
}

// The time that a handler waits is not the answer's, and its date is that of the end.
func TestConn_AnAnswerHasItsTimeAfterAWait(t *testing.T) {
	bubble(t, func(t *testing.T, e *echo, _ *server, p *pipes) {
		c := p.dial(t)
		c.send(get("/authz", "Authorization: wait"))
		<-e.begun
		time.Sleep(90 * time.Second)
		close(e.slow)
		a, err := http.ReadResponse(c.in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := time.Now().UTC().Format(http.TimeFormat); a.Header.Get("Date") != want {
			t.Errorf("dated %s, want %s", a.Header.Get("Date"), want)
		}
		_, _ = io.ReadAll(a.Body)
		for range 3 {
			time.Sleep(700 * time.Millisecond)
			c.send(get("/authz", "Authorization: yes"))
			a, err = http.ReadResponse(c.in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if want := time.Now().UTC().Format(http.TimeFormat); a.Header.Get("Date") != want || !strings.HasPrefix(a.Status, "200") {
				t.Errorf("%s, dated %s, want %s", a.Status, a.Header.Get("Date"), want)
			}
		}
	})
}

// What is handed over has no deadline any more, and all that was not answered.
func TestConn_IsHandedOverAsItCame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, e, r := newPipes(), newEcho(), asked()
		r.Answer = e.answer
		l := shortcut.Listen(p, r, shortcut.Options{HeadTimeout: time.Second, IdleTimeout: time.Second, WriteTimeout: time.Second, MaxHead: 1 << 10})
		defer func() { _ = l.Close(); _ = l.Drain(t.Context()) }()
		c := p.dial(t)
		c.send(get("/authz", "Authorization: yes"))
		c.want("/authz")
		c.send("odd")
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		time.Sleep(time.Hour)
		go func() { _, _ = c.Write([]byte(" indeed")); _, _ = c.in.Discard(1) }()
		b := make([]byte, 100)
		for _, want := range []string{"odd", " indeed"} {
			if n, err := nc.Read(b); err != nil || string(b[:n]) != want {
				t.Errorf("%q, %v, want %q", b[:n], err, want)
			}
		}
		if _, err := nc.Write([]byte("x")); err != nil {
			t.Error(err)
		}
	})
}
