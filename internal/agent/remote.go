package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/keyturn/keyturn/internal/disk"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// Errors of a Remote.
var (
	// ErrNotRunning says that no sidecar runs over a data directory: nobody listens where one has said that it does.
	ErrNotRunning = errors.New("no sidecar is running")
	// ErrNoAnswer says that somebody listens where the sidecar of a data directory has said that it does, and that no answer of
	// that sidecar came.
	ErrNoAnswer = errors.New("the sidecar does not answer")
	// ErrFailed says that the sidecar could not do what it was asked for, or not all of it: the text says why.
	ErrFailed = errors.New("the sidecar could not do it")
)

// Remote is the sidecar that runs over a data directory, for who can read that.
type Remote struct {
	where     string // as the sidecar has said it
	server    string // what stands for that in requests
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
	server, transport := dial(r.URL)
	if strings.HasPrefix(r.URL, "https:") {
		transport.TLSClientConfig = pinned(r.Certificate)
	}
	return &Remote{r.URL, nearby(server, transport), transport, r.Control}, nil
}

// nearby calls a sidecar that listens on one address of this host which is not loopback from the loopback address, and by a
// name of this host: it takes nobody else for a process of this host.
func nearby(server string, t *http.Transport) string {
	u, err := url.Parse(server)
	if err != nil {
		return server
	}
	to, err := netip.ParseAddrPort(u.Host)
	if err != nil || to.Addr().IsLoopback() {
		return server
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv6loopback}}
	if to.Addr().Is4() {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	}
	t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return d.DialContext(ctx, network, to.String())
	}
	return u.Scheme + "://localhost"
}

// unanswered says whether somebody is there at all.
func (r *Remote) unanswered(err error) error {
	why := strings.TrimPrefix(err.Error(), httpapi.ErrUnreachable.Error()+": ") // this is no authority
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: nobody listens at %s: %s", ErrNotRunning, r.where, why)
	}
	return fmt.Errorf("%w at %s: %s", ErrNoAnswer, r.where, why)
}

// Dial returns how to call a sidecar at http(s)://HOST:PORT or unix:PATH: the server's URL, and the transport to use.
func Dial(where string) (server string, transport http.RoundTripper) { return dial(where) }

func dial(where string) (server string, transport *http.Transport) {
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
	answer, err := r.call(ctx, httpapi.Request{
		Method: http.MethodPost, Path: "/v1/sidecar/" + verb, Body: body, Header: http.Header{httpapi.HeaderControl: {r.control}},
	})
	var failed *httpapi.Error
	if errors.As(err, &failed) && failed.Status == http.StatusInternalServerError {
		err = fmt.Errorf("%w: %s", ErrFailed, failed.Message)
	}
	return answer, err
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
		return nil, r.unanswered(err)
	}
	return a.Body, err
}
