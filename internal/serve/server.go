package serve

import (
	"context"
	"crypto/tls"
	"errors"
	stdlog "log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/metrics"
)

// Limits of the HTTP server. An answer may have to wait for the ledger to grow, which takes most of the time to write.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 120 * time.Second
	maxHeaderBytes    = 16 << 10
	drainTimeout      = 10 * time.Second // how long requests that are under way may take when the server stops
)

// Server is one authority over one data directory, which nobody else can open meanwhile.
type Server struct {
	c         Config
	place     place
	dir       *dir
	authority *authority.Authority
	metrics   *metrics.Set
	cert      *certificate // nil: plain HTTP
	http      *http.Server
	listener  net.Listener
	license   []byte         // as it was written to the directory last
	log       zerolog.Logger // adds the time
}

// Open opens the data directory and everything in it, and makes what is missing in a new one. Who gets a Server has to Run
// or Close it. It returns ErrSettings, bolt.ErrLocked while another process has the directory, or what is wrong with a file.
func Open(ctx context.Context, c Config) (*Server, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	place, err := c.check(ctx)
	if err != nil {
		return nil, unsettled{err}
	}
	log := c.Log.Hook(zerolog.HookFunc(func(e *zerolog.Event, _ zerolog.Level, _ string) { e.Time("time", instant(c.Now)) }))
	var cert *certificate
	if c.TLSCert != "" {
		if cert, err = loadCertificate(c.TLSCert, c.TLSKey, log); err != nil {
			return nil, err
		}
	}
	d, err := openDir(c.DataDir, toServe)
	if err != nil {
		return nil, err
	}
	a, err := authority.Open(ctx, d.store, d.custody, c.options(place))
	if err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	s := &Server{c: c, place: place, dir: d, authority: a, cert: cert, log: log}
	s.metrics = metrics.New(c.Version, s.gauges())
	s.http = s.newHTTP()
	if err := a.EnsureKeys(ctx, s.now()); err != nil { // what can be done without a new key goes on; it is tried again
		log.Warn().Err(err).Msg("cannot publish a token key")
	}
	return s, nil
}

// instant is that of one operation: UTC, whole seconds.
func instant(now func() time.Time) time.Time { return now().UTC().Truncate(time.Second) }

func (s *Server) now() time.Time { return instant(s.c.Now) }

func (s *Server) newHTTP() *http.Server {
	api := httpapi.NewServer(s.authority, httpapi.ServerOptions{
		Now: s.c.Now, Version: s.c.Version, TrustedProxies: s.c.TrustedProxies, Observe: s.observe,
	})
	h := &http.Server{
		Handler:           s.withMetrics(api),
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:       stdlog.New(complaints{s.log}, "", 0),
	}
	if s.cert != nil {
		h.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.cert.get}
	}
	return h
}

// Listen binds the address. From then on URL says where, and callers wait for Run.
func (s *Server) Listen(ctx context.Context) (err error) {
	s.listener, err = s.place.listen(ctx)
	return err
}

// URL is the address at which this host reaches the server, without a trailing slash; "" before Listen.
func (s *Server) URL() string {
	if s.listener == nil {
		return ""
	}
	return urlOf(s.listener, s.c.scheme())
}

// Run answers requests until ctx ends; then it stops accepting, gives what is under way 10 seconds to finish, and closes
// the store. It binds the address unless Listen did.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		if err := s.Listen(ctx); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	s.sayStart(ctx)
	house, leave := context.WithCancel(context.WithoutCancel(ctx))
	var working sync.WaitGroup
	working.Go(func() { s.keepHouse(house) })
	working.Go(func() { s.checkLedger(house) })
	err := s.answer(ctx)
	leave()
	working.Wait()
	err = errors.Join(err, s.Close())
	s.sayStop(err)
	return err
}

// answer serves until ctx ends and all requests are answered, or until serving fails.
func (s *Server) answer(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() {
		if s.cert != nil {
			failed <- s.http.ServeTLS(s.listener, "", "")
			return
		}
		failed <- s.http.Serve(s.listener)
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	s.log.Info().Msg("stopping: finishing what is under way")
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err := s.http.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn().Msg("some requests took too long and were cut off")
		return s.http.Close()
	}
	return err
}

// Reload reads the TLS certificate again. Without TLS there is nothing to reload.
func (s *Server) Reload() error {
	if s.cert == nil {
		return nil
	}
	return s.cert.reload()
}

// Close lets go of the address and the data directory. Run does so itself; closing again does nothing.
func (s *Server) Close() error {
	if s.listener != nil {
		_ = s.listener.Close() // closed already when it was served
	}
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
