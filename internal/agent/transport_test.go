package agent_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/testkey"
)

// wires connect a client with a server, and can die without a word to either.
type wires struct {
	accepted chan net.Conn
	closed   chan struct{}

	mu   sync.Mutex
	laid []*wire
}

// wire is the client's end.
type wire struct {
	net.Conn
	dead atomic.Bool
}

func (w *wire) Write(b []byte) (int, error) {
	if w.dead.Load() {
		return len(b), nil
	}
	return w.Conn.Write(b)
}

func (w *wire) Read(b []byte) (int, error) {
	for {
		if n, err := w.Conn.Read(b); err != nil || !w.dead.Load() {
			return n, err
		}
	}
}

func (l *wires) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	w := &wire{Conn: here}
	l.mu.Lock()
	l.laid = append(l.laid, w)
	l.mu.Unlock()
	l.accepted <- there
	return w, nil
}

// die cuts all wires that there are, and returns how many. New ones work.
func (l *wires) die() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.laid {
		w.dead.Store(true)
	}
	return len(l.laid)
}

// Accept implements net.Listener.
func (l *wires) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *wires) Close() error {
	close(l.closed)
	return nil
}

// Addr implements net.Listener.
func (l *wires) Addr() net.Addr { return &net.UnixAddr{Name: "wires"} }

// A connection to the authority that is dead, though nobody was told, keeps no sidecar from a new one: over HTTP/2 it is given up
// after two pings' time, over HTTP/1.1 after one request's, however many idle ones died with it.
func TestTransport_GivesADeadConnectionUp(t *testing.T) {
	t.Parallel()
	certFile, keyFile, roots := testkey.Certificate(t, t.TempDir(), "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	const patience = 35 * time.Second // of one request: the longest that the sidecar makes
	for protocol, want := range map[string]struct {
		major, wires int
		after        time.Duration
	}{
		"HTTP1": {1, 3, patience},
		"HTTP2": {2, 1, 10 * time.Second},
	} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := &wires{accepted: make(chan net.Conn), closed: make(chan struct{})}
				server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(time.Second) })}
				server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
				under := &http.Transport{DialContext: l.dial, TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: want.major == 2}
				if want.major == 1 {
					server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
				}
				var serving sync.WaitGroup
				serving.Go(func() { _ = server.ServeTLS(l, "", "") })
				way := agent.NewTransport(under)
				ask := func() error {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://127.0.0.1/v1/ledger", nil)
					if err != nil {
						return err
					}
					a, err := way.RoundTrip(r)
					if err != nil {
						return err
					}
					if a.ProtoMajor != want.major {
						t.Errorf("it is %s", a.Proto)
					}
					_, err = io.Copy(io.Discard, a.Body)
					return err
				}
				var asking sync.WaitGroup
				for range want.wires {
					asking.Go(func() {
						if err := ask(); err != nil {
							t.Error(err)
						}
					})
				}
				asking.Wait()
				if n := l.die(); n != want.wires {
					t.Fatalf("%d connections, want %d", n, want.wires)
				}
				began := time.Now()
				for ask() != nil && time.Since(began) < time.Hour {
				}
				if took := time.Since(began) - time.Second; took > want.after {
					t.Errorf("an answer after %s, want one after %s", took, want.after)
				}
				under.CloseIdleConnections()
				_ = server.Close()
				serving.Wait()
			})
		})
	}
}
