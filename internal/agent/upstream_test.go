package agent_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/token"
)

// late is a slow authority: while it holds a path, no answer from there comes.
type late struct {
	next http.RoundTripper
	path string

	asked atomic.Int64 // how often, of that path
	held  atomic.Pointer[chan struct{}]
}

func (l *late) hold() {
	held := make(chan struct{})
	l.held.Store(&held)
}

func (l *late) letGo() {
	if held := l.held.Swap(nil); held != nil {
		close(*held)
	}
}

// RoundTrip implements http.RoundTripper. What was asked before is held too.
func (l *late) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path != l.path {
		return l.next.RoundTrip(r)
	}
	l.asked.Add(1)
	answer, err := l.next.RoundTrip(r)
	if held := l.held.Load(); held != nil {
		select {
		case <-*held:
		case <-r.Context().Done():
			if err == nil {
				_ = answer.Body.Close()
			}
			return nil, r.Context().Err()
		}
	}
	return answer, err
}

// slow is one more sidecar, which is not running, and its authority.
func (w *world) slow(path string) (agent.Config, *late) {
	w.t.Helper()
	c, l := w.another("127.0.0.1:0"), &late{next: &http.Transport{}, path: path}
	w.t.Cleanup(l.letGo)
	c.Transport = l
	return c, l
}

// signedBy says who has signed a token that a client gets at a sidecar.
func (w *world) signedBy(a *agent.Agent, id, secret string) string {
	w.t.Helper()
	claims, err := token.Unverified(w.token(a.URL(), id, secret, "").AccessToken)
	if err != nil {
		w.t.Fatal(err)
	}
	if claims.PeerID == a.Self().String() {
		return "the sidecar"
	}
	return "the authority"
}

// A key that verifiers may not have seen signs nothing as long as the authority may answer: at the start it has not been asked yet,
// which is not out of reach.
func TestUpstream_NotAskedYetIsNotOutOfReach(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	made := w.create("billing.read")
	c, l := w.slow("/v1/ledger")
	c.SignAtOnce = false
	a, stop := w.runs(c)
	if who := w.signedBy(a, made.ClientID, made.ClientSecret); who != "the authority" {
		t.Fatalf("before the restart %s signs", who)
	}
	w.eventually("the sidecar has it all", func() bool { return a.Status(w.now()).Cursors["local"] == w.head() })
	stop()
	l.hold()
	c.JoinKey = ""
	a, _ = w.runs(c)
	if who := w.signedBy(a, made.ClientID, made.ClientSecret); who != "the authority" {
		t.Errorf("before the first answer %s signs", who)
	}
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	if who := w.signedBy(a, made.ClientID, made.ClientSecret); who != "the sidecar" {
		t.Errorf("where the authority was asked in vain %s signs", who)
	}
}

// One asks for the peer's token, and all others get the same one. Who cannot wait for that goes.
func TestUpstream_OneAsksForAToken(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	c, l := w.slow("/v1/oauth/token")
	a, err := agent.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	l.hold()
	var asking sync.WaitGroup
	tokens := make([]string, 8)
	for i := range tokens {
		asking.Go(func() {
			var err error
			if tokens[i], err = a.PeerToken(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	w.eventually("one asks", func() bool { return l.asked.Load() > 0 })
	gone, leave := context.WithCancel(t.Context())
	leave()
	left := make(chan error, 1)
	go func() {
		_, err := a.PeerToken(gone)
		left <- err
	}()
	select {
	case err := <-left:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("who has gone: %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("who has gone still waits for the other's token")
	}
	l.letGo()
	asking.Wait()
	for _, got := range tokens {
		if got == "" || got != tokens[0] {
			t.Errorf("%q and %q", got, tokens[0])
		}
	}
	if n := l.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// Whoever makes up client ids does not take the places of clients that are known, whose new secret has not arrived.
func TestLearn_StrangersLeavePlacesForTheKnown(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	made := w.create("billing.read")
	c, l := w.slow("/v1/ledger")
	a, _ := w.runs(c)
	w.eventually("the sidecar has it", func() bool { return a.Status(w.now()).Cursors["local"] == w.head() })
	l.hold()
	var rotated struct {
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret"`
	}
	w.call(w.URL(), http.MethodPost, "/v1/credentials/"+made.ID+"/rotate", nil, &rotated)
	const tooMany = "too many"
	ctx, end := context.WithCancel(t.Context())
	crowded := make(chan struct{}, 1)
	var crowd sync.WaitGroup
	defer crowd.Wait()
	defer end()
	for range 1200 { // more than there are places
		crowd.Go(func() {
			for ctx.Err() == nil {
				_, err := a.Authenticate(ctx, w.now(), access.Proof{ClientID: id.New(id.Client, w.now()).String(), Secret: made.ClientSecret})
				if err != nil && strings.Contains(err.Error(), tooMany) {
					select {
					case crowded <- struct{}{}:
					default:
					}
					return
				}
			}
		})
	}
	select {
	case <-crowded:
	case <-time.After(2 * time.Minute):
		t.Fatal("never too many")
	}
	known := access.Proof{ClientID: rotated.ClientID, Secret: rotated.ClientSecret}
	text := w.token(w.URL(), rotated.ClientID, rotated.ClientSecret, "").AccessToken
	var pair sync.WaitGroup // both wait as long as any question may take
	pair.Go(func() {
		if _, err := a.Authenticate(ctx, w.now(), known); !errors.Is(err, access.ErrStale) || strings.Contains(err.Error(), tooMany) {
			t.Errorf("while the authority is silent: %v, want to hear that the ledgers cannot be pulled", err)
		}
	})
	if _, err := a.Check(ctx, w.now(), text, ""); !errors.Is(err, access.ErrStale) || strings.Contains(err.Error(), tooMany) {
		t.Errorf("its token: %v, want to hear that the ledgers cannot be pulled", err)
	}
	pair.Wait()
	end()
	crowd.Wait()
	l.letGo()
	w.eventually("the new secret arrives", func() bool {
		_, err := a.Authenticate(t.Context(), w.now().UTC().Truncate(time.Second), known)
		return err == nil
	})
}
