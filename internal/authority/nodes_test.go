package authority_test

import (
	"context"
	"errors"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/license"
	"github.com/keyturn/keyturn/internal/peer"
)

// try lets a new host join with a new key.
func (w *world) try() (*host, string, error) {
	h, k := newHost(w.t), w.joinKey(w.root, authority.JoinKeyRequest{})
	done, err := w.join(h, k.Text)
	h.peer = done.PeerID
	return h, k.Text, err
}

func TestNodes_TheLicenseLimitsSidecars(t *testing.T) {
	t.Parallel()
	w, v := licensed(t) // three, and the authority is none of them
	var in []*host
	for range 3 {
		h, _, err := w.try()
		if err != nil {
			t.Fatal(err)
		}
		in = append(in, h)
	}
	for round := range 3 { // and in again each time that one goes
		h, k, err := w.try()
		if !errors.Is(err, authority.ErrLicenseLimit) {
			t.Fatalf("round %d: %v", round, err)
		}
		w.remove(in[round].peer)
		w.remove(in[round].peer) // counts once
		if _, err := w.join(h, k); err != nil {
			t.Fatalf("round %d, with room: %v", round, err)
		}
	}
	h, k, err := w.try()
	if !errors.Is(err, authority.ErrLicenseLimit) {
		t.Fatal(err)
	}
	if _, err := w.a.ApplyLicense(ctx, w.origin(w.root), v.license(w.at, func(l *license.License) { l.MaxNodes = 4 })); err != nil {
		t.Fatal(err)
	}
	if _, err := w.join(h, k); err != nil {
		t.Errorf("with a larger license: %v", err)
	}
	if _, _, err := w.try(); !errors.Is(err, authority.ErrLicenseLimit) {
		t.Error(err)
	}
}

