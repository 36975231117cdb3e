// Package devcluster runs a whole cluster in one process, over real HTTP on loopback ports: for `keyturn demo`, `keyturn
// dev` and end-to-end tests. It is its own vendor with a key of its own, issues a license, and bootstraps with that license
// as anybody would. A directory that it was given can be started again, and comes up as the same cluster.
//
// It is for trying things out: token keys sign at once, and the shared credential lies in a config file beside the data. It
// logs nothing but what the authority and the sidecars log. Errors name the file or address.
package devcluster

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/backoff"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/license"
	"github.com/keyturn/keyturn/internal/serve"
)

// Options of a Cluster. The zero value is a cluster in a temporary directory on any free loopback port.
type Options struct {
	Dir      string           // kept; "": a temporary one, which Close removes
	Peers    int              // sidecars beside the authority
	Listen   string           // HOST:PORT on loopback; "": where the cluster in Dir listened before, else any free port
	TokenAlg string           // ES256, EdDSA or RS256; "": ES256
	Version  string           // of the build
	Log      zerolog.Logger   // of the authority and the sidecars; the zero value writes nothing
	Now      func() time.Time // nil: time.Now
}

// Cluster is a running cluster. Its methods may be called from many goroutines, but for those that start and stop something.
type Cluster struct {
	o       Options
	dir     string
	vendor  vendor
	license []byte
	config  config
	secret  credential.Secret

	sidecars []*sidecar

	server *serve.Server
	stop   context.CancelFunc
	mu     sync.Mutex
	ended  chan struct{} // closed when the server has ended
	err    error         // why, once it has ended
}

// Start starts the cluster that Dir holds, or makes one there. It returns once the cluster answers. The cluster outlives
// ctx: Close ends it.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Cluster{o: o, dir: o.Dir}
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "keyturn-"); err != nil {
			return nil, err
		}
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) (err error) {
	if c.dir, err = filepath.Abs(c.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	if c.vendor, err = openVendor(c.dir); err != nil {
		return err
	}
	if c.license, err = c.vendor.license(c.dir, c.o.Now()); err != nil {
		return err
	}
	if c.config, err = readConfig(c.ConfigFile()); err != nil {
		return err
	}
	if err := c.up(ctx, c.o.Listen); err != nil {
		return err
	}
	if err := c.join(ctx); err != nil {
		return err
	}
	return c.startSidecars(ctx)
}

// up starts the authority.
func (c *Cluster) up(ctx context.Context, listen string) error {
	if listen == "" {
		listen = c.config.listen()
	}
	s, err := serve.Open(ctx, serve.Config{
		DataDir: c.DataDir(), Listen: listen, VendorKeys: []jwk.Key{c.vendor.key}, TokenAlg: c.o.TokenAlg, SignAtOnce: true,
		Version: c.o.Version, Log: c.o.Log, Now: c.o.Now,
	})
	if err != nil {
		return err
	}
	if err := s.Listen(ctx); err != nil {
		if c.o.Listen == "" && c.config.Server != "" {
			err = fmt.Errorf("%w: this cluster is known by that address: free it, or name another one", err)
		}
		return errors.Join(err, s.Close())
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	c.server, c.stop, c.ended = s, stop, ended
	go func() {
		defer close(ended)
		err := s.Run(running)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.err = err
	}()
	return nil
}

// join bootstraps a new cluster over HTTP, and writes down how to call it.
func (c *Cluster) join(ctx context.Context) error {
	if c.config.ClientID == "" {
		b, err := c.bootstrap(ctx)
		if err != nil {
			return err
		}
		c.config.ClientID, c.config.ClientSecret = b.ClientID, b.ClientSecret
	}
	c.config.Server = c.URL()
	if secret, err := credential.ParseSecret(c.config.ClientSecret); err == nil {
		c.secret = secret
	}
	return c.config.write(c.ConfigFile())
}

// bootstrap founds the cluster with its license. The idempotency key comes from the license, which nobody else has: a crash
// before the secret was written down is healed by the next start.
func (c *Cluster) bootstrap(ctx context.Context) (done httpapi.Bootstrapped, err error) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client, err := httpapi.NewClient(c.URL(), httpapi.ClientOptions{Transport: transport})
	if err != nil {
		return done, err
	}
	sum := sha256.Sum256(c.license)
	a, err := client.Call(ctx, httpapi.Request{
		Method: http.MethodPost, Path: "/v1/bootstrap", Body: c.license,
		Header: http.Header{httpapi.HeaderIdempotencyKey: {base64.RawURLEncoding.EncodeToString(sum[:])}},
	})
	var refused *httpapi.Error
	if errors.As(err, &refused) && refused.Code == httpapi.AlreadyBootstrapped {
		return done, fmt.Errorf("%s does not name the shared credential of this cluster any more: get a new secret with "+
			"`keyturn recover --data-dir %s`", c.ConfigFile(), c.DataDir())
	}
	if err != nil {
		return done, fmt.Errorf("bootstrap: %w", err)
	}
	return done, a.Decode(&done)
}

// Restart stops the authority as an operator would, and starts it again on the same file and address.
func (c *Cluster) Restart(ctx context.Context) error {
	if err := c.Down(); err != nil {
		return err
	}
	return c.Up(ctx)
}

// comeBack is how long Up waits for the file and the address that Down has let go.
const comeBack = 20 * time.Second

// Up starts the authority again after Down, on the same file and address. A program that this process is starting at that
// instant has inherited both, until it is executed.
func (c *Cluster) Up(ctx context.Context) error {
	patience, cancel := context.WithTimeout(ctx, comeBack)
	defer cancel()
	for {
		err := c.up(ctx, c.config.listen())
		taken := errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, bolt.ErrLocked)
		if !taken || !backoff.Wait(patience, 20*time.Millisecond) {
			return err
		}
	}
}

