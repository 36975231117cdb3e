package verify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/rounds"
	"github.com/keyturn/keyturn/internal/verdict"
)

// What the errors of Check and New match.
var (
	// ErrInvalid says that there is no token, or that it is malformed, expired, dead, from the future, of another cluster or,
	// where Want asks for no audience, for another one (401).
	ErrInvalid = access.ErrToken
	// ErrForbidden says that a token is good, and lacks a wanted scope or the wanted audience (403).
	ErrForbidden = access.ErrForbidden
	// ErrStale says that there is no answer at the moment, neither yes nor no (503). The text gives the reason.
	ErrStale = access.ErrStale
)

// Options of a Verifier. The zero value works with a sidecar.
type Options struct {
	// Issuer is the cluster's issuer URL. "": what the source says.
	Issuer string
	// Audience is what a token has to be for, where Want names none. "": the issuer.
	Audience string
	// OfflineRead and OfflineWrite are how old the last proof of freshness may be, for scopes that only read and for all
	// others. 0: as the sidecar was told; with KeysOnly 24 h and 1 h since the keys were read.
	OfflineRead, OfflineWrite time.Duration
	// KeysOnly says that the source is the issuer URL of an authority, or the URL of its key set, whose name ends in .json
	// and which needs Issuer. There are no revocations then.
	KeysOnly bool
	// Transport carries the requests. nil: one of the Verifier's own.
	Transport http.RoundTripper
	// Now is the clock. nil: the machine's. A step of its wall clock is then seen within 10 ms in which the host is awake.
	Now func() time.Time
	// Report is told of each failure to read the source, by one goroutine. nil: nobody is told.
	Report func(error)
}

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	o           Options
	now         func() time.Time
	source      source
	state       atomic.Pointer[state] // nil once closed
	generations *verdict.Generations
	tokens      *verdict.Tokens[*judged]
	wanted      atomic.Pointer[map[string]credential.Scope] // scopes that were wanted, as parsed
	asks        *rounds.Rounds                              // readings for checks of what is not known
	stop        context.CancelFunc
	followed    sync.WaitGroup
}

// crowd is how many checks may wait for a reading: with made-up tokens anybody can make checks wait.
const crowd = 1024

var errClosed = errors.New("the verifier is closed")

// patience is how long New waits for a source that does not answer.
const patience = 10 * time.Second

// New returns a Verifier that has read its source: a sidecar, http://127.0.0.1:8081 or unix:/run/keyturn.sock, or what
// Options.KeysOnly says. It waits for an answer until ctx is done, at most 10 s, and fails with an ErrStale where none comes.
// A source that answers wrongly, or for another issuer, is an error at once. The Verifier lives until Close.
func New(ctx context.Context, source string, o Options) (*Verifier, error) {
	src, err := newSource(source, o)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	return start(ctx, src, o)
}

// start is New, for a source that is there.
func start(ctx context.Context, src source, o Options) (*Verifier, error) {
	if o.Now == nil {
		o.Now = newClock().read
	}
	generations := verdict.NewGenerations()
	tokens, err := verdict.NewTokens[*judged](generations, verdict.Limits{})
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	v := &Verifier{
		o: o, now: o.Now, source: src, generations: generations, tokens: tokens, asks: rounds.New(src.pace().gap, crowd),
	}
	v.wanted.Store(&map[string]credential.Scope{})
	first, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := v.begin(first); err != nil {
		v.end()
		return nil, fmt.Errorf("verify: %w", err)
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	v.stop = stop
	v.followed.Go(func() { v.follow(life) })
	return v, nil
}

// Close ends the Verifier's goroutines. Every Check is ErrStale from then on. It may be called several times.
func (v *Verifier) Close() {
	v.stop()
	v.followed.Wait()
	v.end()
}

func (v *Verifier) end() {
	v.state.Store(nil) // before the cache goes: nobody may find an answer that has outlived what it rests on
	v.asks.End(errClosed)
	v.tokens.Close()
	v.source.close()
}

// staleError is an ErrStale. Its reason is for everybody, its cause for who runs the service.
type staleError struct {
	reason string
	cause  error // nil: none
}

func stale(reason string, cause error) error { return &staleError{reason, cause} }

// Error gives the reason and the cause.
func (e *staleError) Error() string {
	if e.cause == nil {
		return e.public().Error()
	}
	return fmt.Sprintf("%v: %v", e.public(), e.cause)
}

// Unwrap returns ErrStale and the cause.
func (e *staleError) Unwrap() []error {
	if e.cause == nil {
		return []error{ErrStale}
	}
	return []error{ErrStale, e.cause}
}

// public is the error without its cause, which may name files and addresses of this host.
func (e *staleError) public() error { return fmt.Errorf("%w: %s", ErrStale, e.reason) }
