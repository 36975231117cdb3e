package authority_test

import (
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/license"
)

func (w *world) recover() authority.Rotation {
	w.t.Helper()
	done, err := w.a.Recover(ctx, authority.Origin{At: w.at, Reason: "all were lost"})
	if err != nil {
		w.t.Fatalf("recover: %v", err)
	}
	return done
}

func TestRecover(t *testing.T) {
	t.Parallel()
	w := found(t)
	bare := w.founded.Credential.ID.String()
	done := w.recover()
	if done.ClientID != bare+"-2" || len(done.Previous) != 1 || !done.Previous[0].NotAfter.Equal(start.Add(credential.DefaultWindow)) {
		t.Errorf("= %+v", done)
	}
	w.accepts(true, w.founded.Secret, bare)
	w.accepts(true, done.Secret, bare)
	events, _, err := w.a.Audit(ctx, w.root, "", 100, authority.AuditFilter{Subject: bare + "-2"})
	if err != nil || len(events) != 1 || events[0].Action != "cluster.recover" || events[0].Reason != "all were lost" || events[0].Actor != "" {
		t.Errorf("audit: %+v, %v", events, err)
	}
	w.later(credential.DefaultWindow)
	w.accepts(false, w.founded.Secret, bare)
	w.accepts(true, done.Secret, bare)
	if _, err := empty(t, private).a.Recover(ctx, authority.Origin{At: start}); !errors.Is(err, access.ErrNotBootstrapped) {
		t.Errorf("before bootstrap: %v", err)
	}
}

func TestRecover_TheSharedOneIsRevoked(t *testing.T) {
	t.Parallel()
	w := found(t)
	spare := w.create(w.root, nil)
	by := w.caller(spare.client, spare.secret)
	w.mustRevoke(by, w.shared())
	if _, err := w.a.RotateShared(ctx, by, w.origin(by), authority.RotateRequest{}, authority.Once{}); !errors.Is(err, authority.ErrInput) {
		t.Errorf("a revoked one rotates: %v", err)
	}
	done := w.recover()
	if done.Version != 1 || done.Credential.Kind != credential.Shared || done.ClientID != done.Credential.ID.String()+"-1" || done.Credential.ID == w.founded.Credential.ID {
		t.Fatalf("= %+v", done)
	}
	root := w.caller(done.ClientID, done.Secret)
	if !root.Scopes.Allow(credential.Admin) {
		t.Errorf("scopes %v", root.Scopes)
	}
	shared, err := w.a.Shared(ctx, w.at)
	if err != nil || shared.ID != done.Credential.ID {
		t.Errorf("the shared one is %v, %v", shared, err)
	}
	w.accepts(false, w.founded.Secret, w.founded.Credential.ID.String()) // revoked is for ever
	w.reopen()
	next, err := w.a.RotateShared(ctx, root, w.origin(root), authority.RotateRequest{}, authority.Once{})
	if err != nil || next.ClientID != done.Credential.ID.String()+"-2" {
		t.Errorf("it rotates: %+v, %v", next, err)
	}
	// Once more is a rotation of the new one.
	if again := w.recover(); again.Credential.ID != done.Credential.ID || again.Version != 3 {
		t.Errorf("again: %+v", again)
	}
}

func TestApplyLicense(t *testing.T) {
	t.Parallel()
	v := newVendor(t)
	w := empty(t, func(o *authority.Options) { o.VendorKeys = []jwk.Key{v.public()} })
	first := v.license(start)
	if _, err := bootstrapAt(w, authority.BootstrapRequest{URL: issuer, License: first}, authority.Once{}); err != nil {
		t.Fatal(err)
	}
	apply := func(text []byte) error {
		_, err := w.a.ApplyLicense(ctx, authority.Origin{At: w.at}, text)
		return err
	}
	holds := func(text []byte) {
		t.Helper()
		l, err := w.a.License(ctx)
		want, err2 := license.Parse(text)
		if err != nil || err2 != nil || !l.Equal(want) {
			t.Errorf("another license holds: %+v, %v, %v", l, err, err2)
		}
	}
	before := w.head()
	if err := apply(first); err != nil || w.head() != before {
		t.Errorf("the one that holds: %v, %d records", err, w.head()-before)
	}
	w.later(day)
	renewed := v.license(start.Add(time.Hour), func(l *license.License) { l.MaxNodes = 10 })
	if err := apply(renewed); err != nil || w.head() != before+1 {
		t.Errorf("a renewal: %v", err)
	}
	holds(renewed)
	stranger := newVendor(t)
	for name, c := range map[string]struct {
		text []byte
		want error
	}{
		"Older":           {first, authority.ErrLicense},
		"AnotherCustomer": {v.license(start.Add(2*time.Hour), func(l *license.License) { l.CustomerID = stranger.cust }), authority.ErrLicense},
		"AnotherVendor":   {stranger.license(start.Add(2*time.Hour), func(l *license.License) { l.CustomerID = v.cust }), authority.ErrLicense},
		"Future":          {v.license(w.at.Add(time.Minute)), authority.ErrLicense},
		"Expired":         {v.license(start.Add(2*time.Hour), func(l *license.License) { l.ExpiresAt = w.at }), authority.ErrLicenseExpired},
		"Garbage":         {[]byte("nothing"), authority.ErrLicense},
	} {
		if err := apply(c.text); !errors.Is(err, c.want) || w.head() != before+1 {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	holds(renewed)
	w.reopen()
	holds(renewed)
}

// An expired license stops growth only.
func TestLicense_ExpiredStillServes(t *testing.T) {
	t.Parallel()
	v := newVendor(t)
	w := empty(t, func(o *authority.Options) { o.VendorKeys = []jwk.Key{v.public()} })
	done, err := bootstrapAt(w, authority.BootstrapRequest{URL: issuer, License: v.license(start)}, authority.Once{})
	if err != nil {
		t.Fatal(err)
	}
	w.founded = done
	w.later(400 * day)
	w.root = w.caller(done.Credential.ClientID(1), done.Secret)
	m := w.create(w.root, nil)
	w.rotate(w.root, w.shared(), authority.RotateRequest{Window: day})
	w.mustRevoke(w.root, m.target())
	w.recover()
}

func TestVouch(t *testing.T) {
	t.Parallel()
	w := found(t)
	next := newClient(t, "EdDSA").public()
	vouch := func(by access.Caller, k jwk.Key) error { return w.a.Vouch(ctx, by, w.origin(by), k) }
	weak := w.create(w.root, scopes(credential.CredentialsWrite))
	before := w.head()
	if err := vouch(w.caller(weak.client, weak.secret), *next); !errors.Is(err, access.ErrForbidden) {
		t.Errorf("without admin: %v", err)
	}
	if err := vouch(w.root, *newClient(t, "ES256").public()); !errors.Is(err, authority.ErrInput) {
		t.Errorf("ES256: %v", err)
	}
	if w.head() != before {
		t.Error("a refusal wrote")
	}
	for range 2 { // the second time changes nothing
		if err := vouch(w.root, *next); err != nil {
			t.Fatal(err)
		}
		if c, err := w.a.Cluster(ctx); err != nil || len(c.LedgerKeys) != 2 || !c.LedgerKeys[1].Equal(*next) || w.head() != before+1 {
			t.Fatalf("keys %v, %v, %d records", c.LedgerKeys, err, w.head()-before)
		}
	}
}
