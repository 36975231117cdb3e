package serve

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/listen"
	"github.com/keyturn/keyturn/internal/metrics"
)

// Server is one authority over one data directory, which nobody else can open meanwhile.
type Server struct {
	c         Config
	dir       *dir
	authority *authority.Authority
	metrics   *metrics.Set
	http      *listen.Server
	license   []byte         // as it was written to the directory last
	log       zerolog.Logger // adds the time
}

// Open opens the data directory and everything in it, and makes what is missing in a new one. Who gets a Server has to Run
// or Close it. It returns ErrSettings, bolt.ErrLocked while another process has the directory, or what is wrong with a file.
func Open(ctx context.Context, c Config) (*Server, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	log := c.Log.Hook(zerolog.HookFunc(func(e *zerolog.Event, _ zerolog.Level, _ string) { e.Time("time", instant(c.Now)) }))
	at, err := c.check(ctx, log)
	if err != nil {
		return nil, unsettled{err}
	}
	if err := at.Prepare(); err != nil {
		return nil, err
	}
	d, err := openDir(c.DataDir, toServe)
	if err != nil {
		return nil, err
	}
	a, err := authority.Open(ctx, d.store, d.custody, c.options(at))
	if err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	s := &Server{c: c, dir: d, authority: a, http: at, log: log}
	s.metrics = metrics.New(c.Version, s.gauges())
	if err := a.EnsureKeys(ctx, s.now()); err != nil { // what can be done without a new key goes on; it is tried again
		log.Warn().Err(err).Msg("cannot publish a token key")
	}
	return s, nil
}

// instant is that of one operation: UTC, whole seconds.
func instant(now func() time.Time) time.Time { return now().UTC().Truncate(time.Second) }

func (s *Server) now() time.Time { return instant(s.c.Now) }

func (s *Server) handler() http.Handler {
	api := httpapi.NewServer(s.authority, httpapi.ServerOptions{
		Now: s.c.Now, Version: s.c.Version, TrustedProxies: s.c.TrustedProxies, Observe: s.observe,
		Stopping: s.http.Stopping(),
	})
	return httpapi.WithMetrics(api, s.metrics, s.c.MetricsOpen)
}

// Listen binds the address. From then on URL says where, and callers wait for Run.
func (s *Server) Listen(ctx context.Context) error { return s.http.Listen(ctx) }

// URL is the address at which this host reaches the server, without a trailing slash; "" before Listen.
func (s *Server) URL() string { return s.http.URL() }

// Run answers requests until ctx ends; then it stops accepting, gives what is under way 10 seconds to finish, and closes
// the store. It binds the address unless Listen did.
func (s *Server) Run(ctx context.Context) error {
	if s.URL() == "" {
		if err := s.Listen(ctx); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	s.sayStart(ctx)
	house, leave := context.WithCancel(context.WithoutCancel(ctx))
	var working sync.WaitGroup
	working.Go(func() { s.keepHouse(house) })
	working.Go(func() { s.checkLedger(house) })
	err := s.http.Serve(ctx, s.handler())
	leave()
	working.Wait()
	err = errors.Join(err, s.Close())
	s.sayStop(err)
	return err
}

// Reload reads the TLS certificate again. Without TLS there is nothing to reload.
func (s *Server) Reload() error { return s.http.Reload() }

// Close lets go of the address and the data directory. Run does so itself; closing again does nothing.
func (s *Server) Close() error {
	s.http.Close()
	return s.authority.Close()
}

// gauges are read when somebody looks at the metrics.
func (s *Server) gauges() metrics.Gauges {
	return metrics.Gauges{
		LedgerHead: func() (string, uint64, bool) {
			heads, err := s.dir.store.Heads(context.Background())
			return s.authority.Region(), heads[s.authority.Region()].Seq, err == nil
		},
		StoreBytes: func() (int64, bool) {
			info, err := os.Stat(filepath.Join(s.dir.path, storeFile))
			if err != nil {
				return 0, false
			}
			return info.Size(), true
		},
	}
}
