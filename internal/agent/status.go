package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/peer"
)

// Region implements httpapi.Node.
func (a *Agent) Region() string { return a.who.joined.Region }

// Self implements httpapi.Node.
func (a *Agent) Self() id.ID { return a.who.joined.PeerID }

// KeySet implements httpapi.Node.
func (a *Agent) KeySet(ctx context.Context, at time.Time) (jwk.Set, error) {
	return a.replica.KeySet(ctx, at)
}

// LedgerAfter implements httpapi.Node: peers help each other when the authority is gone.
func (a *Agent) LedgerAfter(ctx context.Context, caller access.Caller, at time.Time, after authority.Cursor, limit int) (authority.LedgerPage, error) {
	if err := caller.Require(credential.LedgerRead); err != nil {
		return authority.LedgerPage{}, err
	}
	return a.replica.Page(ctx, at, after, limit)
}

// Changed implements httpapi.Node.
func (a *Agent) Changed() <-chan struct{} { return a.replica.Changed() }

// Ready implements httpapi.Node: "replica" where even reading is beyond its bound, "peer" where this host has been removed,
// "clock" where it is behind the newest proof of freshness.
func (a *Agent) Ready(ctx context.Context, at time.Time) map[string]string {
	failed := map[string]string{}
	if err := a.fresh(at, nil); errors.Is(err, access.ErrClock) {
		failed["clock"] = clockIsBehind
	} else if err != nil {
		failed["replica"] = err.Error()
	}
	if _, err := a.replica.Cluster(ctx); err != nil {
		failed["replica"] = "there is no copy of the ledgers yet"
	}
	if a.removed(at) {
		failed["peer"] = "the authority does not take this host for a peer: it has been removed, or its clock is wrong"
	}
	return failed
}

const clockIsBehind = "the clock of this host is behind the newest proof of freshness: set it right, nothing is decided until then"

// Feed implements httpapi.Sidecar. Its cursor says how far which copy of the ledgers has been read, and which denials were told:
// a denial between two requests is news for the second.
func (a *Agent) Feed(ctx context.Context, at time.Time, q httpapi.FeedQuery) (httpapi.Feed, error) {
	complete := false
	if q.Ask {
		complete = a.asked(ctx)
		at = a.now() // it took a moment
	}
	f, err := a.feedAfter(ctx, at, q.After, q.Wait)
	f.Complete = complete
	return f, err
}

// asked has the authority asked for what is not known here, with all others who ask, and reports whether that brought all that
// there is: then what is still not known does not exist.
func (a *Agent) asked(ctx context.Context) bool {
	asking, cancel := context.WithTimeout(ctx, learnTimeout)
	defer cancel()
	return a.replica.Pull(asking) == nil && !a.farFromHome(ctx)
}

// feedAfter is what is new after a cursor; where nothing is, it waits that long for it.
func (a *Agent) feedAfter(ctx context.Context, at time.Time, after string, wait time.Duration) (httpapi.Feed, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		changed, denied := a.replica.Changed(), a.deniedChanged.Wait()
		f, err := a.feed(context.WithoutCancel(ctx), at, after)
		if err != nil || f.Cursor != after || after == "" {
			return f, err
		}
		select {
		case <-changed:
		case <-denied:
		case <-a.http.Stopping():
			return f, nil
		case <-ctx.Done():
			return a.feed(context.WithoutCancel(ctx), a.now(), after)
		}
		at = a.now()
	}
}

func (a *Agent) feed(ctx context.Context, at time.Time, after string) (httpapi.Feed, error) {
	read, _, _ := strings.Cut(after, deniedMark)
	denied := a.denied.list()                    // before the rest: what is denied meanwhile is told again
	dead, next, err := a.replica.Dead(ctx, read) // before the keys: a peer that is among the dead is not among these
	if err != nil {
		return httpapi.Feed{}, err
	}
	cluster, err := a.replica.Cluster(ctx)
	if err != nil {
		return httpapi.Feed{}, err
	}
	sidecars, err := a.replica.Sidecars(ctx, at)
	if err != nil {
		return httpapi.Feed{}, err
	}
	f := httpapi.Feed{
		ClusterID: cluster.ID.String(), Issuer: cluster.Issuer, Keys: cluster.JWKS(), Peers: []httpapi.Grant{}, Dead: []httpapi.Dead{},
		Cursor: next + deniedMark + sumOf(denied), Age: a.ageSeconds(at), Bounds: a.bounds(), Denied: denied,
	}
	for _, k := range cluster.Keys {
		if k.RetiredAt.IsZero() {
			f.Peers = append(f.Peers, httpapi.Grant{KeyID: k.Key.ID(), PeerID: k.PeerID.String()})
		}
	}
	for _, p := range sidecars {
		scopes := p.MaxScopes.Strings()
		f.Keys.Keys = append(f.Keys.Keys, p.TokenKey)
		f.Peers = append(f.Peers, httpapi.Grant{KeyID: p.TokenKey.ID(), PeerID: p.ID.String(), MaxScopes: &scopes})
	}
	for _, d := range dead {
		f.Dead = append(f.Dead, httpapi.Dead{ID: d.ID.String(), Versions: d.Versions})
	}
	return f, nil
}

