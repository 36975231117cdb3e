package keys_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/keys/vault"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/testdose"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// counting is a vault that counts, and fails when it is told to.
type counting struct {
	vault.Memory
	opens atomic.Int64
	fail  atomic.Bool
}

var errDown = errors.New("the vault is down")

func (v *counting) Seal(ctx context.Context, secret []byte, labels map[string]string) ([]byte, error) {
	if v.fail.Load() {
		return nil, errDown
	}
	return v.Memory.Seal(ctx, secret, labels)
}

func (v *counting) Open(ctx context.Context, sealed []byte, labels map[string]string) ([]byte, error) {
	if v.fail.Load() {
		return nil, errDown
	}
	v.opens.Add(1)
	return v.Memory.Open(ctx, sealed, labels)
}

var errDenied = errors.New("access denied")

// role is what the policy of one function lets it do with the vault.
type role struct {
	vault      *counting
	open, seal string // purposes, separated by spaces
}

func (r role) Open(ctx context.Context, sealed []byte, labels map[string]string) ([]byte, error) {
	if !strings.Contains(r.open, labels[keys.LabelPurpose]) {
		return nil, errDenied
	}
	return r.vault.Open(ctx, sealed, labels)
}

func (r role) Seal(ctx context.Context, secret []byte, labels map[string]string) ([]byte, error) {
	if !strings.Contains(r.seal, labels[keys.LabelPurpose]) {
		return nil, errDenied
	}
	return r.vault.Seal(ctx, secret, labels)
}

// world is a store with a vault beside it.
type world struct {
	t     *testing.T
	vault *counting
	store authority.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{t, new(counting), openStore(t)}
}

