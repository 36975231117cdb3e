package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/token"
)

// How many requests may wait for what is not known here: whoever makes up names must not fill the memory. The last places are for
// credentials that are known here, whose new secret may not be: made-up names do not take those.
const (
	crowd     = 1024
	strangers = 768
)

// atOnce marks a context in which nobody is asked and nothing is waited for.
type atOnce struct{}

func hurried() context.Context { return context.WithValue(context.Background(), atOnce{}, true) }

// mayAsk returns an error for who cannot wait until somebody was asked.
func mayAsk(ctx context.Context) error {
	if ctx.Value(atOnce{}) != nil {
		return httpapi.ErrTakesTime
	}
	return nil
}

// learn tries again what is not known here, as soon as there is more in the copy, until a pull of the authority's ledger that
// begins now has brought all that there is. Unknown is not revoked: where the authority cannot be asked, it is ErrStale. known
// reports whether it is about a credential that is known here.
func (a *Agent) learn(ctx context.Context, known func() bool, try func(context.Context) error) error {
	if err := mayAsk(ctx); err != nil {
		return err
	}
	defer a.asking.Add(-1)
	if n := a.asking.Add(1); n > crowd || n > strangers && !known() {
		return fmt.Errorf("%w: this is not known here, and too many ask about such at the moment", access.ErrStale)
	}
	asking, cancel := context.WithTimeout(ctx, learnTimeout)
	defer cancel()
	pulled := make(chan error, 1)
	go func() { pulled <- a.replica.Pull(asking) }()
	for {
		changed := a.replica.Changed()
		if err := try(ctx); !errors.Is(err, access.ErrUnknown) {
			return err
		}
		select {
		case <-changed:
		case err := <-pulled:
			if err != nil {
				return a.unasked()
			}
			return try(ctx)
		}
	}
}

// knowsClient says whether a client id is of a credential that is known here.
func (a *Agent) knowsClient(ctx context.Context, at time.Time, clientID string) bool {
	name, err := id.ParseClientID(clientID)
	if err != nil {
		return false
	}
	_, err = a.replica.Credential(ctx, at, name.Credential)
	return err == nil
}

// knowsSubject says the same of a token, whose signature has not been checked.
func (a *Agent) knowsSubject(ctx context.Context, at time.Time, text string) bool {
	claims, err := token.Unverified(text)
	return err == nil && a.knowsClient(ctx, at, claims.Subject)
}

// unasked is the ErrStale for what is not known here, and nobody could be asked.
func (a *Agent) unasked() error {
	if err := a.forked(); err != nil {
		return err
	}
	return fmt.Errorf("%w: this is not known here, and the ledgers cannot be pulled at the moment", access.ErrStale)
}

// nothingHere makes an ErrStale of an access.ErrUnavailable that only says that there is no copy yet.
func (a *Agent) nothingHere(ctx context.Context, err error) error {
	if !errors.Is(err, access.ErrUnavailable) {
		return err
	}
	if _, none := a.replica.Cluster(ctx); none != nil {
		return fmt.Errorf("%w: there is none on this host yet", access.ErrStale)
	}
	return err
}

// early says what it means that a token is from the future: refused, an access.ErrEarly, where the issuer's clock is wrong; and
// access.ErrClock where it may be the one of this host, which is behind what is proven then. Where nothing newer is proven, the
// authority has to be asked what time it is.
func (a *Agent) early(ctx context.Context, at time.Time, refused error) error {
	behind := func() bool { // at is when the request came, which may have taken a moment
		return a.clockBehind(at) || a.replica.Fresh().After(at.Add(learnTimeout))
	}
	if behind() {
		return access.ErrClock
	}
	if err := mayAsk(ctx); err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, learnTimeout)
	defer cancel()
	switch err := a.replica.Pull(asking); {
	case err != nil:
		return a.unasked()
	case behind():
		return access.ErrClock
	}
	return refused
}

// unknown says what it means that a client's secret is not known here after a look at the authority's ledger: err, a refusal,
// where that ledger is the home's. It is ErrBeyond where somebody else may know more: in another region, whose copy may lag,
// and for a live version whose hash did not arrive.
func (a *Agent) unknown(ctx context.Context, at time.Time, p access.Proof, err error) error {
	missing, v := a.missing(ctx, at, p)
	switch {
	case v != nil:
		return a.passOn(p, func(d *denied) bool { return d.has(missing.ID, v.Number) })
	case a.farFromHome(ctx):
		return a.passOn(p, nil)
	}
	return err
}

// missing finds the version whose hash did not arrive, if the secret is that version's.
func (a *Agent) missing(ctx context.Context, at time.Time, p access.Proof) (*credential.Credential, *credential.Version) {
	name, err := id.ParseClientID(p.ClientID)
	if err != nil {
		return nil, nil
	}
	secret, err := credential.ParseSecret(p.Secret)
	if err != nil {
		return nil, nil
	}
	c, err := a.replica.Credential(ctx, at, name.Credential)
	if err != nil {
		return nil, nil
	}
	return c, c.Missing(secret, at)
}

// farFromHome reports whether the authority that this peer asks is in a region that is not home: there, what happened a moment
// ago may not have arrived.
func (a *Agent) farFromHome(ctx context.Context) bool {
	c, err := a.replica.Cluster(ctx)
	return err == nil && a.Region() != "" && a.Region() != c.Home
}

// errNotArrived is for what nobody is asked about elsewhere.
func errNotArrived() error {
	return fmt.Errorf("%w: this has not arrived here, for all that is known: ask again, or ask the authority", access.ErrStale)
}
