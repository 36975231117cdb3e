package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/disk"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// ErrNotRunning says that no sidecar runs over a data directory.
var ErrNotRunning = errors.New("no sidecar is running")

// Remote is the sidecar that runs over a data directory, for who can read that.
type Remote struct {
	server    string
	transport http.RoundTripper
	control   string
}

// Find returns the sidecar that runs over a data directory. It returns ErrNotRunning where none has said so; whether the one
// that has is still there shows when it is called.
func Find(dir string) (*Remote, error) {
	text, err := disk.ReadPrivate(filepath.Join(dir, runningFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w over %s", ErrNotRunning, dir)
	}
	if err != nil {
		return nil, err
	}
	var r Running
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%w over %s: %s is damaged", ErrNotRunning, dir, runningFile)
	}
	server, transport := Dial(r.URL)
	return &Remote{server, transport, r.Control}, nil
}

// Dial returns how to call a sidecar at http(s)://HOST:PORT or unix:PATH: the server's URL, and the transport to use.
func Dial(where string) (server string, transport http.RoundTripper) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil // it is on this host
	path, ok := strings.CutPrefix(where, "unix:")
	if !ok {
		return where, t
	}
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	return "http://localhost", t
}

// Status asks for GET /v1/sidecar/status, and returns the answer unchanged.
func (r *Remote) Status(ctx context.Context) ([]byte, error) {
	return r.call(ctx, httpapi.Request{Path: "/v1/sidecar/status"})
}

// Deny refuses a credential, a version of one, or a peer on that host at once. It returns the status.
func (r *Remote) Deny(ctx context.Context, name string) ([]byte, error) {
	return r.post(ctx, "deny", httpapi.ControlRequest{ID: name})
}

// Allow takes a Deny back.
func (r *Remote) Allow(ctx context.Context, name string) ([]byte, error) {
	return r.post(ctx, "allow", httpapi.ControlRequest{ID: name})
}

// Resync has the sidecar drop its copy of the ledgers and accept the authority's.
func (r *Remote) Resync(ctx context.Context) ([]byte, error) { return r.post(ctx, "resync", nil) }

func (r *Remote) post(ctx context.Context, verb string, body any) ([]byte, error) {
	return r.call(ctx, httpapi.Request{
		Method: http.MethodPost, Path: "/v1/sidecar/" + verb, Body: body, Header: http.Header{httpapi.HeaderControl: {r.control}},
	})
}

// call asks once: a sidecar of this host that does not answer is not there.
func (r *Remote) call(ctx context.Context, q httpapi.Request) ([]byte, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	client, err := httpapi.NewClient(r.server, httpapi.ClientOptions{
		Transport: r.transport, UserAgent: "keyturn-sidecar", Timeout: 30 * time.Second, Retrying: func(error, time.Duration) { stop() },
	})
	if err != nil {
		return nil, err
	}
	a, err := client.Call(ctx, q)
	if errors.Is(err, httpapi.ErrUnreachable) {
		return nil, fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	return a.Body, err
}
