package httpapi_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/e2e"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/license"
)

// vendor sells licenses.
type vendor struct {
	t       *testing.T
	private ed25519.PrivateKey
	key     jwk.Key
}

func newVendor(t *testing.T) vendor {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwk.New(public)
	if err != nil {
		t.Fatal(err)
	}
	return vendor{t, private, key}
}

// sell returns a license as a file's text.
func (v vendor) sell(customer id.ID, from, until time.Time) string {
	v.t.Helper()
	l, err := license.Issue(v.private, license.License{
		LicenseID: id.New(id.License, from), CustomerID: customer, IssuedAt: from, ExpiresAt: until, MaxNodes: 3, MaxServices: 3,
	})
	if err != nil {
		v.t.Fatal(err)
	}
	text, err := l.MarshalJSON()
	if err != nil {
		v.t.Fatal(err)
	}
	return string(text)
}

func TestServer_License(t *testing.T) {
	t.Parallel()
	ours, theirs := newVendor(t), newVendor(t)
	f := newFixture(t, setup{bare: true, options: authority.Options{VendorKeys: []jwk.Key{ours.key}}})
	day := 24 * time.Hour
	at := f.clock.Now()
	customer, other := id.New(id.Customer, at), id.New(id.Customer, at.Add(time.Second))
	good := ours.sell(customer, at.Add(-day), at.Add(day))
	boot := func(status int, code, text string) {
		t.Helper()
		if a := f.Want(status, "POST", "/v1/bootstrap", e2e.JSON(text)); a.Text("code") != code {
			t.Errorf("bootstrap: %s", a.Body)
		}
	}
	boot(400, "LICENSE_INVALID", `{}`)
	boot(400, "LICENSE_INVALID", ``)
	boot(400, "LICENSE_INVALID", theirs.sell(customer, at.Add(-day), at.Add(day)))
	boot(400, "LICENSE_INVALID", strings.Replace(good, `"max_nodes":3`, `"max_nodes":4`, 1))
	boot(400, "LICENSE_INVALID", strings.Replace(good, `{`, `{"more":1,`, 1))
	boot(400, "LICENSE_INVALID", good+good)
	boot(400, "LICENSE_INVALID", ours.sell(customer, at.Add(time.Minute), at.Add(day)))
	boot(403, "LICENSE_EXPIRED", ours.sell(customer, at.Add(-2*day), at.Add(-time.Hour)))
	f.Want(503, "GET", "/v1/cluster/identity")
	a := f.Want(201, "POST", "/v1/bootstrap", e2e.JSON(good))
	f.id, f.secret = a.Text("client_id"), a.Text("client_secret")

	apply := func(status int, code, text string) {
		t.Helper()
		f.unchanged("a license that is refused", func() {
			if a := f.Want(status, "PUT", "/v1/license", e2e.Bearer(f.admin()), e2e.JSON(text)); a.Text("code") != code {
				t.Errorf("apply: %s", a.Body)
			}
		})
	}
	apply(400, "LICENSE_INVALID", ours.sell(other, at, at.Add(9*day)))
	apply(400, "LICENSE_INVALID", ours.sell(customer, at.Add(-2*day), at.Add(9*day)))
	apply(400, "LICENSE_INVALID", theirs.sell(customer, at, at.Add(9*day)))
	apply(403, "LICENSE_EXPIRED", ours.sell(customer, at.Add(-time.Hour), at.Add(-time.Minute)))
	apply(200, "", good) // the one that holds

	// An expired license stops growth only.
	f.clock.Advance(2 * day)
	token := e2e.Bearer(f.admin())
	f.Want(201, "POST", "/v1/credentials", token)
	f.Want(200, "POST", "/v1/cluster/credentials/rotate", token, e2e.JSON(`{"window_seconds":600}`))
	apply(403, "LICENSE_EXPIRED", good)
	next := ours.sell(customer, f.clock.Now(), f.clock.Now().Add(day))
	got := f.Want(200, "PUT", "/v1/license", token, e2e.JSON(next))
	if diff := cmp.Diff(next, string(got.Body)); diff != "" {
		t.Error(diff)
	}
	if id := f.Want(200, "GET", "/v1/cluster/identity").Text("license_id"); id != got.Text("license_id") {
		t.Errorf("the identity has license %s", id)
	}
}

func TestServer_TakesOnlyTheLicenseItWasTold(t *testing.T) {
	t.Parallel()
	v := newVendor(t)
	at := newClock().Now()
	text := v.sell(id.New(id.Customer, at), at, at.Add(time.Hour))
	l, err := license.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, setup{bare: true, options: authority.Options{VendorKeys: []jwk.Key{v.key}, LicenseID: l.LicenseID}})
	f.Want(400, "POST", "/v1/bootstrap", e2e.JSON(v.sell(l.CustomerID, at, at.Add(time.Hour))))
	f.Want(201, "POST", "/v1/bootstrap", e2e.JSON(text))
}

// A ledger key is vouched for once; only Ed25519 can be one.
func TestServer_Vouch(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	token, v := e2e.Bearer(f.admin()), newVendor(t)
	body := e2e.JSON(map[string]any{"public_key": v.key, "reason": "moving"})
	for range 2 {
		f.Want(201, "POST", "/v1/ledger-keys", token, body)
	}
	var identity struct {
		Keys []jwk.Key `json:"ledger_keys"`
	}
	f.Want(200, "GET", "/v1/cluster/identity").Into(t, &identity)
	if len(identity.Keys) != 2 || !identity.Keys[1].Equal(v.key) {
		t.Errorf("%v", identity.Keys)
	}
	trail := string(f.Want(200, "GET", "/v1/audit?subject="+v.key.ID(), token).Body)
	if strings.Count(trail, `"key.publish"`) != 1 || !strings.Contains(trail, `"reason":"moving"`) {
		t.Errorf("%s", trail)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwk.New(ec.Public())
	if err != nil {
		t.Fatal(err)
	}
	f.refuse("vouch", []wrong{{"P-256", 400, "INVALID_REQUEST", "POST", "/v1/ledger-keys", []e2e.Option{token, e2e.JSON(map[string]any{"public_key": key})}}})
}
