package agent

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/disk"
	"github.com/keyturn/keyturn/internal/duration"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/listen"
	"github.com/keyturn/keyturn/internal/metrics"
	"github.com/keyturn/keyturn/internal/news"
	"github.com/keyturn/keyturn/internal/replica"
	"github.com/keyturn/keyturn/internal/shortcut"
	"github.com/keyturn/keyturn/internal/token"
	"github.com/keyturn/keyturn/internal/verdict"
)

// Agent is a sidecar over one data directory, which nobody else can open meanwhile.
type Agent struct {
	c      Config
	log    zerolog.Logger // adds the time
	clock  *clock
	who    *identity
	copyMu sync.Mutex // held while the file is swept or replaced
	store  *copyFile

	replica     *replica.Replica
	generations *verdict.Generations
	gate        *access.Gate  // over the replica
	cached      *verdict.Gate // in front of gate
	denied      *denied
	up          *upstream
	used        *reporter

	deniedChanged news.Bell
	working       atomic.Pointer[running] // nil: Run has not begun
	trouble       atomic.Pointer[string]  // why the ledgers cannot be pulled or kept; nil: they can
	asking        atomic.Int64            // requests that wait for what is not known here
	http          *listen.Server
	handler       http.Handler
	shortcut      shortcut.Route  // beside handler
	hurried       context.Context // what takes the shortcut: nobody is asked
	metrics       *metrics.Set
	control       string           // what proves that a caller can read the data directory
	private       *tls.Certificate // what proves to such a caller who is asked; nil: no TLS
	damaged       bool             // the replica was pulled anew, because its file was damaged
}

// running is what goes on beside the requests until the sidecar stops.
type running struct {
	ctx   context.Context
	tasks sync.WaitGroup
}

// Open opens the data directory, joins the cluster if this host has not done so, and makes everything ready to Run. Before it
// joins it binds the address: a join key works once. It returns ErrSettings; ErrJoinKey, ErrRefused, ErrLicense or
// httpapi.ErrUnreachable where it cannot join; bolt.ErrLocked while another process has the directory, or what is wrong with a
// file.
func Open(ctx context.Context, c Config) (*Agent, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	a := &Agent{c: c, generations: verdict.NewGenerations(), control: rand.Text(), hurried: hurried()}
	a.used = newReporter(a)
	a.clock = newClock(c.Now, a.provenAt)
	a.log = c.Log.Hook(zerolog.HookFunc(func(e *zerolog.Event, _ zerolog.Level, _ string) { e.Time("time", a.now()) }))
	if c.OfflineWrite > c.OfflineRead {
		a.log.Info().Str("offline_read", duration.Format(c.OfflineRead)).Str("offline_write", duration.Format(c.OfflineWrite)).
			Msg("--offline-write is longer than --offline-read: what holds for reading holds for all scopes")
	}
	var err error
	if c.TLSCert != "" {
		if a.private, err = newPrivate(); err != nil {
			return nil, err
		}
	}
	a.http, err = listen.New(ctx, listen.Config{
		At: c.Listen, TLSCert: c.TLSCert, TLSKey: c.TLSKey, Private: a.private, InsecureHTTP: c.InsecureHTTP,
		SocketMode: c.SocketMode, SocketGroup: c.SocketGroup, Shortcut: &a.shortcut, Log: a.log,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSettings, err)
	}
	if err := a.http.Prepare(); err != nil {
		return nil, err
	}
	if err := disk.Dir(c.DataDir, true); err != nil {
		return nil, err
	}
	if err := a.openStore(); err != nil {
		return nil, err
	}
	if err := a.open(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// now is the instant of one operation: UTC, whole seconds.
func (a *Agent) now() time.Time { return a.clock.now().UTC().Truncate(time.Second) }

// provenAt is the instant of the newest proof of freshness; zero: there is none yet.
func (a *Agent) provenAt() time.Time {
	if a.replica == nil {
		return time.Time{}
	}
	return a.replica.Fresh()
}

// openStore opens the copy of the ledgers. A damaged one gives way to a new one: all that is in it can be pulled again.
func (a *Agent) openStore() (err error) {
	path := filepath.Join(a.c.DataDir, replicaFile)
	a.store, err = openCopy(path)
	if !errors.Is(err, bolt.ErrDamaged) {
		return err
	}
	a.damaged = true
	what, _, _ := strings.Cut(err.Error(), ";") // the rest is what to do about an authority's own file
	a.log.Error().Str("error", what).Msg("the copy of the ledgers is damaged: it is deleted and pulled anew; nothing has to be done but to " +
		"look at the disk")
	if err := os.Remove(path); err != nil {
		return err
	}
	a.store, err = openCopy(path)
	return err
}

// open is Open with the directory locked.
func (a *Agent) open(ctx context.Context) (err error) {
	if a.denied, err = openDenied(filepath.Join(a.c.DataDir, deniedFile)); err != nil {
		return err
	}
	if a.who, err = openIdentity(a.c.DataDir); err != nil {
		return err
	}
	if a.who.joined == nil || a.who.joined.Declined {
		if err := a.enter(ctx); err != nil {
			return err
		}
	}
	if a.up, err = newUpstream(a.c, a.who); err != nil {
		return err
	}
	a.replica, err = replica.Open(ctx, a.store, a.who.joined.Anchor, replica.Options{
		Now: a.c.Now, Changed: a.moved, Report: a.report, Spare: a.spare,
	})
	if err != nil {
		return err
	}
	a.gate = access.NewGate(a.replica, access.Options{
		Signer:      func(context.Context, time.Time) (*token.Signer, id.ID, error) { return a.who.token, a.Self(), nil },
		ClockBehind: a.clockBehind, PeerIssuer: a.c.PeerIssuer, MayGrant: a.mayGrant,
	})
	if a.cached, err = verdict.NewGate(a.gate, a.generations, verdict.Options{ClockBehind: a.clockBehind}); err != nil {
		return err
	}
	a.metrics = metrics.New(a.c.Version, metrics.Gauges{More: a.gauges})
	a.handler, err = a.newHandler()
	return err
}

// moved is told of every change of the replica once readers see it.
func (a *Agent) moved(subjects []id.ID, cluster bool) {
	a.used.moved(subjects)
	if cluster {
		a.generations.MoveAll()
		return
	}
	for _, s := range subjects {
		a.generations.Move(s)
	}
}

// newHandler is the API with the metrics beside it. What is put around the API here does not see what takes the shortcut, which
// is all that /authz is asked: it has to leave that alone.
func (a *Agent) newHandler() (http.Handler, error) {
	forward, err := httpapi.NewForward(a.c.Authority, httpapi.ForwardOptions{Transport: a.c.Transport})
	if err != nil {
		return nil, fmt.Errorf("%w: --authority: %w", ErrSettings, err)
	}
	api := httpapi.NewSidecar(a, httpapi.SidecarOptions{
		ServerOptions: httpapi.ServerOptions{
			Now: a.clock.now, Version: a.c.Version, Observe: a.observe, Stopping: a.http.Stopping(),
		},
		Upstream: forward, Hosts: a.hosts(), Control: a.control, Passed: a.replica.Nudge,
	})
	a.shortcut = api.Shortcut()
	all, answered := httpapi.WithMetrics(markReading(api), a.metrics, a.c.MetricsOpen), a.hosts()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answered != nil && !answered(r.Host) {
			api.ServeHTTP(w, r) // which refuses every path by that name
			return
		}
		all.ServeHTTP(w, r)
	}), nil
}

