package authority_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/authority/storetest"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/keys"
)

// swap is a store behind which another can be put.
type swap struct{ authority.Store }

// given is what a write in question works on.
type given struct {
	*world
	by     access.Caller // a writer beside the shared credential
	victim made
	key    jwk.Key
}

// write is one write, how many records it makes, and the credential whose secret it returns.
type write struct {
	name    string
	records uint64
	once    bool
	do      func(g given, once authority.Once) (client string, s credential.Secret, err error)
}

func rotationOf(done authority.Rotation, err error) (string, credential.Secret, error) {
	return done.ClientID, done.Secret, err
}

func writes() []write {
	return []write{
		{"Create", 2, true, func(g given, once authority.Once) (string, credential.Secret, error) {
			done, err := g.a.Create(ctx, g.by, g.origin(g.by), authority.CreateRequest{Name: "new"}, once)
			if err != nil {
				return "", done.Secret, err
			}
			return done.Credential.ID.String(), done.Secret, nil
		}},
		{"Rotate", 1, true, func(g given, once authority.Once) (string, credential.Secret, error) {
			return rotationOf(g.a.Rotate(ctx, g.by, g.origin(g.by), g.victim.target(), authority.RotateRequest{Window: day}, once))
		}},
		{"RotateShared", 1, true, func(g given, once authority.Once) (string, credential.Secret, error) {
			return rotationOf(g.a.RotateShared(ctx, g.root, g.origin(g.root), authority.RotateRequest{}, once))
		}},
		{"Emergency", 1, true, func(g given, once authority.Once) (string, credential.Secret, error) {
			return rotationOf(g.a.RotateShared(ctx, g.by, g.origin(g.by), authority.RotateRequest{Emergency: true}, once))
		}},
		{"Recover", 1, false, func(g given, _ authority.Once) (string, credential.Secret, error) {
			return rotationOf(g.a.Recover(ctx, authority.Origin{At: g.at}))
		}},
		{"Revoke", 1, false, func(g given, _ authority.Once) (string, credential.Secret, error) {
			return "", credential.Secret{}, g.revoke(g.by, g.victim.target())
		}},
		{"Vouch", 1, false, func(g given, _ authority.Once) (string, credential.Secret, error) {
			return "", credential.Secret{}, g.a.Vouch(ctx, g.by, g.origin(g.by), g.key)
		}},
		{"EnsureKeys", 1, false, func(g given, _ authority.Once) (string, credential.Secret, error) {
			return "", credential.Secret{}, g.a.EnsureKeys(ctx, g.at)
		}},
	}
}

// again says that a write that was not idempotent may be there a second time.
func (w write) again() bool {
	return w.once || w.name == "Revoke" || w.name == "Vouch" || w.name == "EnsureKeys"
}

// prepared is what ready copies.
var prepared struct {
	sync.Once
	given
	files map[string][]byte
}

// prepare makes a world in which every write has something to do.
func prepare(t testing.TB) {
	t.Helper()
	g := given{world: found(t, remembering), key: *newClient(t, "EdDSA").public()}
	spare := g.create(g.root, nil)
	g.by, g.victim = g.caller(spare.client, spare.secret), g.create(g.root, scopes(credential.PeersRead))
	g.close()
	names, err := os.ReadDir(g.keys)
	prepared.files = map[string][]byte{filepath.Base(g.path): content(t, g.path, err)}
	for _, name := range names {
		prepared.files[name.Name()] = content(t, filepath.Join(g.keys, name.Name()), nil)
	}
	g.o.TokenAlg = "EdDSA" // for EnsureKeys
	g.open()               // to be closed with the test
	prepared.given = g
}

// ready is a world in which every write has something to do: its own, and the same at first as that of all others.
func ready(t testing.TB) given {
	t.Helper()
	prepared.Do(func() { prepare(t) })
	if prepared.world == nil {
		t.Fatal("the test that prepared the world has failed")
	}
	dir := t.TempDir()
	for name, b := range prepared.files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	custody, err := keys.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	g, own := prepared.given, *prepared.world
	own.t, own.path, own.keys, own.custody = t, filepath.Join(dir, filepath.Base(own.path)), dir, custody
	g.world = &own
	g.open()
	t.Cleanup(g.close)
	return g
}

// settled checks what has to be true after any outcome: nothing half written, no secret for nothing, and the authority
// sees what a new one sees.
func (g given) settled(w write, before uint64, client string, s credential.Secret, err error) {
	g.t.Helper()
	if added := g.head() - before; added != 0 && added != w.records {
		g.t.Errorf("%d records of %d", added, w.records)
	} else if err == nil && added != w.records {
		g.t.Errorf("it said yes and wrote %d records", added)
	}
	if err != nil && !s.IsZero() {
		g.t.Errorf("a secret beside an error")
	}
	g.same()
	if !s.IsZero() {
		g.accepts(true, s, client)
	}
}

