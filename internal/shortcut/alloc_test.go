package shortcut_test

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/shortcut"
)

// script is a connection on which the same requests come again and again, n in all. What is not used here it does not have.
type script struct {
	net.Conn
	requests []string
	n        int
	ended    chan struct{}
}

func (s *script) Read(b []byte) (int, error) {
	if s.n == 0 {
		return 0, io.EOF
	}
	s.n--
	return copy(b, s.requests[s.n%len(s.requests)]), nil
}

func (s *script) Write(b []byte) (int, error)      { return len(b), nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
func (s *script) Close() error                     { s.ended <- struct{}{}; return nil }

// Not parallel: everything that is allocated meanwhile counts.
func TestConn_AllocatesOnlyWhatIsNew(t *testing.T) {
	p := newPipes()
	r := asked()
	r.Answer = func(r *http.Request, out []byte) ([]byte, http.Handler) {
		return append(append(append(out, "X-Host: "...), r.Host...), "\r\n"...), nil
	}
	l := shortcut.Listen(p, r, shortcut.Options{HeadTimeout: time.Second, IdleTimeout: time.Second, WriteTimeout: time.Second, MaxHead: 16 << 10})
	defer func() { _ = l.Close(); _ = l.Drain(t.Context()) }()
	const n = 2000
	of := func(requests ...string) float64 {
		s := &script{requests: requests, ended: make(chan struct{})}
		return testing.AllocsPerRun(5, func() {
			s.n = n
			p.conns <- s
			<-s.ended
		}) / n
	}
	same := get("/authz?scope=a", "Authorization: Bearer a.b.c", "Cookie: a=b", "User-Agent: x")
	if got := of(same); got > 0.1 {
		t.Errorf("%g allocations for a request like the one before", got)
	}
	var tokens []string
	for i := range 100 {
		tokens = append(tokens, get("/authz?scope=a", "Authorization: Bearer a.b."+strconv.Itoa(i), "Cookie: a=b", "User-Agent: x"))
	}
	if got := of(tokens...); got > 1.1 {
		t.Errorf("%g allocations for a request with another token", got)
	}
}