func openStore(t *testing.T) authority.Store {
	t.Helper()
	s, err := bolt.Open(filepath.Join(t.TempDir(), "keyturn.db"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// function is a new execution environment.
func (w *world) function(s keys.Sealer) *authority.Authority {
	w.t.Helper()
	a, err := authority.Open(w.t.Context(), w.store, keys.NewSealed(s), authority.Options{Private: true, Region: "us-east-1"})
	if err != nil {
		w.t.Fatalf("open: %v", err)
	}
	return a
}

func bootstrap(ctx context.Context, a *authority.Authority) (authority.Bootstrapped, error) {
	return a.Bootstrap(ctx, authority.Origin{At: start}, authority.BootstrapRequest{URL: "https://auth.example"}, authority.Once{})
}

func (w *world) bootstrap(a *authority.Authority) authority.Bootstrapped {
	w.t.Helper()
	done, err := bootstrap(w.t.Context(), a)
	if err != nil {
		w.t.Fatalf("bootstrap: %v", err)
	}
	return done
}

// caller gets a token with a secret, and shows it.
func (w *world) caller(a *authority.Authority, at time.Time, done authority.Bootstrapped) access.Caller {
	w.t.Helper()
	c, err := a.Authenticate(w.t.Context(), at, access.Proof{ClientID: done.Credential.ClientID(1), Secret: done.Secret.Reveal()})
	if err != nil {
		w.t.Fatalf("authenticate: %v", err)
	}
	issued, err := a.Issue(w.t.Context(), at, c, access.TokenRequest{})
	if err != nil {
		w.t.Fatalf("issue: %v", err)
	}
	caller, err := a.Check(w.t.Context(), at, issued.AccessToken, "")
	if err != nil {
		w.t.Fatalf("check: %v", err)
	}
	return caller
}

func TestSealed_EveryEnvironmentFindsTheKeysInTheLedger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.function(w.vault)
	done := w.bootstrap(first)
	by := w.caller(first, start, done)

	second := w.function(w.vault)
	if w.caller(second, start, done).Claims.PeerID != by.Claims.PeerID {
		t.Error("another environment of the same region signs as another peer")
	}
	rotated, err := second.RotateShared(t.Context(), by, authority.Origin{At: start}, authority.RotateRequest{Window: time.Hour}, authority.Once{})
	if err != nil || rotated.Version != 2 {
		t.Fatalf("rotate elsewhere: %d, %v", rotated.Version, err)
	}
	if err := first.CheckLedger(t.Context()); err != nil {
		t.Errorf("the ledger that two environments have written: %v", err)
	}
}

func TestSealed_OpensOnceWhatIsUsedAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	done := w.bootstrap(w.function(w.vault))

	signs := w.function(role{vault: w.vault, open: "token anchor"})
	before := w.vault.opens.Load()
	for range 5 {
		w.caller(signs, start, done)
	}
	if n := w.vault.opens.Load() - before; n != 1 {
		t.Errorf("five tokens opened %d keys, want the token key once", n)
	}
	by := w.caller(signs, start, done)
	_, err := signs.RotateShared(t.Context(), by, authority.Origin{At: start}, authority.RotateRequest{}, authority.Once{})
	if !errors.Is(err, access.ErrUnavailable) || !errors.Is(err, errDenied) {
		t.Errorf("the token function wrote a record: %v", err)
	}

	writes := w.function(role{vault: w.vault, open: "ledger anchor"})
	if _, err := writes.RotateShared(t.Context(), by, authority.Origin{At: start}, authority.RotateRequest{}, authority.Once{}); err != nil {
		t.Errorf("a function without the token key cannot rotate: %v", err)
	}
	if err := writes.CanIssue(t.Context(), start); !errors.Is(err, errDenied) {
		t.Errorf("a function without the token key can sign: %v", err)
	}
}

// Keys are made once where two functions start at the same instant: one founds the cluster, and the other one uses its keys.
func TestSealed_TwoFunctionsBootstrapAtOnce(t *testing.T) {
	t.Parallel()
	for range (testdose.Dose{Least: 3, Most: 7, Within: 2 * time.Second}).Rounds(t) {
		w := newWorld(t)
		const n = 4
		var all sync.WaitGroup
		var functions [n]*authority.Authority
		var outcomes [n]authority.Bootstrapped
		var errs [n]error
		for i := range n {
			functions[i] = w.function(w.vault)
		}
		for i := range n {
			all.Go(func() {
				errs[i] = access.ErrUnavailable
				for errors.Is(errs[i], access.ErrUnavailable) { // where the machine stood still for longer than a commit may take
					outcomes[i], errs[i] = bootstrap(t.Context(), functions[i])
				}
			})
		}
		all.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner < 0:
				winner = i
			case err == nil:
				t.Fatal("two functions have founded a cluster")
			case !errors.Is(err, authority.ErrAlreadyBootstrapped):
				t.Fatalf("the loser: %v", err)
			}
		}
		if winner < 0 {
			t.Fatal("nobody has founded a cluster")
		}
		for _, f := range functions {
			f.Refresh(t.Context(), start)
			w.caller(f, start, outcomes[winner])
			c, err := f.Cluster(t.Context())
			if err != nil || len(c.LedgerKeys) != 1 || len(c.Keys) != 1 {
				t.Fatalf("%d ledger keys, %d token keys, %v", len(c.LedgerKeys), len(c.Keys), err)
			}
		}
	}
}

// Who can write to the table can found a cluster of their own in it, and copy what is sealed. Nobody is to trust it.
func TestSealed_AForeignClusterIsNotTrusted(t *testing.T) {
	t.Parallel()
	ours := newWorld(t)
	ours.bootstrap(ours.function(ours.vault))
	theirs := newWorld(t)
	theirs.bootstrap(theirs.function(theirs.vault))

	open := func(s authority.Store) error {
		_, err := authority.Open(t.Context(), s, keys.NewSealed(ours.vault), authority.Options{Region: "us-east-1"})
		return err
	}
	if err := open(ours.store); err != nil {
		t.Fatalf("our own: %v", err)
	}
	if err := open(theirs.store); err == nil || !strings.Contains(err.Error(), "who founded the cluster") {
		t.Errorf("a cluster that somebody else founded: %v", err)
	}
	mixed := clusterOf(t, ours.store)
	for i, e := range clusterOf(t, theirs.store) {
		if i == 0 {
			e.Seq = 100
		}
		mixed = append(mixed, e)
	}
	if _, err := authority.Open(t.Context(), fixed{ours.store, mixed}, keys.NewSealed(ours.vault), authority.Options{Region: "us-east-1"}); err != nil {
		t.Errorf("our cluster, with records of another one beside it: %v", err)
	}
	word := carried(t, clusterOf(t, ours.store)).Anchor
	if _, err := keys.NewSealed(ours.vault).Anchor(t.Context(), []jwk.Key{carried(t, clusterOf(t, theirs.store)).LedgerKey}, [][]byte{word}); !errors.Is(err, authority.ErrNoKey) {
		t.Errorf("our word counts for another founder: %v", err)
	}
}

