package verify_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"flag"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/testleak"
	"github.com/keyturn/keyturn/internal/token"
	"github.com/keyturn/keyturn/sidecar/verify"
)

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "10") // of 100: how many there are is said by doses
	testleak.Main(m)
}

const (
	issuer     = "https://a.example"
	billing    = "https://billing.example"
	clusterID  = id.ID("clu_01jd6y0e00f2bvwrw0xk3y4t5z")
	otherI     = id.ID("clu_01jd6y0e00f2bvwrw0xk3y4t60")
	authorityI = id.ID("peer_01jd6y0e00f2bvwrw0xk3y4t50")
	sidecarI   = id.ID("peer_01jd6y0e00f2bvwrw0xk3y4t51")
	lateI      = id.ID("peer_01jd6y0e00f2bvwrw0xk3y4t52")
	sharedI    = id.ID("cli_01jd6y0e00f2bvwrw0xk3y4t5z")
	readerI    = id.ID("cli_01jd6y0e00f2bvwrw0xk3y4t60")
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// tester is what tests, benchmarks and rapid have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func newSigner(t tester, key crypto.Signer) *token.Signer {
	t.Helper()
	s, err := token.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func edKey(seed string) crypto.Signer {
	d := sha256.Sum256([]byte(seed))
	return ed25519.NewKeyFromSeed(d[:])
}

func ecKey(t tester, seed string) crypto.Signer {
	t.Helper()
	d := sha256.Sum256([]byte(seed))
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// world is the state of a cluster as a sidecar has it: a View for the plain gate, and a node that tells the feed of it.
type world struct {
	httpapi.Sidecar // what verifiers do not call
	t               tester

	mu          sync.Mutex
	at          time.Time
	ledger      ledger.Cluster
	credentials map[id.ID]*credential.Credential
	peers       map[id.ID]*peer.Peer
	signers     map[id.ID]*token.Signer // whose owner issues now
	denied      []string
	age         *int
	bounds      httpapi.Bounds
	changes     int           // the cursor
	changed     chan struct{} // closed by the next change
	graves      []grave       // in order
	fails       error
	reads       int  // of the feed
	asked       int  // those of them that had the authority asked
	cutOff      bool // it cannot be asked
	forgets     bool // it knows no cursor
	hasty       bool // it never waits
	still       bool // a change moves no cursor
	silent      bool // a change ends no waiting
}

// grave is what died with a change.
type grave struct {
	change int
	dead   httpapi.Dead
}

// newWorld has an authority, a sidecar that may grant peers.read, the shared credential at version 2, and a reader.
func newWorld(t tester) *world {
	t.Helper()
	fresh := 0
	w := &world{
		t: t, at: now, credentials: map[id.ID]*credential.Credential{}, peers: map[id.ID]*peer.Peer{}, signers: map[id.ID]*token.Signer{},
		age: &fresh, bounds: httpapi.Bounds{Read: 86400, Write: 3600}, changed: make(chan struct{}),
	}
	w.ledger = ledger.Cluster{ID: clusterID, Issuer: issuer}
	w.peers[authorityI] = &peer.Peer{ID: authorityI, Role: peer.Authority}
	w.publish(edKey("authority"))
	w.join(sidecarI, credential.PeersRead)
	w.create(sharedI, 2)
	w.create(readerI, 1)
	return w
}

func (w *world) create(name id.ID, versions int) {
	w.change(func() {
		c := &credential.Credential{ID: name, Kind: credential.Standard, Scopes: credential.NewScopes(credential.Admin)}
		if name == sharedI {
			c.Kind = credential.Shared
		}
		for n := range versions {
			c.Versions = append(c.Versions, credential.Version{Number: n + 1})
		}
		w.credentials[name] = c
	})
}

// change does something that the feed tells.
func (w *world) change(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.still {
		w.changes++
	}
	do()
	if !w.silent {
		close(w.changed)
		w.changed = make(chan struct{})
	}
}

// quiet does changes that no waiting reading hears of.
func (w *world) quiet(do func()) {
	w.set(func() { w.silent = true })
	do()
	w.set(func() { w.silent = false })
}

// publish adds a token key of the authority, which signs from now on.
func (w *world) publish(key crypto.Signer) *token.Signer {
	s := newSigner(w.t, key)
	w.change(func() {
		w.ledger.Keys = append(slices.Clone(w.ledger.Keys), ledger.Key{Key: s.Key(), PeerID: authorityI})
		w.signers[authorityI] = s
	})
	return s
}

func (w *world) retire(keyID string) {
	w.change(func() {
		w.ledger.Keys = slices.Clone(w.ledger.Keys)
		for i := range w.ledger.Keys {
			if w.ledger.Keys[i].Key.ID() == keyID {
				w.ledger.Keys[i].RetiredAt = now
			}
		}
	})
}

func (w *world) join(name id.ID, scopes ...credential.Scope) {
	s := newSigner(w.t, edKey(name.String()))
	w.change(func() {
		w.signers[name] = s
		w.peers[name] = &peer.Peer{ID: name, Role: peer.Sidecar, TokenKey: s.Key(), MaxScopes: credential.NewScopes(scopes...)}
	})
}

func (w *world) setPeer(name id.ID, how func(p *peer.Peer)) {
	w.change(func() {
		next := *w.peers[name]
		how(&next)
		w.peers[name] = &next
		if next.Status() == peer.Removed {
			w.bury(httpapi.Dead{ID: name.String()})
		}
	})
}

func (w *world) remove(name id.ID) { w.setPeer(name, func(p *peer.Peer) { p.LeftAt = now }) }

// revoke kills a credential, or some versions of it.
func (w *world) revoke(name id.ID, versions ...int) {
	w.change(func() {
		next := *w.credentials[name]
		next.Versions = slices.Clone(next.Versions)
		if versions == nil {
			next.RevokedAt = now
		}
		for _, n := range versions {
			next.Versions[n-1].DeadSince = now
		}
		w.credentials[name] = &next
		w.bury(httpapi.Dead{ID: name.String(), Versions: versions})
	})
}

func (w *world) bury(d httpapi.Dead) { w.graves = append(w.graves, grave{w.changes, d}) }

func (w *world) deny(names ...string) { w.change(func() { w.denied = names }) }

// set changes what the feed does not wait for.
func (w *world) set(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *world) pass(d time.Duration) { w.set(func() { w.at = w.at.Add(d) }) }

// Cluster implements access.View.
func (w *world) Cluster(context.Context) (*access.Cluster, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.ledger
	return access.NewCluster(&c), nil
}

// Credential implements access.View.
func (w *world) Credential(_ context.Context, _ time.Time, name id.ID) (*credential.Credential, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c, ok := w.credentials[name]; ok {
		return c, nil
	}
	return nil, access.ErrUnknown
}

// Peer implements access.View.
func (w *world) Peer(_ context.Context, _ time.Time, name id.ID) (*peer.Peer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p, ok := w.peers[name]; ok {
		return p, nil
	}
	return nil, access.ErrUnknown
}

// KeySet is part of httpapi.Node.
func (w *world) KeySet(context.Context, time.Time) (jwk.Set, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.feed(0).Keys, w.fails
}

// Feed implements httpapi.Sidecar.
func (w *world) Feed(ctx context.Context, _ time.Time, q httpapi.FeedQuery) (httpapi.Feed, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads++
	if q.Ask {
		w.asked++
	}
	if w.fails != nil {
		return httpapi.Feed{}, w.fails
	}
	from := 0
	if q.After != "" {
		n, err := strconv.Atoi(q.After)
		if err != nil || n > w.changes || w.forgets {
			return httpapi.Feed{}, access.ErrRequest
		}
		from = n
	}
	if q.After != "" && from == w.changes && q.Wait > 0 && !w.hasty {
		w.await(ctx, q.Wait)
	}
	f := w.feed(from)
	f.Complete = q.Ask && !w.cutOff
	return f, nil
}

// await returns after the next change, or in time.
func (w *world) await(ctx context.Context, wait time.Duration) {
	changed := w.changed
	w.mu.Unlock()
	defer w.mu.Lock()
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-changed:
	case <-ctx.Done():
	case <-t.C:
	}
}

func (w *world) feed(from int) httpapi.Feed {
	f := httpapi.Feed{
		ClusterID: w.ledger.ID.String(), Issuer: w.ledger.Issuer, Cursor: strconv.Itoa(w.changes), Age: w.age, Bounds: w.bounds,
		Denied: w.denied, Dead: []httpapi.Dead{},
	}
	for _, k := range w.ledger.Keys {
		if k.RetiredAt.IsZero() {
			f.Keys.Keys = append(f.Keys.Keys, k.Key)
			f.Peers = append(f.Peers, httpapi.Grant{KeyID: k.Key.ID(), PeerID: k.PeerID.String()})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.peers)) {
		if p := w.peers[name]; p.Role == peer.Sidecar && p.Status() == peer.Active {
			scopes := p.MaxScopes.Strings()
			f.Keys.Keys = append(f.Keys.Keys, p.TokenKey)
			f.Peers = append(f.Peers, httpapi.Grant{KeyID: p.TokenKey.ID(), PeerID: name.String(), MaxScopes: &scopes})
		}
	}
	for _, g := range w.graves {
		if g.change > from {
			f.Dead = append(f.Dead, g.dead)
		}
	}
	return f
}

// claims of a token that is good.
func claims() token.Claims {
	return token.Claims{
		Issuer: issuer, Subject: sharedI.String(), ClientID: sharedI.String() + "-2", Version: 2, Audience: token.Audience{issuer},
		ExpiresAt: now.Add(time.Hour).Unix(), IssuedAt: now.Unix(), ID: "j", Scope: "peers.read", ClusterID: clusterID.String(),
		PeerID: authorityI.String(),
	}
}

// sign makes a token of good claims that something changes.
func (w *world) sign(by id.ID, change func(c *token.Claims)) string {
	w.t.Helper()
	c := claims()
	c.PeerID = by.String()
	if change != nil {
		change(&c)
	}
	if c.Subject != sharedI.String() {
		c.ClientID = c.Subject
	}
	w.mu.Lock()
	s := w.signers[by]
	w.mu.Unlock()
	return sign(w.t, s, c)
}

func sign(t tester, s *token.Signer, c token.Claims) string {
	t.Helper()
	text, err := s.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// handler is the real one of a sidecar.
func (w *world) handler() http.Handler {
	return httpapi.NewSidecar(w, httpapi.SidecarOptions{Hosts: httpapi.NamesThisHost})
}

// direct carries requests to a handler of this process, without a network.
type direct struct{ http.Handler }

// RoundTrip implements http.RoundTripper.
func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	in := httptest.NewRequest(r.Method, r.URL.String(), nil).WithContext(r.Context())
	in.RemoteAddr, in.Header = "127.0.0.1:4711", r.Header
	answer := httptest.NewRecorder()
	d.ServeHTTP(answer, in)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return answer.Result(), nil
}

// verifier follows w, by w's clock, without a network.
func (w *world) verifier(t tester, o verify.Options) *verify.Verifier {
	t.Helper()
	return w.follower(t, verify.New, o)
}

// hurried follows w without pauses between the readings that checks ask for.
func (w *world) hurried(t tester, o verify.Options) *verify.Verifier {
	t.Helper()
	return w.follower(t, verify.NewHasty, o)
}

func (w *world) follower(t tester, open func(context.Context, string, verify.Options) (*verify.Verifier, error), o verify.Options) *verify.Verifier {
	t.Helper()
	o.Transport = direct{w.handler()}
	if o.Now == nil {
		o.Now = w.now
	}
	v, err := open(context.Background(), "http://127.0.0.1:8081", o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// open makes a world and a verifier that follows it without pauses.
func open(t testing.TB) (*world, *verify.Verifier) {
	t.Helper()
	w := newWorld(t)
	v := w.hurried(t, verify.Options{})
	t.Cleanup(v.Close)
	return w, v
}

func sync1(t tester, v *verify.Verifier) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := v.Sync(ctx); err != nil {
		t.Fatal(err)
	}
}

// remember checks a token until the cache knows it.
func remember(t tester, v *verify.Verifier, text string, want verify.Want) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		hits := v.Hits()
		if _, err := v.Check(context.Background(), text, want); err != nil {
			t.Fatal(err)
		}
		if v.Hits() > hits {
			return
		}
	}
	t.Fatal("the cache does not learn")
}

// is fails where err is not want; nil is no error.
func is(t tester, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Fatalf("%v, want %v", err, want)
	}
	for _, other := range []error{verify.ErrInvalid, verify.ErrForbidden, verify.ErrStale} {
		if errors.Is(err, other) != (other == want) {
			t.Fatalf("%v, want %v alone", err, want)
		}
	}
}
