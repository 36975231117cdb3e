package e2e_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/keyturn/keyturn/internal/devcluster"
	"github.com/keyturn/keyturn/internal/e2e"
	"github.com/keyturn/keyturn/internal/serve"
)

// The cluster of `keyturn dev` and `keyturn demo`: a vendor's license, real sockets, the real clock.
func TestRun_DevCluster(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ES256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			c, err := devcluster.Start(t.Context(), devcluster.Options{TokenAlg: alg})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			})
			e2e.Run(t, e2e.Target{URL: c.URL(), ClientID: c.ClientID(), ClientSecret: c.Secret().Reveal()})
		})
	}
}

// served starts an authority as `keyturn serve` does, and returns its URL.
func served(t *testing.T, c serve.Config) string {
	t.Helper()
	c.DataDir, c.Listen = filepath.Join(t.TempDir(), "data"), "127.0.0.1:0"
	s, err := serve.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s.URL()
}

// One process that is its own vendor.
func TestRun_Serve(t *testing.T) {
	t.Parallel()
	e2e.Run(t, e2e.Target{URL: served(t, serve.Config{})})
}

// Behind a proxy that speaks TLS: a bootstrap token, and the address that clients see.
func TestRun_ServeBehindAProxy(t *testing.T) {
	t.Parallel()
	const bootstrap = "founded from behind a proxy"
	behind, err := url.Parse(served(t, serve.Config{
		BootstrapToken: bootstrap, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}))
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(behind)
		r.SetXForwarded()
	}})
	t.Cleanup(proxy.Close)
	client := proxy.Client()
	client.Transport.(*http.Transport).TLSClientConfig.MinVersion = tls.VersionTLS12
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	e2e.Run(t, e2e.Target{URL: proxy.URL, Client: client, BootstrapToken: bootstrap})
	api := &e2e.API{T: t, URL: proxy.URL, Client: client}
	a := api.Want(200, "GET", "/.well-known/openid-configuration")
	if a.Text("issuer") != proxy.URL || a.Text("token_endpoint") != proxy.URL+"/v1/oauth/token" {
		t.Errorf("behind a proxy the cluster says %s", a.Body)
	}
}
