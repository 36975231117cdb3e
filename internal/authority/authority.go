package authority

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/news"
)

// Options of an Authority. The zero value is an authority that is its own vendor and lets nobody bootstrap.
type Options struct {
	Region         string    // "" is "local"
	Issuer         string    // the issuer URL that bootstrap fixes; "" is the URL at which it was called
	VendorKeys     []jwk.Key // whose licenses are accepted; none: the authority is its own vendor
	Regions        []string  // other regions that share the store; those that have written something are known anyway
	LicenseID      id.ID     // the one license that is accepted; "" is any
	BootstrapToken string    // "" is none; or its BootstrapDigest
	Private        bool      // only this host can call: bootstrap without a token is fine
	TokenAlg       string    // "" is ES256
	PeerIssuer     bool      // put the peer's id into "iss"
	SignAtOnce     bool      // sign with a new token key before verifiers can have seen it
	AcceptClock    bool      // go on although the clock is behind the ledger
	MaxItems       int       // how many items of a store one batch may touch, see dynamo.MaxActions; 0: any number
	Joins          bool      // another region founds the cluster, whose records arrive one by one: Bootstrap is ErrNotHome
	SoleWriter     bool      // nobody else writes to the store: what was read can be remembered; else see Refresh
}

// Authority is the authority of one region over a Store. It may be used from many goroutines.
type Authority struct {
	*access.Gate
	store   Store
	custody Custody
	o       Options

	verifier       *ledger.Verifier
	anchored       atomic.Bool // the verifier trusts the founding key
	cluster        atomic.Pointer[access.Cluster]
	clusterWritten atomic.Uint64         // counts writes to the cluster's own records
	clusterRead    atomic.Uint64         // how many of them cluster has seen
	clusterMu      sync.Mutex            // held while it is read again
	clusterLooked  atomic.Int64          // when Refresh read it last, seconds since 1970
	self           atomic.Pointer[id.ID] // this authority's peer id
	shared         atomic.Pointer[id.ID]
	heard          map[string]uint64 // the other regions' heads that a writer has seen; only the leader has it
	newest         atomic.Int64      // the instant of the newest record, seconds since 1970
	keySet         keySet
	reader         *Reader
	queue          committer
	used           *ownUsage
	damage         atomic.Pointer[string] // what CheckLedger found

	changed news.Bell // rings at each commit
}