// same compares what this authority remembers with what a new one over the same file says.
func (g given) same() {
	g.t.Helper()
	fresh := *g.world
	fresh.o.SoleWriter = false
	fresh.over(g.file)
	names, err := g.file.Page(ctx, "credentials", "", 100)
	if err != nil {
		g.t.Fatalf("%v", err)
	}
	for _, name := range names {
		if diff := cmp.Diff(fresh.credential(id.ID(name)), g.credential(id.ID(name))); diff != "" {
			g.t.Errorf("%s: new(-) and this(+): %s", name, diff)
		}
	}
	a, err1 := g.a.Cluster(ctx)
	b, err2 := fresh.a.Cluster(ctx)
	if err1 != nil || err2 != nil || !cmp.Equal(a.Cluster, b.Cluster) {
		g.t.Errorf("the cluster: %v, %v, %s", err1, err2, cmp.Diff(b.Cluster, a.Cluster))
	}
}

// secretOf is the secret of an answer, now or then.
func secretOf(t tb, s credential.Secret, err error) credential.Secret {
	t.Helper()
	var r *authority.Replayed
	if errors.As(err, &r) {
		s, err = credential.ParseSecret(string(r.Answer))
	}
	if err != nil {
		t.Fatalf("running it again does not heal: %v", err)
	}
	return s
}

func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	for _, w := range writes() {
		for _, keyed := range []bool{true, false} {
			if keyed && !w.once {
				continue
			}
			name := w.name
			if keyed {
				name += "WithKey"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				storetest.Each(t, func(t *testing.T, faulty func(authority.Store) authority.Store) {
					g := ready(t)
					between := &swap{g.file}
					g.over(between)
					g.credential(g.victim.id) // remembered
					g.credential(g.founded.Credential.ID)
					once := authority.Once{}
					if keyed {
						once = onceFor(g.by.ID().String(), w.name, "1")
					}
					before := g.head()
					between.Store = faulty(g.file)
					client, s, err := w.do(g, once)
					between.Store = g.file
					if err != nil && (!errors.Is(err, access.ErrUnavailable) || !errors.Is(err, storetest.ErrInjected)) {
						t.Errorf("the error of the store came out as %v", err)
					}
					g.settled(w, before, client, s, err)
					g.healed(w, keyed, once, before, s)
				})
			})
		}
	}
}

// healed runs the write again without a fault.
func (g given) healed(w write, keyed bool, once authority.Once, before uint64, first credential.Secret) {
	g.t.Helper()
	client, again, err := w.do(g, once)
	if w.once || w.name == "Recover" {
		if !keyed && errors.Is(err, access.ErrToken) {
			return // an emergency that was done, and that killed who asks: it is not their own here
		}
		s := secretOf(g.t, again, err)
		if keyed && !first.IsZero() && !s.Hash().Equal(first.Hash()) {
			g.t.Errorf("the second answer is another one")
		}
		if client != "" {
			g.accepts(true, s, client)
		}
	} else if err != nil {
		g.t.Errorf("again: %v", err)
	}
	if added := g.head() - before; (keyed || w.again() && !w.once) && added != w.records || added == 0 {
		g.t.Errorf("%d records after running it again", added)
	}
	g.same()
	g.caller(g.victimOrRoot()) // nobody is locked out
}

func (g given) victimOrRoot() (string, credential.Secret) {
	spare := g.a
	done, err := spare.Recover(ctx, authority.Origin{At: g.at})
	if err != nil {
		g.t.Fatalf("recover: %v", err)
	}
	return done.ClientID, done.Secret
}

func TestUnknownOutcome_Bootstrap(t *testing.T) {
	t.Parallel()
	for _, keyed := range []bool{true, false} {
		name := map[bool]string{true: "WithKey", false: "WithoutKey"}[keyed]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, faulty func(authority.Store) authority.Store) {
				w := empty(t, remembering)
				between := &swap{w.file}
				w.over(between)
				between.Store = faulty(w.file)
				once := authority.Once{}
				if keyed {
					once = onceFor("bootstrap", "", "1")
				}
				r := authority.BootstrapRequest{URL: issuer}
				done, err := bootstrapAt(w, r, once)
				between.Store = w.file
				if added := w.head(); added != 0 && added != 6 || err != nil && !done.Secret.IsZero() {
					t.Fatalf("%d records, %v", added, err)
				}
				if err != nil && (!errors.Is(err, access.ErrUnavailable) || errors.Is(err, authority.ErrAlreadyBootstrapped)) {
					t.Errorf("the error of the store came out as %v", err)
				}
				first := done.Secret
				done, err = bootstrapAt(w, r, once)
				switch {
				case keyed:
					first2 := secretOf(t, done.Secret, err)
					if !first.IsZero() && !first2.Hash().Equal(first.Hash()) {
						t.Error("the second answer is another one")
					}
					first = first2
				case err == nil:
					first = done.Secret
				case !errors.Is(err, authority.ErrAlreadyBootstrapped):
					t.Errorf("again: %v", err)
				case first.IsZero(): // the answer is lost: recovery is the way out
					first = w.recover().Secret
				}
				shared, err := w.a.Shared(ctx, w.at)
				if err != nil {
					t.Fatal(err)
				}
				w.caller(shared.ID.String(), first)
			})
		})
	}
}