// fixed is a store whose cluster has other records.
type fixed struct {
	authority.Store
	cluster []authority.Entry
}

func (f fixed) Subject(ctx context.Context, subject string) ([]authority.Entry, error) {
	if id.ID(subject).Kind() == id.Cluster {
		return f.cluster, nil
	}
	return f.Store.Subject(ctx, subject)
}

func clusterOf(t *testing.T, s authority.Store) []authority.Entry {
	t.Helper()
	names, err := s.Page(t.Context(), "clusters", "", 1)
	if err != nil || len(names) != 1 {
		t.Fatalf("%q, %v", names, err)
	}
	entries, err := s.Subject(t.Context(), names[0])
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// carried is the founding record's body.
func carried(t *testing.T, entries []authority.Entry) (body ledger.ClusterBody) {
	t.Helper()
	signed, err := ledger.Decode(entries[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	var r ledger.Record
	if err := json.Unmarshal(signed.Payload, &r); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(r.Body, &body); err != nil {
		t.Fatal(err)
	}
	return body
}

func TestSealed_OutagePassesBy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.vault.fail.Store(true)
	a := w.function(w.vault)
	if _, err := bootstrap(t.Context(), a); !errors.Is(err, access.ErrUnavailable) || !errors.Is(err, errDown) {
		t.Fatalf("bootstrap without the vault: %v", err)
	}
	w.vault.fail.Store(false)
	done := w.bootstrap(a)

	w.vault.fail.Store(true)
	w.caller(a, start, done) // what is open stays open
	if _, err := authority.Open(t.Context(), w.store, keys.NewSealed(w.vault), authority.Options{Region: "us-east-1"}); !errors.Is(err, access.ErrUnavailable) {
		t.Errorf("a new environment without the vault: %v", err)
	}
}

// A rotated token key is published at once, signs 15 minutes later, and the old one goes when its last token is dead.
func TestSealed_RotateTokenKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, other := w.function(w.vault), w.function(w.vault)
	done := w.bootstrap(a)
	by := w.caller(a, start, done)

	at := start.Add(24 * time.Hour)
	if _, err := other.RotateTokenKey(t.Context(), access.Caller{Scopes: credential.NewScopes("credentials.write")}, authority.Origin{At: at}); err == nil {
		t.Fatal("a token key was rotated without admin")
	}
	other.Refresh(t.Context(), at)
	p, err := other.RotateTokenKey(t.Context(), by, authority.Origin{At: at, Reason: "yearly"})
	if err != nil || !p.SignsAt.Equal(at.Add(15*time.Minute)) {
		t.Fatalf("= %+v, %v", p, err)
	}
	keyOf := func(at time.Time) string {
		a.Refresh(t.Context(), at)
		c, err := a.Authenticate(t.Context(), at, access.Proof{ClientID: done.Credential.ClientID(1), Secret: done.Secret.Reveal()})
		if err != nil {
			t.Fatal(err)
		}
		issued, err := a.Issue(t.Context(), at, c, access.TokenRequest{})
		if err != nil {
			t.Fatal(err)
		}
		header, _, _ := strings.Cut(issued.AccessToken, ".")
		return kid(t, header)
	}
	set := func(at time.Time) int {
		a.Refresh(t.Context(), at)
		if err := a.RetireKeys(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		c, err := a.Cluster(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(c.JWKS().Keys)
	}
	if keyOf(at.Add(15*time.Minute-time.Second)) == p.Key.ID() || set(at.Add(15*time.Minute-time.Second)) != 2 {
		t.Error("the new key signs before verifiers have fetched it, or is not published")
	}
	if keyOf(at.Add(15*time.Minute)) != p.Key.ID() {
		t.Error("the new key does not sign after 15 minutes")
	}
	dead := at.Add(15*time.Minute + access.Lifetime + 2*access.Leeway)
	if set(dead.Add(-time.Second)) != 2 || set(dead) != 1 {
		t.Error("the old key does not go when its last token is dead")
	}
	if keyOf(dead.Add(time.Hour)) != p.Key.ID() {
		t.Error("another key signs")
	}
}

func kid(t *testing.T, header string) string {
	t.Helper()
	var h struct{ Kid string }
	if err := json.Unmarshal(decode(t, header), &h); err != nil {
		t.Fatal(err)
	}
	return h.Kid
}
