package listen_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/listen"
	"github.com/keyturn/keyturn/internal/shortcut"
	"github.com/keyturn/keyturn/internal/testkey"
	"github.com/keyturn/keyturn/internal/testleak"
)

func TestMain(m *testing.M) { testleak.Main(m) }

// world is a server that says by which way a request came.
type world struct {
	*listen.Server
	stop  func() error
	begun chan struct{}
	slow  chan struct{} // closed when /asked/slow may be answered
	short atomic.Int64
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/slow") {
		w.begun <- struct{}{}
		<-w.slow
	}
	rw.Header().Set("Way", "handler")
}

func (w *world) answer(r *http.Request, out []byte) ([]byte, http.Handler) {
	w.short.Add(1)
	if strings.HasSuffix(r.URL.Path, "/slow") {
		return nil, w
	}
	return append(out, "Way: shortcut\r\n"...), nil
}

// run serves until the test ends, or stop is called.
func run(t *testing.T, short bool, c listen.Config) *world {
	t.Helper()
	w := &world{begun: make(chan struct{}, 1), slow: make(chan struct{})}
	c.At = "127.0.0.1:0"
	if short {
		c.Shortcut = &shortcut.Route{Path: "/asked", Answer: w.answer}
	}
	s, err := listen.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Server = s
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, w) }()
	w.stop = func() error { cancel(); return <-ended }
	t.Cleanup(func() { cancel() })
	return w
}

func get(t *testing.T, c *http.Client, url string) (way string) {
	t.Helper()
	a, err := c.Get(url)
	if err != nil {
		t.Error(err)
		return ""
	}
	_, _ = io.Copy(io.Discard, a.Body)
	_ = a.Body.Close()
	if a.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", url, a.Status)
	}
	return a.Header.Get("Way")
}

func newClient(t *testing.T, transport *http.Transport) *http.Client {
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

func TestServer_TheShortcutIsTakenWhereThereIsOne(t *testing.T) {
	certFile, keyFile, roots := testkey.Certificate(t, t.TempDir(), "127.0.0.1")
	for name, row := range map[string]struct {
		short bool
		c     listen.Config
		want  string
	}{
		"Plain":    {true, listen.Config{}, "shortcut"},
		"None":     {false, listen.Config{}, "handler"},
		"OverTLS":  {true, listen.Config{TLSCert: certFile, TLSKey: keyFile}, "handler"},
		"Insecure": {true, listen.Config{InsecureHTTP: true}, "shortcut"},
	} {
		w := run(t, row.short, row.c)
		c := newClient(t, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}})
		for range 3 {
			if way := get(t, c, w.URL()+"/asked"); way != row.want {
				t.Errorf("%s: by the %s", name, way)
			}
		}
		if w.HandedOver() != 0 {
			t.Errorf("%s: %d connections handed over", name, w.HandedOver())
		}
		if way := get(t, c, w.URL()+"/else"); way != "handler" {
			t.Errorf("%s: what else there is, by the %s", name, way)
		}
		if n := w.HandedOver(); row.want == "shortcut" && n != 1 {
			t.Errorf("%s: %d connections handed over", name, n)
		}
		if err := w.stop(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServer_StopsWhenTheShortcutHasAnswered(t *testing.T) {
	w := run(t, true, listen.Config{})
	idle, busy := newClient(t, &http.Transport{}), newClient(t, &http.Transport{})
	get(t, idle, w.URL()+"/asked")
	answered := make(chan string, 1)
	go func() { answered <- get(t, busy, w.URL()+"/asked/slow") }()
	<-w.begun
	stopped := make(chan error, 1)
	go func() { stopped <- w.stop() }()
	<-w.Stopping()
	select {
	case err := <-stopped:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(50 * time.Millisecond): // a server that does not wait would be gone
	}
	close(w.slow)
	if way := <-answered; way != "handler" || w.short.Load() != 2 {
		t.Errorf("by the %s, %d questions", way, w.short.Load())
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestServer_AListenerThatFailsEndsIt(t *testing.T) {
	w := run(t, true, listen.Config{})
	defer close(w.slow)
	c, busy := newClient(t, &http.Transport{}), newClient(t, &http.Transport{})
	get(t, c, w.URL()+"/asked")
	cut := make(chan error, 1)
	go func() {
		a, err := busy.Get(w.URL() + "/asked/slow")
		if err == nil {
			_ = a.Body.Close()
		}
		cut <- err
	}()
	<-w.begun
	w.Close()
	<-w.Stopping()
	if err := w.stop(); err == nil {
		t.Error("it says that all was well")
	}
	if err := <-cut; err == nil {
		t.Error("it was answered")
	}
}
