package serve_test

import (
	"context"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/serve"
)

// onSocket is a config that listens on a socket; the path is short, for the system allows no long one.
func onSocket(t *testing.T) (c serve.Config, path string) {
	t.Helper()
	dir := must(os.MkdirTemp("", "kt"))(t)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path = filepath.Join(dir, "s")
	c = config(t)
	c.Listen = "unix:" + path
	return c, path
}

func TestSocket_IsPrivateAndBootstraps(t *testing.T) {
	t.Parallel()
	c, path := onSocket(t)
	h := run(t, c)
	if h.URL() != c.Listen {
		t.Errorf("URL is %s", h.URL())
	}
	info := must(os.Stat(path))(t)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	h.transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	r := newRequest(t, "http://localhost/v1/bootstrap")
	r.Method = http.MethodPost
	a := must(h.transport.RoundTrip(r))(t)
	_ = a.Body.Close()
	if a.StatusCode != http.StatusCreated {
		t.Error(a.Status)
	}
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket is left behind")
	}
}

func TestSocket_TakesThePlaceOfADeadOne(t *testing.T) {
	t.Parallel()
	c, path := onSocket(t)
	dead := must(net.Listen("unix", path))(t)
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, c)
}

func TestSocket_LeavesAloneWhatIsInUse(t *testing.T) {
	t.Parallel()
	for name, occupy := range map[string]func(*testing.T, string){
		"Socket": func(t *testing.T, path string) {
			l := must(net.Listen("unix", path))(t)
			t.Cleanup(func() { _ = l.Close() })
		},
		"File": func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, path := onSocket(t)
			occupy(t, path)
			before := must(os.Lstat(path))(t)
			s := must(serve.Open(t.Context(), c))(t)
			defer s.Close() //nolint:errcheck // nothing was written
			err := s.Listen(t.Context())
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("it listens: %v", err)
			}
			after, err := os.Lstat(path)
			if err != nil || !os.SameFile(before, after) || after.Mode()&fs.ModeType != before.Mode()&fs.ModeType {
				t.Errorf("it is gone: %v", err)
			}
		})
	}
}