// hosts says which Host headers are answered: those that name this host, where only this host can call over TCP. nil is all.
func (a *Agent) hosts() func(string) bool {
	if a.http.Unix() || slices.Contains(a.c.Hosts, "*") || !a.http.Private() && len(a.c.Hosts) == 0 {
		return nil
	}
	return func(host string) bool {
		name := host
		if h, _, err := net.SplitHostPort(host); err == nil {
			name = h
		}
		return httpapi.NamesThisHost(host) || slices.ContainsFunc(a.c.Hosts, func(own string) bool { return strings.EqualFold(own, name) })
	}
}

// Listen binds the address, where Open has not. From then on URL says where, and callers wait for Run.
func (a *Agent) Listen(ctx context.Context) error {
	if a.URL() != "" {
		return nil
	}
	return a.http.Listen(ctx)
}

// URL is the address at which this host reaches the sidecar, without a trailing slash; "" before Listen.
func (a *Agent) URL() string { return a.http.URL() }

// Run answers requests and keeps the copy of the ledgers up to date until ctx ends; then it finishes what is under way and
// closes everything. It binds the address unless Open or Listen did.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.Listen(ctx); err != nil {
		return errors.Join(err, a.Close())
	}
	if err := a.sayRunning(); err != nil {
		return errors.Join(err, a.Close())
	}
	a.log.Info().Str("url", a.URL()).Str("peer_id", a.Self().String()).Str("authority", a.c.Authority).
		Str("data_dir", a.c.DataDir).Str("version", a.c.Version).Msg("listening")
	work, leave := context.WithCancel(context.WithoutCancel(ctx))
	a.working.Store(&running{ctx: work})
	working := &a.working.Load().tasks
	working.Go(func() { _ = a.replica.Run(work, a.up) })
	working.Go(func() { a.keepHouse(work) })
	working.Go(func() { a.used.run(work) })
	err := a.http.Serve(ctx, a.handler)
	leave()
	working.Wait()
	a.sayStopped()
	err = errors.Join(err, a.Close())
	if err != nil {
		a.log.Error().Err(err).Msg("stopped")
	} else {
		a.log.Info().Msg("stopped")
	}
	return err
}

// Reload reads the TLS certificate and what is denied again.
func (a *Agent) Reload() error {
	err := errors.Join(a.http.Reload(), a.denied.reload())
	a.deniedChanged.Ring()
	if err != nil {
		a.log.Error().Err(err).Msg("cannot reload everything: what was before stays")
	} else {
		a.log.Info().Bool("tls", a.private != nil).Strs("denied", a.denied.list()).Msg("reloaded: the certificate, and what is denied")
	}
	return err
}

// Close lets go of the address, the caches and the data directory. Run does so itself.
func (a *Agent) Close() error {
	a.http.Close()
	if a.cached != nil {
		a.cached.Close()
	}
	closeIdle(a.c.Transport)
	if a.replica != nil {
		return a.replica.Close()
	}
	if a.store == nil {
		return nil
	}
	return a.store.Close()
}
