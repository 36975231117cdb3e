package authority_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/testdose"
	"github.com/keyturn/keyturn/internal/testleak"
)

// How long a commit may take: in these tests, and in production.
const patience = time.Minute

var budget time.Duration

func TestMain(m *testing.M) {
	budget = authority.Patient(patience)
	_ = flag.Set("rapid.checks", "5") // of 100: how many there are is said by doses
	debug.SetGCPercent(400)           // of very little
	testleak.Main(m)
}

// laws checks a property as often as a dose says.
func laws(t *testing.T, holds func(*rapid.T)) {
	t.Helper()
	for range (testdose.Dose{Least: 2, Most: 20, Within: 2 * time.Second}).Rounds(t) {
		rapid.Check(t, holds)
	}
}

var (
	start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ctx   = context.Background()
)

const (
	issuer = "https://auth.example"
	day    = 24 * time.Hour
)

// tb is what a test and a property have in common.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// world is an authority over a real file, with a clock that only moves when a test moves it.
type world struct {
	t       tb
	path    string
	keys    string          // the directory of the custody
	file    *bolt.Store     // the store itself
	store   authority.Store // what the authority sees of it
	custody *keys.Files
	o       authority.Options
	a       *authority.Authority
	at      time.Time
	founded authority.Bootstrapped
	root    access.Caller // the shared credential, with a token for all that it may
}

// private is the usual authority: its own vendor, called by its own host only.
func private(o *authority.Options) { o.Private = true }

func remembering(o *authority.Options) { o.Private, o.SoleWriter = true, true }

// newCustody makes keys in a directory of their own. A cluster that is not bootstrapped has no use for them before.
func newCustody(t testing.TB) *keys.Files { return custodyIn(t, t.TempDir()) }

