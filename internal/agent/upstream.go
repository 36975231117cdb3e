package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/token"
)

// upstream is the authority as this peer sees it. It implements replica.Source.
type upstream struct {
	client *httpapi.Client
	who    *identity
	now    func() time.Time

	reachable atomic.Bool // the last request for the ledger was answered
	gone      atomic.Bool // it was not; before the first one nobody knows either
	refused   atomic.Bool // the authority does not take this peer for one

	asking chan struct{} // holds one: who asks for a token, so that the others wait for that one

	mu      sync.Mutex // held for a moment
	bearer  string
	renewAt time.Time
}

func newUpstream(c Config, who *identity) (*upstream, error) {
	client, err := httpapi.NewClient(c.Authority, httpapi.ClientOptions{
		Transport: c.Transport, UserAgent: "keyturn-sidecar", Now: c.Now, Timeout: 45 * time.Second, // longer than any wait
	})
	if err != nil {
		return nil, fmt.Errorf("%w: --authority: %w", ErrSettings, err)
	}
	return &upstream{client: client, who: who, now: c.Now, asking: make(chan struct{}, 1)}, nil
}

// Ledger implements replica.Source. After an outage, and at the start, it does not wait for news: the answer alone is a proof
// of freshness, and this host may be past its bounds.
func (u *upstream) Ledger(ctx context.Context, after authority.Cursor, limit int, wait time.Duration) (authority.LedgerPage, error) {
	var page authority.LedgerPage
	if !u.reachable.Load() {
		wait = 0
	}
	err := u.withToken(ctx, func(bearer string) (err error) {
		page, err = u.client.Ledger(ctx, bearer, after.String(), limit, wait)
		return err
	})
	u.reachable.Store(err == nil)
	u.gone.Store(err != nil)
	return page, err
}

// withToken calls with this peer's own token, and once more with a new one where it was refused: the authority may have lost
// its keys, or the clock may have jumped.
func (u *upstream) withToken(ctx context.Context, call func(bearer string) error) error {
	bearer, err := u.token(ctx)
	if err != nil {
		return err
	}
	err = call(bearer)
	var refused *httpapi.Error
	if !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
		return err
	}
	u.forget(bearer)
	if bearer, err = u.token(ctx); err != nil {
		return err
	}
	return call(bearer)
}

func (u *upstream) forget(bearer string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.bearer == bearer {
		u.bearer = ""
	}
}

// token is the one that there is, or a new one. One caller asks for it; the others wait for that for as long as they can, and where
// it did not come, the next one asks.
func (u *upstream) token(ctx context.Context) (string, error) {
	if bearer := u.good(); bearer != "" {
		return bearer, nil
	}
	select {
	case u.asking <- struct{}{}:
		defer func() { <-u.asking }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if bearer := u.good(); bearer != "" {
		return bearer, nil
	}
	return u.ask(ctx)
}

// good is the token that there is; "" where it has to be renewed.
func (u *upstream) good() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.now().Before(u.renewAt) {
		return u.bearer
	}
	return ""
}

// ask gets a token by private_key_jwt (RFC 7523 §2.2).
func (u *upstream) ask(ctx context.Context) (string, error) {
	at := u.now().UTC()
	me := u.who.joined.PeerID.String()
	assertion, err := u.who.peer.SignAssertion(token.Assertion{
		Issuer: me, Subject: me, Audience: u.who.joined.Issuer, ID: rand.Text(),
		IssuedAt: token.NumericDate(at.Unix()), ExpiresAt: token.NumericDate(at.Add(time.Minute).Unix()),
	})
	if err != nil {
		return "", err
	}
	t, _, err := u.client.Token(ctx, httpapi.TokenParams{ClientID: me, Assertion: assertion})
	var no *httpapi.Error
	if err == nil || errors.As(err, &no) { // what did not come says nothing
		u.refused.Store(err != nil && no.Status == http.StatusUnauthorized)
	}
	if err != nil {
		return "", err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.bearer, u.renewAt = t.AccessToken, at.Add(time.Duration(t.ExpiresIn)*time.Second*3/4)
	return t.AccessToken, nil
}