// Sidecar is the sidecar of that number, from 1.
func (c *Cluster) Sidecar(n int) *agent.Agent { return c.sidecars[n-1].agent }

// RestartSidecar stops a sidecar, and starts it again over the same directory, on another address.
func (c *Cluster) RestartSidecar(ctx context.Context, n int) error {
	if err := c.sidecars[n-1].end(); err != nil {
		return err
	}
	s, err := c.startSidecar(ctx, n)
	if err != nil {
		return err
	}
	c.sidecars[n-1] = s
	return nil
}

// Down stops the authority and waits until it has let go of its file; the sidecars go on.
func (c *Cluster) Down() error {
	if c.stop == nil {
		return nil
	}
	c.stop()
	<-c.ended
	return c.Err()
}

// Close stops the cluster, and removes its directory if that was a temporary one. Closing again does nothing.
func (c *Cluster) Close() error {
	err := errors.Join(c.stopSidecars(), c.Down())
	c.stop = nil
	if c.o.Dir == "" {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}
	return err
}

// Ended is closed when the authority has stopped; Err says why. After a Restart there is a new one.
func (c *Cluster) Ended() <-chan struct{} { return c.ended }

// Err is why the authority has stopped: nil where it was told to.
func (c *Cluster) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// URL is the authority's address, without a trailing slash.
func (c *Cluster) URL() string { return c.server.URL() }

// ClientID is the client id of the shared credential, as the config file had it when the cluster started.
func (c *Cluster) ClientID() string { return c.config.ClientID }

// Secret is the secret that belongs to ClientID; zero where the config file has none any more.
func (c *Cluster) Secret() credential.Secret { return c.secret }

// ConfigFile is a config for the CLI that names this cluster.
func (c *Cluster) ConfigFile() string { return filepath.Join(c.dir, "config.json") }

// DataDir is the authority's data directory.
func (c *Cluster) DataDir() string { return filepath.Join(c.dir, "authority") }

// Vendor is the key that signed the cluster's license.
func (c *Cluster) Vendor() jwk.Key { return c.vendor.key }

// License is the license with which the cluster was bootstrapped.
func (c *Cluster) License() (license.License, error) { return license.Parse(c.license) }