// Open returns an authority over a store, which may be empty. It returns an error where the ledger in the store was not
// founded by the custody's anchor, or does not trust the ledger key that the custody has.
func Open(ctx context.Context, store Store, custody Custody, o Options) (*Authority, error) {
	if o.Region == "" {
		o.Region = "local"
	}
	if o.TokenAlg == "" {
		o.TokenAlg = "ES256"
	}
	a := &Authority{
		store: store, custody: custody, o: o,
		verifier: ledger.NewVerifier(), used: newOwnUsage(),
	}
	a.reader = NewReader(store, a.verifier.Open, o.SoleWriter)
	a.Gate = access.NewGate(a, access.Options{
		Signer: a.signer, Claim: a.claimOnce, ClockBehind: a.ClockBehind, PeerIssuer: o.PeerIssuer,
	})
	if err := a.load(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// load reads the cluster's own records and the newest instant.
func (a *Authority) load(ctx context.Context) error {
	if err := a.loadCluster(ctx); err != nil {
		return err
	}
	if a.cluster.Load() == nil || a.o.AcceptClock {
		return nil
	}
	heads, err := a.store.Heads(ctx)
	if err != nil {
		return unavailable("read the heads", err)
	}
	for region, head := range heads {
		entries, err := a.store.Ledger(ctx, region, head.Seq-1, 1)
		if err != nil {
			return unavailable("read the newest record", err)
		}
		for _, e := range entries {
			r, err := a.verifier.Open(e.Data)
			if err != nil && region != a.o.Region {
				continue // what makes its key a trusted one has not arrived yet
			}
			if err != nil {
				return fmt.Errorf("the newest record of %s: %w", region, err)
			}
			a.newest.Store(max(a.newest.Load(), r.At.Unix()))
		}
	}
	return nil
}

// Lists of subjects that a Store keeps.
const (
	listClusters    = "clusters"
	listCredentials = "credentials"
	listShared      = "shared"  // shared credentials: the second after a recovery
	listWriters     = "writers" // credentials that may write credentials
	listPeers       = "peers"
	listJoinKeys    = "join_keys"
)

func (a *Authority) loadCluster(ctx context.Context) error {
	names, err := a.store.Page(ctx, listClusters, "", 1)
	if err != nil {
		return unavailable("look for the cluster", err)
	}
	if len(names) == 0 {
		return nil
	}
	entries, err := a.store.Subject(ctx, names[0])
	if a.o.Joins && errors.Is(err, ErrNotFound) {
		return nil // its directory item arrived before its records
	}
	if err != nil {
		return unavailable("read the cluster", err)
	}
	data := make([][]byte, len(entries))
	for i, e := range entries {
		data[i] = e.Data
	}
	if founders, _ := ledger.Founders(data); a.o.Joins && len(founders) == 0 {
		return nil // the record that founds it has not arrived yet: nobody is trusted before
	}
	if err := a.anchor(ctx, data); err != nil {
		return err
	}
	records, _ := a.verifier.Trust(data)
	c := ledger.JoinCluster(records)
	if c == nil {
		return errors.New("this ledger was not founded by the key in ledger.key: restore the ledger.key that belongs to it")
	}
	if own := a.custody.LedgerKey(); !own.IsZero() && !a.verifier.Trusts(own.ID()) {
		return fmt.Errorf("the ledger of %s does not trust this ledger key yet: vouch for %s first", c.ID, own.ID())
	}
	a.setCluster(c)
	return nil
}

func (a *Authority) setCluster(c *ledger.Cluster) {
	self := c.Authority(a.o.Region)
	if self == "" { // it signs with the keys of those who have published some
		self = c.Authority(c.Home)
	}
	if self == "" && len(c.Keys) > 0 {
		self = c.Keys[0].PeerID
	}
	a.self.Store(&self)
	a.cluster.Store(access.NewCluster(c))
}

// Self is the peer id of this region's authority, or of the one whose keys it signs with while it has published none; ""
// before bootstrap.
func (a *Authority) Self() id.ID {
	if self := a.self.Load(); self != nil {
		return *self
	}
	return ""
}

// Region is the name of this region.
func (a *Authority) Region() string { return a.o.Region }

// Changed returns a channel that is closed at the next commit.
func (a *Authority) Changed() <-chan struct{} { return a.changed.Wait() }

// ClockBehind reports whether instant at is more than the leeway before the newest record: then nothing is written and no
// deadline is judged, until the clock is right or an operator accepts it.
func (a *Authority) ClockBehind(at time.Time) bool {
	newest := a.newest.Load()
	return newest != 0 && at.Unix() < newest-int64(access.Leeway/time.Second)
}

// Ready says what is not usable, by name: "store", "keys", "clock", "ledger". It is empty when all is well.
func (a *Authority) Ready(ctx context.Context, at time.Time) map[string]string {
	failed := map[string]string{}
	if _, err := a.store.Heads(ctx); err != nil {
		failed["store"] = "the store cannot be read"
	}
	if a.ClockBehind(at) {
		failed["clock"] = "the clock is behind the newest record: set it right, or start with --accept-clock"
	}
	if damage := a.damage.Load(); damage != nil {
		failed["ledger"] = *damage
	}
	if a.cluster.Load() != nil && a.CanIssue(ctx, at) != nil {
		failed["keys"] = "there is no key to sign tokens with"
	}
	return failed
}

// Close closes the store once what is under way has been committed. Later writes get access.ErrUnavailable.
func (a *Authority) Close() error {
	a.queue.close()
	return a.store.Close()
}
