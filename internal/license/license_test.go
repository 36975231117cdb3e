package license_test

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gowebpki/jcs"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/license"
	"github.com/keyturn/keyturn/internal/testkey"
)

const (
	licenseID  id.ID = "lic_01h455vb4pex5vsknk084sn02q"
	customerID id.ID = "cust_01h455vb4pex5vsknk084sn02q"
)

var (
	issued  = time.Date(2026, 1, 31, 23, 59, 58, 0, time.UTC)
	expires = time.Date(2027, 1, 31, 23, 59, 58, 0, time.UTC)
)

func vendor(t testing.TB, seed string) jwk.Key {
	t.Helper()
	k, err := jwk.New(testkey.Ed25519(seed).Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ecVendor(t testing.TB) jwk.Key {
	t.Helper()
	k, err := jwk.New(testkey.P256("ec").Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func plain() license.License {
	return license.License{
		LicenseID: licenseID, CustomerID: customerID, IssuedAt: issued, ExpiresAt: expires, MaxNodes: 25, MaxServices: 100,
	}
}

func issue(t testing.TB, seed string, l license.License) license.License {
	t.Helper()
	l, err := license.Issue(testkey.Ed25519(seed), l)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func text(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// signedText signs the members of doc as a vendor would who has never seen this code.
func signedText(t testing.TB, seed, canonical string) string {
	t.Helper()
	sig := ed25519.Sign(testkey.Ed25519(seed), []byte(canonical))
	return strings.TrimSuffix(canonical, "}") + `,"signature":"` + base64.RawURLEncoding.EncodeToString(sig) + `"}`
}

func TestLicense_Golden(t *testing.T) {
	t.Parallel()
	const (
		canonical = `{"customer_id":"cust_01h455vb4pex5vsknk084sn02q","expires_at":"2027-01-31T23:59:58Z",` +
			`"issued_at":"2026-01-31T23:59:58Z","key_id":"g5OEuWEKc7jBlQvYyXK5Y3KDFVa4MJcYGUuixsHcFpk",` +
			`"license_id":"lic_01h455vb4pex5vsknk084sn02q","max_nodes":25,"max_services":100}`
		golden = `{"license_id":"lic_01h455vb4pex5vsknk084sn02q","customer_id":"cust_01h455vb4pex5vsknk084sn02q",` +
			`"issued_at":"2026-01-31T23:59:58Z","expires_at":"2027-01-31T23:59:58Z","max_nodes":25,"max_services":100,` +
			`"key_id":"g5OEuWEKc7jBlQvYyXK5Y3KDFVa4MJcYGUuixsHcFpk",` +
			`"signature":"mNtY5QsN76pCzBND3PMqJd9BasHgLrSo049NTr_uwcO6fuhWrN14BCsmeNm5CAqoPgM1x0ZUB5WVMMpBObvdAw"}`
	)
	l := issue(t, "golden", plain())
	if got := text(t, l); got != golden {
		t.Errorf("wrote %s", got)
	}
	pub := testkey.Ed25519("golden").Public().(ed25519.PublicKey)
	if !ed25519.Verify(pub, []byte(canonical), l.Signature) {
		t.Error("the signature is not over the canonical form")
	}
	parsed, err := license.Parse([]byte(golden))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l, parsed); diff != "" {
		t.Error(diff)
	}
	if err := parsed.Verify([]jwk.Key{vendor(t, "golden")}); err != nil {
		t.Error(err)
	}
}

func TestIssue_FillsInKeyAndCutsTimes(t *testing.T) {
	t.Parallel()
	l := plain()
	l.IssuedAt = issued.Add(999 * time.Millisecond).In(time.FixedZone("east", 7200))
	l.ExpiresAt = expires.Add(time.Nanosecond)
	l.KeyID, l.Signature = "old", []byte("old")
	got := issue(t, "a", l)
	if got.IssuedAt != issued || got.ExpiresAt != expires {
		t.Errorf("from %s to %s", got.IssuedAt, got.ExpiresAt)
	}
	if got.KeyID != vendor(t, "a").ID() || len(got.Signature) != 64 {
		t.Errorf("key %s, signature of %d bytes", got.KeyID, len(got.Signature))
	}
	if !got.Equal(issue(t, "a", plain())) {
		t.Error("it is another license")
	}
}

func TestIssue_Refuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*license.License){
		"NoLicenseID":     func(l *license.License) { l.LicenseID = "" },
		"LicenseIDOfKind": func(l *license.License) { l.LicenseID = customerID },
		"NoCustomerID":    func(l *license.License) { l.CustomerID = "" },
		"CustomerOfKind":  func(l *license.License) { l.CustomerID = licenseID },
		"NoTimes":         func(l *license.License) { l.IssuedAt, l.ExpiresAt = time.Time{}, time.Time{} },
		"Before1970":      func(l *license.License) { l.IssuedAt = time.Unix(-1, 0) },
		"After9999":       func(l *license.License) { l.ExpiresAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"ExpiresAtOnce":   func(l *license.License) { l.ExpiresAt = l.IssuedAt.Add(999 * time.Millisecond) },
		"ExpiresBefore":   func(l *license.License) { l.ExpiresAt = l.IssuedAt.Add(-time.Second) },
		"NegativeNodes":   func(l *license.License) { l.MaxNodes = -1 },
		"NegativeService": func(l *license.License) { l.MaxServices = -1 },
		"TooManyNodes":    func(l *license.License) { l.MaxNodes = 1 << 53 },
		"TooManyServices": func(l *license.License) { l.MaxServices = 1 << 53 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := plain()
			change(&l)
			if got, err := license.Issue(testkey.Ed25519("a"), l); !errors.Is(err, license.ErrMalformed) || got.Signature != nil {
				t.Errorf("Issue = %+v, %v", got, err)
			}
			if err := l.Verify([]jwk.Key{vendor(t, "a")}); !errors.Is(err, license.ErrMalformed) && name != "ExpiresAtOnce" {
				t.Errorf("Verify = %v", err)
			}
		})
	}
}

// oddSigner shows one key and signs with another, or not at all.
type oddSigner struct {
	shown  crypto.PublicKey
	signer crypto.Signer
	err    error
}

func (o oddSigner) Public() crypto.PublicKey { return o.shown }

func (o oddSigner) Sign(r io.Reader, b []byte, opts crypto.SignerOpts) ([]byte, error) {
	if o.err != nil {
		return nil, o.err
	}
	return o.signer.Sign(r, b, opts)
}

func TestIssue_TakesAnyEd25519Signer(t *testing.T) {
	t.Parallel()
	a := testkey.Ed25519("a")
	l, err := license.Issue(oddSigner{shown: a.Public(), signer: a}, plain())
	if err != nil || !l.Equal(issue(t, "a", plain())) {
		t.Errorf("behind an interface: %+v, %v", l, err)
	}
	broken := errors.New("broken")
	for name, row := range map[string]struct {
		signer crypto.Signer
		want   error
	}{
		"None":         {nil, license.ErrMalformed},
		"Short":        {a[:63], license.ErrMalformed},
		"Empty":        {ed25519.PrivateKey(nil), license.ErrMalformed},
		"P256":         {testkey.P256("ec"), license.ErrMalformed},
		"ShortPublic":  {oddSigner{shown: ed25519.PublicKey("short")}, license.ErrMalformed},
		"WrongKey":     {oddSigner{shown: a.Public(), signer: testkey.Ed25519("b")}, license.ErrUntrusted},
		"FailsToSign":  {oddSigner{shown: a.Public(), err: broken}, broken},
		"ShowsNothing": {oddSigner{}, license.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if l, err := license.Issue(row.signer, plain()); !errors.Is(err, row.want) || !l.Equal(license.License{}) {
				t.Errorf("= %+v, %v", l, err)
			}
		})
	}
}

func TestVerify_TriesTheKeyNamed(t *testing.T) {
	t.Parallel()
	a, b := vendor(t, "a"), vendor(t, "b")
	l := issue(t, "a", plain())
	if err := l.Verify([]jwk.Key{ecVendor(t), b, a}); err != nil {
		t.Error(err)
	}
	named := l
	named.KeyID = b.ID()
	for name, row := range map[string]struct {
		l       license.License
		vendors []jwk.Key
		words   string
	}{
		"NoKeys":        {l, nil, "not one of the trusted"},
		"ZeroKey":       {l, []jwk.Key{{}}, "not one of the trusted"},
		"OtherKey":      {l, []jwk.Key{b}, "not one of the trusted"},
		"OtherKeyNamed": {named, []jwk.Key{a, b}, "does not fit"},
		"NoSignature":   {plain(), []jwk.Key{a}, "does not fit"},
		"NoKeysAtAll":   {plain(), []jwk.Key{ecVendor(t)}, "no trusted vendor key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := row.l.Verify(row.vendors)
			if !errors.Is(err, license.ErrUntrusted) || !strings.Contains(err.Error(), row.words) {
				t.Errorf("= %v", err)
			}
		})
	}
}

// A vendor's own program, which writes no key_id and knows nothing of this package.
func TestVerify_WithoutKeyIDTriesAll(t *testing.T) {
	t.Parallel()
	doc := signedText(t, "b", `{"customer_id":"`+string(customerID)+`","expires_at":"2027-01-31T23:59:58Z",`+
		`"issued_at":"2026-01-31T23:59:58Z","license_id":"`+string(licenseID)+`","max_nodes":25,"max_services":100}`)
	l, err := license.Parse([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	if l.KeyID != "" {
		t.Errorf("key %q", l.KeyID)
	}
	if err := l.Verify([]jwk.Key{vendor(t, "a"), ecVendor(t), vendor(t, "b")}); err != nil {
		t.Error(err)
	}
	if err := l.Verify([]jwk.Key{vendor(t, "a")}); !errors.Is(err, license.ErrUntrusted) {
		t.Errorf("another vendor: %v", err)
	}
	if strings.Contains(text(t, l), "key_id") {
		t.Error("key_id is written where there is none")
	}
}

func TestVerify_CoversEveryMember(t *testing.T) {
	t.Parallel()
	vendors := []jwk.Key{vendor(t, "a")}
	for name, change := range map[string]func(*license.License){
		"LicenseID":   func(l *license.License) { l.LicenseID = id.First(id.License, issued) },
		"CustomerID":  func(l *license.License) { l.CustomerID = id.First(id.Customer, issued) },
		"IssuedAt":    func(l *license.License) { l.IssuedAt = l.IssuedAt.Add(time.Second) },
		"ExpiresAt":   func(l *license.License) { l.ExpiresAt = l.ExpiresAt.Add(time.Second) },
		"MaxNodes":    func(l *license.License) { l.MaxNodes++ },
		"MaxServices": func(l *license.License) { l.MaxServices++ },
		"KeyID":       func(l *license.License) { l.KeyID = "" },
		"Signature":   func(l *license.License) { l.Signature = append([]byte{l.Signature[0] ^ 1}, l.Signature[1:]...) },
		"ShortSig":    func(l *license.License) { l.Signature = l.Signature[:63] },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := issue(t, "a", plain())
			change(&l)
			if err := l.Verify(vendors); !errors.Is(err, license.ErrUntrusted) {
				t.Errorf("= %v", err)
			}
			if l.Equal(issue(t, "a", plain())) {
				t.Error("Equal does not see the change")
			}
		})
	}
}

// A fraction of a second is not under the signature, so nobody may take it from a license.
func TestVerify_RefusesFractions(t *testing.T) {
	t.Parallel()
	l := issue(t, "a", plain())
	l.ExpiresAt = l.ExpiresAt.Add(time.Nanosecond)
	if err := l.Verify([]jwk.Key{vendor(t, "a")}); !errors.Is(err, license.ErrMalformed) {
		t.Errorf("= %v", err)
	}
}

func TestLicense_ExpiredAtTheVeryInstant(t *testing.T) {
	t.Parallel()
	l := plain()
	for at, want := range map[time.Time]bool{
		issued:                                false,
		expires.Add(-time.Nanosecond):         false,
		expires:                               true,
		expires.In(time.FixedZone("x", 3600)): true,
		expires.Add(time.Hour):                true,
	} {
		if got := l.Expired(at); got != want {
			t.Errorf("Expired(%s) = %v", at, got)
		}
	}
}

func TestLicense_RenewsSameCustomerNotOlder(t *testing.T) {
	t.Parallel()
	old, next := plain(), plain()
	next.LicenseID = id.First(id.License, expires)
	if err := next.Renews(old); err != nil {
		t.Errorf("issued at the same instant: %v", err)
	}
	next.IssuedAt = issued.Add(time.Second)
	if err := next.Renews(old); err != nil {
		t.Errorf("issued later: %v", err)
	}
	if err := old.Renews(next); err == nil {
		t.Error("an older license renews a newer one")
	}
	next.CustomerID = id.First(id.Customer, issued)
	if err := next.Renews(old); err == nil {
		t.Error("another customer's license renews this one")
	}
}

func TestLicense_RoundTrips(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		second := rapid.Int64Range(0, 253402300798)
		from := second.Draw(rt, "from")
		limit := rapid.IntRange(0, 1<<53-1)
		want := issue(t, "a", license.License{
			LicenseID:   id.New(id.License, issued),
			CustomerID:  id.New(id.Customer, issued),
			IssuedAt:    time.Unix(from, 0).UTC(),
			ExpiresAt:   time.Unix(rapid.Int64Range(from+1, 253402300799).Draw(rt, "to"), 0).UTC(),
			MaxNodes:    limit.Draw(rt, "nodes"),
			MaxServices: limit.Draw(rt, "services"),
		})
		got, err := license.Parse([]byte(text(t, want)))
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatal(diff)
		}
		if err := got.Verify([]jwk.Key{vendor(t, "a")}); err != nil {
			rt.Fatal(err)
		}
		canonical, err := jcs.Transform([]byte(text(t, want)))
		if err != nil {
			rt.Fatal(err)
		}
		if again, err := license.Parse(canonical); err != nil || !again.Equal(want) {
			rt.Fatalf("in another order: %v", err)
		}
	})
}