// The commit fails after it was done, and the ledger tells: nobody hears of it.
func TestUnknownOutcome_TheLedgerTells(t *testing.T) {
	t.Parallel()
	for _, w := range writes() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			g := ready(t)
			between := &swap{storetest.Faulty(g.file, storetest.Fault{Method: "Append", Call: 1, After: true})}
			g.over(between)
			before := g.head()
			client, s, err := w.do(g, authority.Once{})
			if err != nil {
				t.Errorf("= %v", err)
			}
			g.settled(w, before, client, s, err)
		})
	}
}

// The commit fails after it was done, and so does looking whether it was: nobody may go on with what was before.
func TestUnknownOutcome_TheOldStateIsForgotten(t *testing.T) {
	t.Parallel()
	for _, w := range writes() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			g := ready(t)
			between := &swap{g.file}
			g.over(between)
			g.credential(g.victim.id)
			before := g.head()
			between.Store = storetest.Faulty(g.file, storetest.Fault{Method: "Append", Call: 1, After: true}, storetest.Fault{Method: "Ledger", Call: 1})
			client, s, err := w.do(g, onceFor(g.by.ID().String(), w.name, "1"))
			between.Store = g.file
			if !errors.Is(err, access.ErrUnavailable) || g.head() != before+w.records {
				t.Fatalf("%v, %d records", err, g.head()-before)
			}
			g.settled(w, before, client, s, err)
			if w.name == "Revoke" {
				g.accepts(false, g.victim.secret, g.victim.client)
			}
			g.healed(w, w.once, onceFor(g.by.ID().String(), w.name, "1"), before, s)
		})
	}
}

func TestReads_SayWhenTheStoreFails(t *testing.T) {
	t.Parallel()
	g := ready(t)
	for name, read := range map[string]func(a *authority.Authority) error{
		"Credential": func(a *authority.Authority) error { _, err := a.Credential(ctx, g.at, g.victim.id); return err },
		"Find":       func(a *authority.Authority) error { _, err := a.Find(ctx, g.by, g.at, g.victim.target()); return err },
		"Shared":     func(a *authority.Authority) error { _, err := a.Shared(ctx, g.at); return err },
		"List":       func(a *authority.Authority) error { _, err := a.List(ctx, g.by, g.at, "", 10, true); return err },
		"Audit": func(a *authority.Authority) error {
			_, _, err := a.Audit(ctx, g.by, "", 10, authority.AuditFilter{})
			return err
		},
		"Export": func(a *authority.Authority) error {
			_, err := a.Export(ctx, g.by, g.at, "", 10, func(authority.Exported) bool { return true })
			return err
		},
		"Replay": func(a *authority.Authority) error { return a.Replay(ctx, g.at, onceFor("a", "b", "c")) },
		"Authenticate": func(a *authority.Authority) error {
			_, err := a.Authenticate(ctx, g.at, access.Proof{ClientID: g.victim.client, Secret: g.victim.secret.Reveal()})
			return err
		},
	} {
		for call := 1; call <= 3; call++ {
			between := &swap{g.file}
			a, err := authority.Open(ctx, between, g.custody, authority.Options{})
			if err != nil {
				t.Fatal(err)
			}
			faults := storetest.Faulty(g.file, storetest.Fault{Call: call})
			between.Store = faults
			if err := read(a); faults.Fired() > 0 && !errors.Is(err, access.ErrUnavailable) || faults.Fired() == 0 && err != nil {
				t.Errorf("%s, call %d: %v", name, call, err)
			}
		}
	}
	if failed := g.a.Ready(ctx, g.at); len(failed) != 0 {
		t.Errorf("not ready: %v", failed)
	}
	between := &swap{g.file}
	g.over(between)
	between.Store = storetest.Faulty(g.file, storetest.Fault{Call: 1})
	if failed := g.a.Ready(ctx, g.at); len(failed) != 1 || failed["store"] == "" {
		t.Errorf("ready over a failing store: %v", failed)
	}
	between.Store = g.file
}

// A store to which somebody else is always faster is given up when the budget is used up.
func TestCommit_ConflictsForEverEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := found(t)
		s := &conflicts{Store: w.file}
		w.over(s)
		from := time.Now()
		_, err := w.a.Create(ctx, w.root, w.origin(w.root), authority.CreateRequest{}, authority.Once{})
		if !errors.Is(err, access.ErrUnavailable) || !errors.Is(err, authority.ErrConflict) {
			t.Errorf("= %v", err)
		}
		if took := time.Since(from); took != patience || s.tries < 300 || s.tries > 1200 {
			t.Errorf("%d tries in %s", s.tries, took)
		}
		if budget != 5*time.Second {
			t.Errorf("in production the budget is %s", budget)
		}
	})
}

// conflicts is a store to which somebody else is always faster.
type conflicts struct {
	authority.Store
	tries int
}

func (s *conflicts) Append(ctxT, authority.Batch) error {
	s.tries++
	return authority.ErrConflict
}
