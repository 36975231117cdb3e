package verdict_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/token"
	"github.com/keyturn/keyturn/internal/verdict"
)

const (
	issuer     = "https://a.example"
	billing    = "https://billing.example"
	clusterID  = id.ID("clu_01jd6y0e00f2bvwrw0xk3y4t5z")
	authorityI = id.ID("peer_01jd6y0e00f2bvwrw0xk3y4t50")
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// tester is what tests, benchmarks and rapid have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func newSigner(t tester, seed string) *token.Signer {
	t.Helper()
	d := sha256.Sum256([]byte(seed))
	s, err := token.NewSigner(ed25519.NewKeyFromSeed(d[:]))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// issuing is a key that signs tokens, and its owner.
type issuing struct {
	signer *token.Signer
	owner  id.ID
}

// world is a View whose answers are replaced and never changed, and the two gates over it: the plain one, and the one with
// the caches. Whatever changes moves the generations, after the change.
type world struct {
	t           tester
	generations *verdict.Generations
	plain       *access.Gate
	*verdict.Gate

	mu          sync.RWMutex
	ledger      ledger.Cluster
	cluster     *access.Cluster
	credentials map[id.ID]*credential.Credential
	peers       map[id.ID]*peer.Peer
	fails       error
	behind      bool

	order   []id.ID // of credentials, as created
	secrets map[id.ID][]credential.Secret
	keys    []issuing
	signs   issuing // who issues next
	asked   int     // how often the plain gate was asked through the caches
	claimed map[string]bool
}

// newWorld has one authority and no credential. The test has to Close it.
func newWorld(t tester, limits verdict.Limits) *world {
	t.Helper()
	w := &world{
		t: t, generations: verdict.NewGenerations(), credentials: map[id.ID]*credential.Credential{}, peers: map[id.ID]*peer.Peer{},
		secrets: map[id.ID][]credential.Secret{}, claimed: map[string]bool{},
	}
	w.ledger = ledger.Cluster{ID: clusterID, Issuer: issuer}
	w.publish("authority")
	w.signs = w.keys[0]
	behind := func(time.Time) bool { return w.behind }
	w.plain = access.NewGate(w, access.Options{
		Signer: func(context.Context, time.Time) (*token.Signer, id.ID, error) {
			return w.signs.signer, w.signs.owner, nil
		},
		ClockBehind: behind,
		Claim: func(_ context.Context, key string, _, _ time.Time) (bool, error) {
			taken := w.claimed[key]
			w.claimed[key] = true
			return !taken, nil
		},
	})
	gate, err := verdict.NewGate(counting{w}, w.generations, verdict.Options{Tokens: limits, Pairs: limits, ClockBehind: behind})
	if err != nil {
		t.Fatal(err)
	}
	w.Gate = gate
	return w
}

func open(t testing.TB) *world {
	w := newWorld(t, verdict.Limits{Entries: 1000})
	t.Cleanup(w.Close)
	return w
}

// counting is the plain gate, and counts what comes through.
type counting struct{ w *world }

// Check implements verdict.Decider.
func (c counting) Check(ctx context.Context, at time.Time, text, audience string) (access.Caller, error) {
	c.w.asked++
	return c.w.plain.Check(ctx, at, text, audience)
}

// Authenticate implements verdict.Decider.
func (c counting) Authenticate(ctx context.Context, at time.Time, p access.Proof) (access.Client, error) {
	c.w.asked++
	return c.w.plain.Authenticate(ctx, at, p)
}

// Cluster implements access.View.
func (w *world) Cluster(context.Context) (*access.Cluster, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.cluster, w.fails
}

// Credential implements access.View. A hash is gone when its version's window is over.
func (w *world) Credential(_ context.Context, at time.Time, name id.ID) (*credential.Credential, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	c, ok := w.credentials[name]
	switch {
	case w.fails != nil:
		return nil, w.fails
	case !ok:
		return nil, access.ErrUnknown
	}
	if slices.ContainsFunc(c.Versions, func(v credential.Version) bool { return v.Hash != nil && v.Closed(at) }) {
		c = clone(c)
		for i := range c.Versions {
			if c.Versions[i].Closed(at) {
				c.Versions[i].Hash = nil
			}
		}
	}
	return c, nil
}

// Peer implements access.View.
func (w *world) Peer(_ context.Context, _ time.Time, name id.ID) (*peer.Peer, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.fails != nil {
		return nil, w.fails
	}
	if p, ok := w.peers[name]; ok {
		return p, nil
	}
	return nil, access.ErrUnknown
}

func clone(c *credential.Credential) *credential.Credential {
	next := *c
	next.Versions = slices.Clone(c.Versions)
	return &next
}

// set does one change under the lock.
func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// change replaces a credential, then moves it.
func (w *world) change(name id.ID, how func(c *credential.Credential)) {
	next := clone(w.credentials[name])
	how(next)
	w.set(func() { w.credentials[name] = next })
	w.generations.Move(name)
}

// create makes a credential with one secret.
func (w *world) create(kind credential.Kind, expires time.Time, scopes ...credential.Scope) id.ID {
	name := id.New(id.Client, now)
	c := &credential.Credential{ID: name, Kind: kind, Scopes: credential.NewScopes(scopes...), ExpiresAt: expires}
	w.set(func() { w.credentials[name] = c })
	w.order = append(w.order, name)
	w.rotate(name, time.Time{}, false, false)
	return name
}

// rotate adds a version. Those before it end at notAfter, or are dead in an emergency. The hash may come later: deliver.
func (w *world) rotate(name id.ID, notAfter time.Time, emergency, late bool) {
	s := credential.NewSecret()
	w.secrets[name] = append(w.secrets[name], s)
	w.change(name, func(c *credential.Credential) {
		for i := range c.Versions {
			v := &c.Versions[i]
			if emergency && v.DeadSince.IsZero() {
				v.DeadSince = now
			} else if !notAfter.IsZero() && (v.NotAfter.IsZero() || notAfter.Before(v.NotAfter)) {
				v.NotAfter = notAfter
			}
		}
		h := s.Hash()
		v := credential.Version{Number: c.Number() + 1, Digest: h.Digest()}
		if !late {
			v.Hash = &h
		}
		c.Versions = append(c.Versions, v)
	})
}

// deliver gives every version its hash.
func (w *world) deliver(name id.ID) {
	w.change(name, func(c *credential.Credential) {
		for i := range c.Versions {
			h := w.secrets[name][i].Hash()
			c.Versions[i].Hash = &h
		}
	})
}

// publish adds a token key of the authority.
func (w *world) publish(seed string) {
	key := issuing{newSigner(w.t, seed), authorityI}
	w.keys = append(w.keys, key)
	w.setKeys(append(slices.Clone(w.ledger.Keys), ledger.Key{Key: key.signer.Key(), PeerID: authorityI, Region: "local"}))
}

// retire ends a token key of the authority.
func (w *world) retire(key jwk.Key) {
	keys := slices.Clone(w.ledger.Keys)
	for i := range keys {
		if keys[i].Key.ID() == key.ID() {
			keys[i].RetiredAt = now
		}
	}
	w.setKeys(keys)
}

func (w *world) setKeys(keys []ledger.Key) {
	next := w.ledger
	next.Keys = keys
	w.set(func() { w.ledger, w.cluster = next, access.NewCluster(&next) })
	w.generations.MoveAll()
}

// join adds a sidecar that may grant scopes.
func (w *world) join(seed string, scopes ...credential.Scope) id.ID {
	key := issuing{newSigner(w.t, seed), id.New(id.Peer, now)}
	w.keys = append(w.keys, key)
	w.setPeer(&peer.Peer{ID: key.owner, Role: peer.Sidecar, TokenKey: key.signer.Key(), MaxScopes: credential.NewScopes(scopes...), JoinedAt: now})
	return key.owner
}

func (w *world) setPeer(p *peer.Peer) {
	w.set(func() { w.peers[p.ID] = p })
	w.generations.Move(p.ID)
}

// changePeer replaces a peer, then moves it.
func (w *world) changePeer(name id.ID, how func(p *peer.Peer)) {
	next := *w.peers[name]
	how(&next)
	w.setPeer(&next)
}

func (w *world) proof(clientID string, of id.ID, version int) access.Proof {
	return access.Proof{ClientID: clientID, Secret: w.secrets[of][version-1].Reveal()}
}

// issue returns a token for version n, signed by whoever signs, whether it may or not.
func (w *world) issue(at time.Time, of id.ID, n int, r access.TokenRequest) string {
	w.t.Helper()
	text, err := w.tryIssue(at, of, n, r)
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

func (w *world) tryIssue(at time.Time, of id.ID, n int, r access.TokenRequest) (string, error) {
	c, err := w.plain.Authenticate(context.Background(), at, w.proof(of.String(), of, n))
	if err != nil {
		return "", fmt.Errorf("authenticate: %w", err)
	}
	issued, err := w.plain.Issue(context.Background(), at, c, r)
	return issued.AccessToken, err
}

// check asks the caches and waits until they have learned.
func (w *world) check(at time.Time, text, audience string) (access.Caller, error) {
	c, err := w.Check(context.Background(), at, text, audience)
	w.Wait()
	return c, err
}

func (w *world) authenticate(at time.Time, p access.Proof) (access.Client, error) {
	c, err := w.Authenticate(context.Background(), at, p)
	w.Wait()
	return c, err
}

// misses says how often f had to ask the plain gate.
func (w *world) misses(f func()) int {
	before := w.asked
	f()
	return w.asked - before
}

func (w *world) sidecars() []id.ID { return slices.Sorted(maps.Keys(w.peers)) }
