package serve_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/serve"
	"github.com/keyturn/keyturn/internal/testport"
)

// eventually polls until ok, and fails after a time that no machine needs.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// logged is a log that many goroutines write to.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// lines are the log's lines with that message; "" are requests.
func (l *logged) lines(t *testing.T, message string) (found []map[string]any) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if text, _ := fields["message"].(string); text == message {
			found = append(found, fields)
		}
	}
	return found
}

// host is a running server.
type host struct {
	*serve.Server
	*httpapi.Client
	config    serve.Config
	transport *http.Transport
	log       *logged
	cancel    context.CancelFunc
	ended     chan error
	once      sync.Once
	err       error
}

// config is a server's on a loopback port that nobody else gets, for it may start again, with a log.
func config(t *testing.T) serve.Config {
	t.Helper()
	return serve.Config{DataDir: filepath.Join(t.TempDir(), "data"), Listen: testport.Hold(t), SignAtOnce: true, Version: "v0"}
}

// letGo waits until nobody has a store open. A program that another test is starting at that instant has inherited what was open
// here, until it is executed.
func letGo(dataDir string) {
	f, err := os.OpenFile(filepath.Join(dataDir, "keyturn.db"), os.O_RDWR, 0)
	if err != nil {
		return // there is none yet
	}
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	_ = f.Close()
}

// run starts a server, and stops it when the test ends.
func run(t *testing.T, c serve.Config) *host {
	t.Helper()
	h := &host{config: c, log: &logged{}, ended: make(chan error, 1), transport: &http.Transport{}}
	h.config.Log = zerolog.New(h.log)
	letGo(c.DataDir)
	s, err := serve.Open(t.Context(), h.config)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the address is let go", func() bool { // as the file is
		err = s.Listen(t.Context())
		return !errors.Is(err, syscall.EADDRINUSE)
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	h.Server, h.cancel = s, cancel
	go func() { h.ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		if err := h.stop(); err != nil {
			t.Error(err)
		}
	})
	if !strings.HasPrefix(s.URL(), "unix:") {
		h.connect(t)
	}
	return h
}

func (h *host) connect(t *testing.T) {
	t.Helper()
	client, err := httpapi.NewClient(h.URL(), httpapi.ClientOptions{Transport: h.transport, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	h.Client = client
}

// stop is what SIGTERM does.
func (h *host) stop() error {
	h.once.Do(func() {
		h.transport.CloseIdleConnections()
		h.cancel()
		h.err = <-h.ended
	})
	return h.err
}

// do calls the API and decodes the answer into a T. A write has a key, so that the client tries again where the machine stood
// still for longer than a commit may take.
func do[T any](t *testing.T, h *host, r httpapi.Request) (answer T) {
	t.Helper()
	if r.Method == http.MethodPost && r.Header == nil {
		r.Header = http.Header{httpapi.HeaderIdempotencyKey: {rand.Text() + rand.Text()}}
	}
	a, err := h.Call(t.Context(), r)
	if err == nil && len(a.Body) > 0 {
		err = a.Decode(&answer)
	}
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.Path, err)
	}
	return answer
}

func bootstrap(t *testing.T, h *host) httpapi.Bootstrapped {
	t.Helper()
	return do[httpapi.Bootstrapped](t, h, httpapi.Request{Method: "POST", Path: "/v1/bootstrap", Body: struct{}{}})
}

func token(t *testing.T, h *host, id, secret string) httpapi.Token {
	t.Helper()
	got, _, err := h.Token(t.Context(), httpapi.TokenParams{ClientID: id, ClientSecret: secret})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// refused is the error answer of a token request, which is sent once: the client's own would try again.
func refused(t *testing.T, h *host, id, secret string) *httpapi.Error {
	t.Helper()
	r := newRequest(t, h.Client.Server()+"/v1/oauth/token")
	r.Method = http.MethodPost
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(id, secret)
	r.Body = io.NopCloser(strings.NewReader("grant_type=client_credentials"))
	a, err := h.transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close() //nolint:errcheck // only read
	said := decode[struct {
		Code        httpapi.Code
		Error       string
		Description string `json:"error_description"`
	}](t, a.Body)
	return &httpapi.Error{Status: a.StatusCode, Code: said.Code, OAuth: said.Error, Message: said.Description}
}

func apiError(t *testing.T, err error) *httpapi.Error {
	t.Helper()
	e, ok := err.(*httpapi.Error)
	if !ok {
		t.Fatalf("got %v, want an error answer", err)
	}
	return e
}

func rotate(t *testing.T, h *host, bearer string, window int64) httpapi.Rotation {
	t.Helper()
	return do[httpapi.Rotation](t, h, httpapi.Request{
		Method: "POST", Path: "/v1/cluster/credentials/rotate", Bearer: bearer,
		Body: httpapi.RotateRequest{WindowSeconds: &window},
	})
}

func newRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func decode[T any](t *testing.T, r io.Reader) (value T) {
	t.Helper()
	if err := json.NewDecoder(r).Decode(&value); err != nil {
		t.Fatal(err)
	}
	return value
}