// deniedMark stands between the two parts of a feed's cursor.
const deniedMark = "~"

func sumOf(list []string) string {
	sum := sha256.Sum256([]byte(strings.Join(list, "\n")))
	return hex.EncodeToString(sum[:6])
}

// ageSeconds is nil where there was no proof of freshness, and by a clock that is behind it: all would be fresh.
func (a *Agent) ageSeconds(at time.Time) *int {
	if a.replica.Fresh().IsZero() || a.clockBehind(at) {
		return nil
	}
	seconds := int(a.replica.Age(at) / time.Second)
	return &seconds
}

func (a *Agent) bounds() httpapi.Bounds {
	return httpapi.Bounds{Read: int(a.c.OfflineRead / time.Second), Write: int(min(a.c.OfflineRead, a.c.OfflineWrite) / time.Second)}
}

// Status implements httpapi.Sidecar.
func (a *Agent) Status(at time.Time) httpapi.SidecarStatus {
	tokens, pairs := a.cached.Stats()
	return httpapi.SidecarStatus{
		PeerID: a.Self().String(), ClusterID: a.who.joined.ClusterID.String(), Authority: a.c.Authority, Version: a.c.Version,
		Cursors: a.replica.Cursors(), Heads: a.replica.Heads(), Age: a.ageSeconds(at), Bounds: a.bounds(), Denied: a.denied.list(),
		Cache: httpapi.CacheStatus{
			TokenHits: tokens.Hits, TokenMisses: tokens.Misses, PairHits: pairs.Hits, PairMisses: pairs.Misses,
		},
		Refused: a.replica.Refused(), Problem: a.problem(at),
	}
}

// problem says what an operator has to look at; "" where there is nothing.
func (a *Agent) problem(at time.Time) string {
	if err := a.replica.Broken(); err != nil {
		return fmt.Sprintf("the authority's ledger does not continue this copy (%v): if it was restored from a backup, run keyturn-sidecar resync", err)
	}
	switch me, err := a.replica.Peer(context.Background(), at, a.Self()); {
	case err == nil && me.Status() != peer.Active:
		return "this host has been removed from the cluster; to let it in again, join with a new key in an empty data directory"
	case a.clockBehind(at):
		return clockIsBehind
	case a.up.refused.Load():
		return "the authority does not take this host for a peer: its clock is wrong, or it has been removed (see keyturn peers list)"
	}
	trouble := ""
	if why := a.trouble.Load(); why != nil {
		trouble = "the ledgers cannot be pulled or kept: " + *why
	}
	if err := a.fresh(at, nil); err != nil {
		return stale(err, trouble)
	}
	if n := a.replica.Refused(); n > 0 && trouble == "" {
		return fmt.Sprintf("%d records of the authority did not fit and were not taken", n)
	}
	return trouble
}

// stale says why a copy is too old, and what to look at.
func stale(err error, trouble string) string {
	if trouble != "" {
		trouble = "; " + trouble
	}
	return fmt.Sprintf("%v%s; see that the authority is up, the one at home too, and that this host reaches it", err, trouble)
}

// removed reports whether this host has lost its place in the cluster, as the ledger says or the authority: not one that may
// have forgotten it.
func (a *Agent) removed(at time.Time) bool {
	me, err := a.replica.Peer(context.Background(), at, a.Self())
	return a.up.refused.Load() && a.replica.Broken() == nil || err == nil && me.Status() != peer.Active
}

// Deny implements httpapi.Sidecar.
func (a *Agent) Deny(name string) error {
	defer a.deniedChanged.Ring()
	err := a.denied.change(name, true)
	if err == nil {
		a.log.Info().Str("id", name).Msg("denied on this host")
	}
	return err
}

// Allow implements httpapi.Sidecar.
func (a *Agent) Allow(name string) error {
	defer a.deniedChanged.Ring()
	err := a.denied.change(name, false)
	if err == nil {
		a.log.Info().Str("id", name).Msg("not denied on this host any more")
	}
	return err
}

// Resync implements httpapi.Sidecar.
//
// A large copy takes longer than a request may: it goes on without the caller, and the log says what came of it.
func (a *Agent) Resync(ctx context.Context) error {
	work := a.working.Load()
	if work == nil {
		return fmt.Errorf("%w: this sidecar is not running", access.ErrUnavailable)
	}
	done := make(chan error, 1)
	work.tasks.Go(func() {
		err := a.replica.Resync(work.ctx)
		if err != nil {
			a.log.Error().Err(err).Msg("resync failed: the copy of before stays in use")
		}
		done <- err
	})
	waiting, cancel := context.WithTimeout(ctx, resyncWait)
	defer cancel()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%w: %w", access.ErrUnavailable, err)
		}
	case <-waiting.Done():
	}
	return nil
}

// resyncWait is how long the answer to a resync waits for its end.
const resyncWait = 20 * time.Second
