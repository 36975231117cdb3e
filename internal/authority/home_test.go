package authority_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/ledger"
)

// elsewhere is another region's authority over the same store, as if everything had arrived there.
func (w *world) elsewhere(t *testing.T, change ...func(*authority.Options)) *authority.Authority {
	t.Helper()
	o := authority.Options{Region: "elsewhere", Joins: true}
	for _, c := range change {
		c(&o)
	}
	a, err := authority.Open(ctx, w.file, w.custody, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// partial is a store in which not all records of a kind have arrived.
type partial struct {
	authority.Store
	verifier *ledger.Verifier
	missing  ledger.Kind // "" once all have
}

func (p *partial) Subject(c context.Context, subject string) ([]authority.Entry, error) {
	entries, err := p.Store.Subject(c, subject)
	return slices.DeleteFunc(entries, func(e authority.Entry) bool {
		r, err := p.verifier.Open(e.Data)
		return err == nil && r.Kind == p.missing
	}), err
}

// A region can be home before all has arrived there. What was missing once is looked for again.
func TestHome_BeforeItsLicenseHasArrived(t *testing.T) {
	t.Parallel()
	w := found(t)
	s := &partial{w.file, ledger.NewVerifier(w.custody.LedgerKey()), ledger.KindLicense}
	a, err := authority.Open(ctx, s, w.custody, authority.Options{Region: "elsewhere", Joins: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.MoveHome(ctx, w.root, w.origin(w.root), "elsewhere"); err != nil {
		t.Fatal(err)
	}
	create := func() error {
		_, err := a.Create(ctx, w.root, w.origin(w.root), authority.CreateRequest{}, authority.Once{})
		return err
	}
	if err := create(); !errors.Is(err, access.ErrUnavailable) {
		t.Errorf("without a license: %v, want ErrUnavailable", err)
	}
	s.missing = ""
	if err := create(); err != nil {
		t.Errorf("at the instant at which it has arrived: %v", err)
	}
}

func TestHome_OthersOnlyRevoke(t *testing.T) {
	t.Parallel()
	w := found(t)
	made := w.create(w.root, scopes("billing.read"))
	a := w.elsewhere(t)
	before := w.head()
	for name, write := range map[string]func() error{
		"rotate": func() error {
			_, err := a.Rotate(ctx, w.root, w.origin(w.root), made.target(), authority.RotateRequest{}, authority.Once{})
			return err
		},
		"create": func() error {
			_, err := a.Create(ctx, w.root, w.origin(w.root), authority.CreateRequest{}, authority.Once{})
			return err
		},
		"recover":   func() error { _, err := a.Recover(ctx, w.origin(w.root)); return err },
		"token key": func() error { _, err := a.RotateTokenKey(ctx, w.root, w.origin(w.root)); return err },
	} {
		if err := write(); !errors.Is(err, authority.ErrNotHome) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := errors.Join(a.EnsureKeys(ctx, w.at), a.RetireKeys(ctx, w.at)); err != nil {
		t.Errorf("what needs no doing: %v", err)
	}
	if err := a.Revoke(ctx, w.root, w.origin(w.root), made.target()); err != nil {
		t.Errorf("revoke: %v", err)
	}
	heads, err := w.file.Heads(ctx)
	if err != nil || heads["local"].Seq != before || heads["elsewhere"].Seq != 1 {
		t.Errorf("heads %v, %v", heads, err)
	}
	if _, err := w.authenticate(made.client, made.secret); !errors.Is(err, access.ErrRefused) {
		t.Errorf("home after the revocation: %v", err)
	}
}

func TestHome_TokensNameThePeerOfTheirKey(t *testing.T) {
	t.Parallel()
	w := found(t)
	a := w.elsewhere(t)
	client, err := a.Authenticate(ctx, w.at, access.Proof{ClientID: w.founded.Credential.ClientID(1), Secret: w.founded.Secret.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	issued, err := a.Issue(ctx, w.at, client, access.TokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for name, by := range map[string]*authority.Authority{"home": w.a, "elsewhere": a} {
		caller, err := by.Check(ctx, w.at, issued.AccessToken, "")
		if err != nil || caller.Claims.PeerID != w.founded.PeerID.String() {
			t.Errorf("%s: peer %q, %v", name, caller.Claims.PeerID, err)
		}
	}
}

func TestHome_Moves(t *testing.T) {
	t.Parallel()
	w := found(t)
	a := w.elsewhere(t)
	if _, err := a.MoveHome(ctx, w.root, w.origin(w.root), "local"); !errors.Is(err, authority.ErrInput) {
		t.Errorf("by asking the wrong one: %v", err)
	}
	if _, err := a.MoveHome(ctx, w.caller(w.founded.Credential.ClientID(1), w.founded.Secret, "credentials.write"), w.origin(w.root), "elsewhere"); !errors.Is(err, access.ErrForbidden) {
		t.Errorf("without admin: %v", err)
	}
	moved, err := a.MoveHome(ctx, w.root, w.origin(w.root), "elsewhere") // in the second in which the cluster was founded
	if err != nil || moved.From != "local" || moved.To != "elsewhere" || !moved.At.Equal(w.at.Add(time.Second)) {
		t.Fatalf("%+v, %v", moved, err)
	}
	if _, here, err := a.Home(ctx); err != nil || !here {
		t.Errorf("%v, %v", here, err)
	}
	// The old home hears of it when it next writes.
	w.later(time.Minute)
	if _, err := w.a.Create(ctx, w.root, w.origin(w.root), authority.CreateRequest{}, authority.Once{}); !errors.Is(err, authority.ErrNotHome) {
		t.Errorf("the old home: %v", err)
	}
}

func TestHome_TheOnlyWriterIsHome(t *testing.T) {
	t.Parallel()
	w := found(t)
	a := w.elsewhere(t, func(o *authority.Options) { o.SoleWriter = true })
	if err := a.EnsureKeys(ctx, w.at); err != nil {
		t.Fatal(err)
	}
	if home, here, err := a.Home(ctx); home != "elsewhere" || !here || err != nil {
		t.Errorf("%s, %v, %v", home, here, err)
	}
}

func TestHome_NobodyFoundsASecondCluster(t *testing.T) {
	t.Parallel()
	w := empty(t, private)
	a := w.elsewhere(t, private)
	if _, err := a.Bootstrap(ctx, authority.Origin{At: w.at}, authority.BootstrapRequest{URL: issuer}, authority.Once{}); !errors.Is(err, authority.ErrNotHome) {
		t.Errorf("before the first: %v", err)
	}
	w.bootstrap()
	if _, err := w.elsewhere(t, private).Bootstrap(ctx, authority.Origin{At: w.at}, authority.BootstrapRequest{URL: issuer}, authority.Once{}); !errors.Is(err, authority.ErrAlreadyBootstrapped) {
		t.Errorf("after it: %v", err)
	}
}