func TestNodes_ALicenseThatAnotherWriterApplied(t *testing.T) {
	t.Parallel()
	w, v := licensed(t, func(l *license.License) { l.MaxNodes = 0 })
	second, err := authority.Open(ctx, w.file, w.custody, w.o)
	if err != nil {
		t.Fatal(err)
	}
	h, k, err := w.try()
	if !errors.Is(err, authority.ErrLicenseLimit) {
		t.Fatal(err)
	}
	if _, err := second.ApplyLicense(ctx, w.origin(w.root), v.license(w.at)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.join(h, k); err != nil {
		t.Errorf("= %v", err)
	}
}

func TestNodes_AnExpiredLicenseStopsGrowth(t *testing.T) {
	t.Parallel()
	w, v := licensed(t)
	h, _, err := w.try()
	if err != nil {
		t.Fatal(err)
	}
	w.later(365 * day)
	w.root = w.caller(w.founded.Credential.ClientID(1), w.founded.Secret)
	late, k, err := w.try()
	if !errors.Is(err, authority.ErrLicenseExpired) {
		t.Errorf("at its end: %v", err)
	}
	w.remove(h.peer)
	if _, err := w.a.ApplyLicense(ctx, w.origin(w.root), v.license(w.at)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.join(late, k); err != nil {
		t.Errorf("renewed: %v", err)
	}
}

func TestNodes_ManyAtOnce(t *testing.T) {
	t.Parallel()
	w, _ := licensed(t)
	second, err := authority.Open(ctx, w.file, w.custody, w.o)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	in := 0
	for i := range 10 {
		h, k := newHost(t), w.joinKey(w.root, authority.JoinKeyRequest{})
		a := []*authority.Authority{w.a, second}[i%2]
		all.Go(func() {
			_, err := a.Join(ctx, authority.Origin{At: w.at}, h.request(k.Text))
			if err != nil && !errors.Is(err, authority.ErrLicenseLimit) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				in++
			}
		})
	}
	all.Wait()
	if in != 3 {
		t.Errorf("%d are in", in)
	}
}

// Hosts that wait for the same commit are decided on one after the other: no batch runs into a limit or a claim of its own.
func TestNodes_ManyInOneBatch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		keys, in int
		refused  error
	}{"of the license": {6, 3, authority.ErrLicenseLimit}, "of one join key": {1, 1, authority.ErrJoinKey}} {
		w, _ := licensed(t)
		keys := make([]string, c.keys)
		for i := range keys {
			keys[i] = w.joinKey(w.root, authority.JoinKeyRequest{}).Text
		}
		s := &slow{Store: w.file, arrived: make(chan int, 100), release: make(chan struct{}, 100)}
		w.over(s)
		var all sync.WaitGroup
		all.Go(func() { w.create(w.root, nil) })
		<-s.arrived
		var in atomic.Int32
		for i := range 6 {
			h := newHost(t)
			all.Go(func() {
				switch _, err := w.join(h, keys[i%len(keys)]); {
				case err == nil:
					in.Add(1)
				case !errors.Is(err, c.refused):
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		for late := time.Now().Add(time.Minute); authority.Waiting(w.a) < 6; runtime.Gosched() {
			if time.Now().After(late) {
				t.Fatalf("%d of 6 are waiting", authority.Waiting(w.a))
			}
		}
		for range 100 {
			s.release <- struct{}{}
		}
		all.Wait()
		if n := in.Load(); int(n) != c.in || int(s.commits.Load()) != 1+c.in {
			t.Errorf("%s: %d are in after %d commits", name, n, s.commits.Load())
		}
	}
}

// A region counts what it has written itself. Who was removed elsewhere makes room all the same.
func TestNodes_RemovedElsewhereMakesRoom(t *testing.T) {
	t.Parallel()
	w, _ := licensed(t)
	w.store = &perRegion{Store: w.file, own: "local"}
	w.over(w.store)
	a := w.elsewhere(t)
	for range 9 {
		h, _, err := w.try()
		if err != nil {
			t.Fatal(err)
		}
		if err := a.RemovePeer(ctx, w.root, w.origin(w.root), h.peer); err != nil {
			t.Fatal(err)
		}
	}
}

// A counter that says anything at all keeps nobody out, and lets nobody in.
func TestNodes_ACounterThatDrifted(t *testing.T) {
	t.Parallel()
	for _, drift := range []int{1000, -1000} {
		w, _ := licensed(t)
		w.over(&drifting{Store: w.file, by: drift})
		for n := range 3 {
			if _, _, err := w.try(); err != nil {
				t.Errorf("%d, with %d in: %v", drift, n, err)
			}
		}
		if _, _, err := w.try(); !errors.Is(err, authority.ErrLicenseLimit) {
			t.Errorf("%d: %v", drift, err)
		}
	}
}

// perRegion is a store in which other regions' counters are others.
type perRegion struct {
	authority.Store
	own string
}

func (s *perRegion) Append(ctx context.Context, b authority.Batch) error {
	if b.Region != s.own {
		b.Limits = nil
	}
	return s.Store.Append(ctx, b)
}

// drifting moves the counter with each batch that has nothing to do with it.
type drifting struct {
	authority.Store
	by int
}

func (s *drifting) Append(ctx context.Context, b authority.Batch) error {
	if len(b.Limits) == 0 {
		b.Limits = []authority.Limit{{Name: "nodes", Delta: s.by, Max: math.MaxInt32}}
	}
	return s.Store.Append(ctx, b)
}

// recording is a store that writes down limits and claims.
type recording struct {
	authority.Store
	limits []authority.Limit
	claims []authority.Claim
}

func (s *recording) Append(ctx context.Context, b authority.Batch) error {
	s.limits, s.claims = append(s.limits, b.Limits...), append(s.claims, b.Claims...)
	return s.Store.Append(ctx, b)
}

// Two regions let one host in unheard of each other, with one of its keys: that can be moved like anything else.
func TestImport_AKeyThatTwoPeersHave(t *testing.T) {
	t.Parallel()
	w := found(t)
	h := w.joined()
	write := twoRegions(t, w)
	write(ledger.KindPeer, id.New(id.Peer, w.at), ledger.PeerBody{Name: "far", Role: peer.Sidecar, PublicKey: newHost(t).public, TokenKey: h.signer.Key()}, nil)
	s := newStore(t)
	if _, err := authority.Import(ctx, s, w.custody.LedgerKey(), reader(w.export())); err != nil {
		t.Fatal(err)
	}
	w.over(s)
	if n := len(w.peers()); n != 3 {
		t.Errorf("%d peers", n)
	}
}

func TestImport_RestoresPeers(t *testing.T) {
	t.Parallel()
	w, _ := licensed(t)
	in, gone := w.joined("billing.read"), w.joined()
	w.joined()
	w.remove(gone.peer)
	k, unused := w.joinKey(w.root, authority.JoinKeyRequest{}), w.joinKey(w.root, authority.JoinKeyRequest{})
	h := newHost(t)
	first, err := w.join(h, k.Text)
	if err != nil {
		t.Fatal(err)
	}
	before := w.peer(in.peer)
	s := &recording{Store: newStore(t)}
	if _, err := authority.Import(ctx, s, w.custody.LedgerKey(), reader(w.export())); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]authority.Limit{{Name: "nodes", Delta: 3, Max: 3}}, s.limits); diff != "" || len(s.claims) != 8 {
		t.Errorf("%d claims, limits: %s", len(s.claims), diff)
	}
	w.over(s)
	if diff := cmp.Diff(before, w.peer(in.peer)); diff != "" {
		t.Error(diff)
	}
	if got := w.statuses(true); len(got) != 5 || got[k.ID] != "used" || got[unused.ID] != "active" {
		t.Errorf("join keys: %v", got)
	}
	if again, err := w.join(h, k.Text); err != nil || again.PeerID != first.PeerID {
		t.Errorf("the host that has joined: %v, %v", again, err)
	}
	if _, err := w.join(newHost(t), k.Text); !errors.Is(err, authority.ErrJoinKey) {
		t.Errorf("a used key: %v", err)
	}
	if _, err := w.join(newHost(t), unused.Text); !errors.Is(err, authority.ErrLicenseLimit) {
		t.Errorf("one too many: %v", err)
	}
	w.remove(in.peer)
	if _, err := w.join(gone, unused.Text); !errors.Is(err, authority.ErrInput) {
		t.Errorf("with the keys of a removed peer: %v", err)
	}
	if _, err := w.join(newHost(t), unused.Text); err != nil {
		t.Errorf("with room: %v", err)
	}
	if list, err := w.a.Peers(ctx, w.root, w.at); err != nil || len(list) != 6 {
		t.Errorf("%d peers, %v", len(list), err)
	}
}