func custodyIn(t testing.TB, dir string) *keys.Files {
	t.Helper()
	k, err := keys.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// emptyStore is the file of a store without anything in it: hundreds of tests begin with one, and a disk takes its time to make
// each.
var emptyStore struct {
	sync.Once
	file []byte
}

func storeFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyturn.db")
	emptyStore.Do(func() {
		s, err := bolt.Open(path, bolt.Options{})
		if err != nil {
			t.Fatal(err)
		}
		emptyStore.file = content(t, path, s.Close())
	})
	if err := os.WriteFile(path, emptyStore.file, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// content is what is in a file, unless something has failed before.
func content(t testing.TB, path string, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// empty is an authority before bootstrap.
func empty(t testing.TB, options ...func(*authority.Options)) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, path: storeFile(t), keys: dir, custody: custodyIn(t, dir), at: start, o: authority.Options{}}
	for _, option := range options {
		option(&w.o)
	}
	w.open()
	t.Cleanup(w.close)
	return w
}

func (w *world) open() {
	w.t.Helper()
	file, err := bolt.Open(w.path, bolt.Options{})
	if err != nil {
		w.t.Fatalf("open the store: %v", err)
	}
	w.file, w.store = file, file
	w.over(file)
}

// over puts an authority over another view of the store.
func (w *world) over(s authority.Store) {
	w.t.Helper()
	a, err := authority.Open(ctx, s, w.custody, w.o)
	if err != nil {
		w.t.Fatalf("open the authority: %v", err)
	}
	w.store, w.a = s, a
}

func (w *world) close() {
	if err := w.a.Close(); err != nil {
		w.t.Errorf("close: %v", err)
	}
}

// reopen is a restart.
func (w *world) reopen(options ...func(*authority.Options)) {
	w.t.Helper()
	w.close()
	for _, option := range options {
		option(&w.o)
	}
	w.open()
}

// found is an authority with a cluster.
func found(t testing.TB, options ...func(*authority.Options)) *world {
	t.Helper()
	if len(options) == 0 {
		options = append(options, private)
	}
	w := empty(t, options...)
	w.bootstrap()
	return w
}

func (w *world) bootstrap() {
	w.t.Helper()
	done, err := w.a.Bootstrap(ctx, authority.Origin{At: w.at}, authority.BootstrapRequest{URL: issuer}, authority.Once{})
	if err != nil {
		w.t.Fatalf("bootstrap: %v", err)
	}
	w.founded = done
	w.root = w.caller(done.Credential.ClientID(1), done.Secret)
}

// later moves the clock.
func (w *world) later(d time.Duration) { w.at = w.at.Add(d) }

func (w *world) authenticate(clientID string, s credential.Secret) (access.Client, error) {
	return w.a.Authenticate(ctx, w.at, access.Proof{ClientID: clientID, Secret: s.Reveal()})
}

// token issues an access token to who authenticates.
func (w *world) token(clientID string, s credential.Secret, scope string) string {
	w.t.Helper()
	client, err := w.authenticate(clientID, s)
	if err != nil {
		w.t.Fatalf("authenticate %s: %v", clientID, err)
	}
	issued, err := w.a.Issue(ctx, w.at, client, access.TokenRequest{Scope: scope})
	if err != nil {
		w.t.Fatalf("issue to %s: %v", clientID, err)
	}
	return issued.AccessToken
}

// caller is who calls with a new token, narrowed to scope ("" for all).
func (w *world) caller(clientID string, s credential.Secret, scope ...string) access.Caller {
	w.t.Helper()
	narrowed := ""
	if len(scope) > 0 {
		narrowed = scope[0]
	}
	c, err := w.a.Check(ctx, w.at, w.token(clientID, s, narrowed), "")
	if err != nil {
		w.t.Fatalf("check the token of %s: %v", clientID, err)
	}
	return c
}

// origin says that caller c calls now.
func (w *world) origin(c access.Caller) authority.Origin {
	return authority.Origin{At: w.at, Actor: c.Claims.ClientID, Version: c.Claims.Version, RequestID: "req-1", Source: "192.0.2.1", Reason: "a test"}
}

func scopes(list ...credential.Scope) credential.Scopes { return credential.NewScopes(list...) }

// made is a credential with its secret.
type made struct {
	id     id.ID
	client string
	secret credential.Secret
}

func (m made) target() id.ClientID { return id.ClientID{Credential: m.id} }

func (w *world) create(by access.Caller, s credential.Scopes, change ...func(*authority.CreateRequest)) made {
	w.t.Helper()
	r := authority.CreateRequest{Name: "one", Scopes: s}
	for _, c := range change {
		c(&r)
	}
	done, err := w.a.Create(ctx, by, w.origin(by), r, authority.Once{})
	if err != nil {
		w.t.Fatalf("create: %v", err)
	}
	return made{done.Credential.ID, done.Credential.ClientID(1), done.Secret}
}

// shared is the shared credential's bare name.
func (w *world) shared() id.ClientID { return id.ClientID{Credential: w.founded.Credential.ID} }

func (w *world) rotate(by access.Caller, target id.ClientID, r authority.RotateRequest) authority.Rotation {
	w.t.Helper()
	done, err := w.a.Rotate(ctx, by, w.origin(by), target, r, authority.Once{})
	if err != nil {
		w.t.Fatalf("rotate %s: %v", target, err)
	}
	return done
}

func (w *world) credential(subject id.ID) *credential.Credential {
	w.t.Helper()
	c, err := w.a.Credential(ctx, w.at, subject)
	if err != nil {
		w.t.Fatalf("read %s: %v", subject, err)
	}
	return c
}

// heads is how long each ledger is.
func (w *world) head() uint64 {
	w.t.Helper()
	heads, err := w.file.Heads(ctx)
	if err != nil {
		w.t.Fatalf("heads: %v", err)
	}
	return heads["local"].Seq
}

// entries is the whole ledger.
func (w *world) entries() []authority.Entry {
	w.t.Helper()
	list, err := w.file.Ledger(ctx, "local", 0, 1<<20)
	if err != nil {
		w.t.Fatalf("ledger: %v", err)
	}
	return list
}

func clientID(t tb, text string) id.ClientID {
	t.Helper()
	c, err := id.ParseClientID(text)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return c
}

type (
	ctxT = context.Context
	idT  = id.ID
)
