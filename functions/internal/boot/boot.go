// Package boot makes a Lambda function of keyturn from its environment: settings, store, keys and logger, once, for
// functions/ only. What a function may do is decided by its role; what it answers, by the routes that its main names.
//
// Mistakes in the settings are reported together, and end the process. Everything that may pass by itself (a store that
// cannot be reached) is answered with 503 and tried again at the next request.
package boot

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/lambdahttp"
)

// openBudget is how long a function tries to reach its store and keys before it says that it is ready. Lambda gives the
// start of a function 10 s.
const openBudget = 5 * time.Second

// Function says what one function is.
type Function struct {
	Name   string
	Routes []string // patterns of httpapi that it answers; to all others it says that they do not exist
	Signs  bool     // it signs tokens: the key is opened at the start
	Boots  bool     // its API bootstraps: a bootstrap token has to be set
	// Event handles what is no HTTP request; nil: nothing else comes.
	Event func(ctx context.Context, a *App, event json.RawMessage) (any, error)
}

// App is a function that has its settings.
type App struct {
	f       Function
	s       settings
	store   authority.Store
	custody authority.Custody
	log     zerolog.Logger
	now     func() time.Time
	version string
	latency *latencies

	mu        sync.Mutex // held while it is opened
	authority *authority.Authority
	api       http.Handler
}

// Main reads the environment and serves invocations. It does not return.
func (f Function) Main(version string) {
	a, err := New(f, Options{Env: os.Getenv, Out: os.Stdout, Now: time.Now, Version: version})
	if err != nil {
		fmt.Fprintf(os.Stderr, "keyturn %s: %s\n", f.Name, err)
		os.Exit(1)
	}
	a.Warm(context.Background())
	a.Lambda().Start()
}

// Options of an App, for tests; all but Store and Sealer are required.
type Options struct {
	Env     func(name string) string
	Out     io.Writer // log lines and metrics
	Now     func() time.Time
	Version string
	Store   authority.Store // nil: the table that the environment names
	Sealer  keys.Sealer     // nil: the KMS key that the environment names
}

// New returns a function that has read its settings. It makes no call.
func New(f Function, o Options) (*App, error) {
	s, err := readSettings(o.Env, f.Boots)
	if err != nil {
		return nil, fmt.Errorf("settings:\n%w", err)
	}
	s.options.Private = len(f.Routes) == 0 // who may invoke it has proven enough
	if o.Store == nil {
		if o.Store, err = s.openStore(); err != nil {
			return nil, err
		}
	}
	if o.Sealer == nil {
		o.Sealer = s.sealer()
	}
	a := &App{f: f, s: s, custody: keys.NewSealed(o.Sealer), now: o.Now, version: o.Version, latency: &latencies{}}
	a.store = timed{o.Store, a.latency, o.Now}
	a.log = zerolog.New(o.Out).With().Str("function", f.Name).Logger()
	return a, nil
}

// Lambda is the function as the runtime calls it.
func (a *App) Lambda() *lambdahttp.Function {
	l := &lambdahttp.Function{Late: http.HandlerFunc(a.late)}
	if len(a.f.Routes) > 0 {
		l.Handler = a
	}
	if a.f.Event != nil {
		l.Other = func(ctx context.Context, event json.RawMessage) (any, error) { return a.f.Event(ctx, a, event) }
	}
	return l
}

// Warm opens what the first request will need. What fails is logged, and tried again then.
func (a *App) Warm(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, openBudget)
	defer cancel()
	open, err := a.Authority(ctx)
	if err == nil && a.f.Signs && open.Self() != "" {
		err = open.CanIssue(ctx, a.instant())
	}
	if err != nil {
		a.log.Warn().Err(err).Msg("not ready yet")
	}
}

func (a *App) instant() time.Time { return a.now().UTC().Truncate(time.Second) }

// Authority opens the authority, once. An error may pass.
func (a *App) Authority(ctx context.Context) (*authority.Authority, error) {
	_, err := a.open(ctx)
	return a.authority, err
}

// open returns the handler of the API, once there is an authority.
func (a *App) open(ctx context.Context) (http.Handler, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.api != nil {
		return a.api, nil
	}
	opened, err := authority.Open(ctx, a.store, a.custody, a.s.options)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", access.ErrUnavailable, err)
	}
	a.authority, a.api = opened, a.server(opened)
	return a.api, nil
}

func (a *App) server(opened *authority.Authority) http.Handler {
	return httpapi.NewServer(opened, httpapi.ServerOptions{
		Now: a.now, Version: a.version, Observe: a.observe, Forward: a.s.forward,
		Only: func(pattern string) bool { return slices.Contains(a.f.Routes, pattern) },
	})
}

// headerRequestID is what the API takes a request id from.
const headerRequestID = httpapi.HeaderClientRequest

// ServeHTTP answers one request of the API.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil { // nothing is written before a handler has returned
			a.observe(httpapi.Fail(w, r, a.now(), fmt.Errorf("panic: %v", p)))
		}
	}()
	if id, _ := lambdahttp.Invocation(r.Context()); id != "" && r.Header.Get(headerRequestID) == "" {
		r.Header.Set(headerRequestID, id)
	}
	api, err := a.open(r.Context())
	switch {
	case err == nil:
		a.authority.Refresh(r.Context(), a.instant())
		api.ServeHTTP(w, r)
	case r.URL.Path == "/livez" && slices.Contains(a.f.Routes, "/livez"):
		a.server(nil).ServeHTTP(w, r) // the process answers
	default:
		a.observe(httpapi.Fail(w, r, a.now(), err))
	}
}

// late answers for a handler that has run out of time.
func (a *App) late(w http.ResponseWriter, r *http.Request) {
	if id, _ := lambdahttp.Invocation(r.Context()); id != "" && r.Header.Get(headerRequestID) == "" {
		r.Header.Set(headerRequestID, id)
	}
	a.observe(httpapi.Fail(w, r, a.now(), fmt.Errorf("%w: the function's time is up", access.ErrUnavailable)))
}
