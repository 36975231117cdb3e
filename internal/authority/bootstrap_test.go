package authority_test

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/license"
)

const bootstrapToken = "a bootstrap token of a test"

func bootstrapAt(w *world, r authority.BootstrapRequest, once authority.Once) (authority.Bootstrapped, error) {
	return w.a.Bootstrap(ctx, authority.Origin{At: w.at, RequestID: "first"}, r, once)
}

// vendor is somebody who signs licenses.
type vendor struct {
	t    testing.TB
	key  ed25519.PrivateKey
	cust id.ID
}

func newVendor(t testing.TB) vendor {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return vendor{t, key, id.New(id.Customer, start)}
}

func (v vendor) public() jwk.Key {
	k, err := jwk.New(v.key.Public())
	if err != nil {
		v.t.Fatal(err)
	}
	return k
}

// license is good from an instant on, for a year, unless changed.
func (v vendor) license(from time.Time, change ...func(*license.License)) []byte {
	v.t.Helper()
	l := license.License{
		LicenseID: id.New(id.License, from), CustomerID: v.cust, IssuedAt: from, ExpiresAt: from.Add(365 * day), MaxNodes: 3, MaxServices: 4,
	}
	for _, c := range change {
		c(&l)
	}
	l, err := license.Issue(v.key, l)
	if err != nil {
		v.t.Fatal(err)
	}
	text, err := l.MarshalJSON()
	if err != nil {
		v.t.Fatal(err)
	}
	return text
}

func TestBootstrap_OwnVendor(t *testing.T) {
	t.Parallel()
	w := empty(t, private)
	if _, err := w.a.Cluster(ctx); !errors.Is(err, access.ErrNotBootstrapped) {
		t.Fatalf("before: %v", err)
	}
	done, err := bootstrapAt(w, authority.BootstrapRequest{URL: issuer}, authority.Once{})
	if err != nil {
		t.Fatal(err)
	}
	if done.Credential.Kind != credential.Shared || done.Secret.IsZero() || !cmp.Equal(done.Credential.Scopes, scopes(credential.Admin)) {
		t.Errorf("= %+v", done.Credential)
	}
	c, err := w.a.Cluster(ctx)
	if err != nil || c.ID != done.ClusterID || c.Issuer != issuer || c.Home != "local" || c.Authority("local") != done.PeerID || w.a.Self() != done.PeerID {
		t.Fatalf("cluster %+v, %v", c, err)
	}
	if len(c.LedgerKeys) != 1 || !c.LedgerKeys[0].Equal(w.custody.LedgerKey()) || len(c.JWKS().Keys) != 1 || c.JWKS().Keys[0].Alg() != "ES256" {
		t.Errorf("keys %v, %v", c.LedgerKeys, c.JWKS())
	}
	l, err := w.a.License(ctx)
	if err != nil || l.LicenseID != done.LicenseID || l.Verify(c.LedgerKeys) != nil {
		t.Errorf("license %+v, %v", l, err)
	}
	// The returned credential is what the join says.
	w.founded = done
	joined := *w.credential(done.Credential.ID)
	if joined.Versions[0].Hash == nil || !joined.Versions[0].Hash.Equal(done.Secret.Hash()) {
		t.Error("the hash is not there")
	}
	joined.Versions = []credential.Version{{Number: 1, CreatedAt: start}}
	if diff := cmp.Diff(&joined, done.Credential); diff != "" {
		t.Errorf("joined(-) and returned(+): %s", diff)
	}
	// Tokens work at once, and name the cluster, the peer and the version.
	caller := w.caller(done.Credential.ClientID(1), done.Secret)
	if got := caller.Claims; got.Issuer != issuer || got.ClusterID != done.ClusterID.String() || got.PeerID != done.PeerID.String() || got.Version != 1 {
		t.Errorf("claims %+v", got)
	}
	if w.head() != 6 {
		t.Errorf("%d records", w.head())
	}
}

func TestBootstrap_Once(t *testing.T) {
	t.Parallel()
	w := found(t)
	before := w.head()
	for _, restart := range []bool{false, true} {
		if restart {
			w.reopen()
		}
		done, err := bootstrapAt(w, authority.BootstrapRequest{URL: issuer}, authority.Once{})
		if !errors.Is(err, authority.ErrAlreadyBootstrapped) || !done.Secret.IsZero() {
			t.Errorf("restart=%t: %v", restart, err)
		}
	}
	if w.head() != before {
		t.Error("it wrote")
	}
}

func TestBootstrap_ManyAtOnceFoundOneCluster(t *testing.T) {
	t.Parallel()
	w := empty(t, private)
	other := *w // another process over the same store
	other.over(w.file)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		won  []authority.Bootstrapped
		lost int
	)
	for i := range 8 {
		a := w.a
		if i%2 == 1 {
			a = other.a
		}
		wg.Go(func() {
			done, err := a.Bootstrap(ctx, authority.Origin{At: start}, authority.BootstrapRequest{URL: issuer}, authority.Once{})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won = append(won, done)
			case errors.Is(err, authority.ErrAlreadyBootstrapped) && done.Secret.IsZero():
				lost++
			default:
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 || lost != 7 {
		t.Fatalf("%d won, %d lost", len(won), lost)
	}
	for name, a := range map[string]*authority.Authority{"A": w.a, "B": other.a} { // both know it by now
		if c, err := a.Cluster(ctx); err != nil || c.ID != won[0].ClusterID {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An instance that was there before the cluster sees it.
func TestBootstrap_ByAnotherInstance(t *testing.T) {
	t.Parallel()
	w := empty(t, private)
	other := *w
	other.over(w.file)
	w.bootstrap()
	c, err := other.a.Cluster(ctx)
	if err != nil || c.ID != w.founded.ClusterID || other.a.Self() != w.founded.PeerID {
		t.Fatalf("%v", err)
	}
	other.accepts(true, w.founded.Secret, w.founded.Credential.ID.String())
	if _, err := bootstrapAt(&other, authority.BootstrapRequest{URL: issuer}, authority.Once{}); !errors.Is(err, authority.ErrAlreadyBootstrapped) {
		t.Errorf("a second time: %v", err)
	}
}

func TestBootstrap_WhoMay(t *testing.T) {
	t.Parallel()
	v := newVendor(t)
	tokened := func(o *authority.Options) { o.BootstrapToken = bootstrapToken }
	digested := func(o *authority.Options) { o.BootstrapToken = authority.BootstrapDigest(bootstrapToken) }
	vendored := func(o *authority.Options) { o.VendorKeys = []jwk.Key{v.public()} }
	signed := v.license(start)
	for name, c := range map[string]struct {
		options []func(*authority.Options)
		request authority.BootstrapRequest
		want    error
	}{
		"OwnVendorReachable":         {nil, authority.BootstrapRequest{}, authority.ErrBootstrapToken},
		"OwnVendorReachableAndToken": {nil, authority.BootstrapRequest{Token: bootstrapToken}, authority.ErrBootstrapToken},
		"OwnVendorPrivate":           {[]func(*authority.Options){private}, authority.BootstrapRequest{}, nil},
		"OwnVendorGivenALicense":     {[]func(*authority.Options){private}, authority.BootstrapRequest{License: signed}, authority.ErrLicense},
		"Token":                      {[]func(*authority.Options){tokened}, authority.BootstrapRequest{Token: bootstrapToken}, nil},
		"Digest":                     {[]func(*authority.Options){digested}, authority.BootstrapRequest{Token: bootstrapToken}, nil},
		"DigestItself":               {[]func(*authority.Options){digested}, authority.BootstrapRequest{Token: authority.BootstrapDigest(bootstrapToken)}, authority.ErrBootstrapToken},
		"DigestAndTokenWrong":        {[]func(*authority.Options){digested}, authority.BootstrapRequest{Token: bootstrapToken + "x"}, authority.ErrBootstrapToken},
		"DigestAndTokenMissing":      {[]func(*authority.Options){digested, private}, authority.BootstrapRequest{}, authority.ErrBootstrapToken},
		"TokenMissing":               {[]func(*authority.Options){tokened}, authority.BootstrapRequest{}, authority.ErrBootstrapToken},
		"TokenMissingThoughPrivate":  {[]func(*authority.Options){tokened, private}, authority.BootstrapRequest{}, authority.ErrBootstrapToken},
		"TokenWrong":                 {[]func(*authority.Options){tokened, vendored}, authority.BootstrapRequest{Token: bootstrapToken + "x", License: signed}, authority.ErrBootstrapToken},
		"TokenCutOff":                {[]func(*authority.Options){tokened}, authority.BootstrapRequest{Token: bootstrapToken[:3]}, authority.ErrBootstrapToken},
		"License":                    {[]func(*authority.Options){vendored}, authority.BootstrapRequest{License: signed}, nil},
		"LicenseMissing":             {[]func(*authority.Options){vendored, private}, authority.BootstrapRequest{}, authority.ErrLicense},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := empty(t, c.options...)
			c.request.URL = issuer
			done, err := bootstrapAt(w, c.request, authority.Once{})
			if !errors.Is(err, c.want) {
				t.Fatalf("= %v, want %v", err, c.want)
			}
			if err != nil && (!done.Secret.IsZero() || w.head() != 0) {
				t.Errorf("refused, and yet %+v, %d records", done, w.head())
			}
		})
	}
}

func TestBootstrap_Licenses(t *testing.T) {
	t.Parallel()
	v, stranger := newVendor(t), newVendor(t)
	good := v.license(start)
	var tampered map[string]any
	if err := json.Unmarshal(good, &tampered); err != nil {
		t.Fatal(err)
	}
	tampered["max_nodes"] = 1000
	grown, err := json.Marshal(tampered)
	if err != nil {
		t.Fatal(err)
	}
	only := v.license(start)
	parsed, err := license.Parse(only)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text []byte
		only id.ID
		want error
	}{
		"Good":               {good, "", nil},
		"Stranger":           {stranger.license(start), "", authority.ErrLicense},
		"Tampered":           {grown, "", authority.ErrLicense},
		"Garbage":            {[]byte("{"), "", authority.ErrLicense},
		"Future":             {v.license(start.Add(access.Leeway + time.Second)), "", authority.ErrLicense},
		"FutureWithinLeeway": {v.license(start.Add(access.Leeway)), "", nil},
		"Expired":            {v.license(start.Add(-366 * day)), "", authority.ErrLicenseExpired},
		"ExpiresNow":         {v.license(start.Add(-365 * day)), "", authority.ErrLicenseExpired},
		"LastSecond":         {v.license(start.Add(time.Second - 365*day)), "", nil},
		"TheOne":             {only, parsed.LicenseID, nil},
		"NotTheOne":          {good, parsed.LicenseID, authority.ErrLicense},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := empty(t, func(o *authority.Options) {
				o.VendorKeys, o.LicenseID = []jwk.Key{stranger.public(), v.public()}[1:], c.only
			})
			_, err := bootstrapAt(w, authority.BootstrapRequest{URL: issuer, License: c.text}, authority.Once{})
			if !errors.Is(err, c.want) || err != nil && w.head() != 0 {
				t.Errorf("= %v, want %v; %d records", err, c.want, w.head())
			}
		})
	}
}

func TestBootstrap_Issuer(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "auth.example", "ftp://auth.example", "https://", "https://auth.example/", "https://a.example?x=1", "https://a.example#x",
		"https://user@a.example", "https:/a.example", "https://a.example?", "https://a.example#", "https://%zz", "https://a.example/x/",
	} {
		if err := authority.CheckIssuer(bad); !errors.Is(err, authority.ErrInput) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, good := range []string{"https://auth.example", "http://127.0.0.1:8080", "https://a.example/prod"} {
		if err := authority.CheckIssuer(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	w := empty(t, private)
	if _, err := bootstrapAt(w, authority.BootstrapRequest{URL: issuer + "/"}, authority.Once{}); !errors.Is(err, authority.ErrInput) || w.head() != 0 {
		t.Errorf("called at a bad address: %v", err)
	}
	set := empty(t, private, func(o *authority.Options) { o.Issuer = "https://set.example" })
	set.bootstrap()
	if c, err := set.a.Cluster(ctx); err != nil || c.Issuer != "https://set.example" {
		t.Errorf("the setting does not win: %v", err)
	}
	// Afterwards the ledger says it, whatever the setting.
	set.reopen(func(o *authority.Options) { o.Issuer = "https://changed.example" })
	if c, err := set.a.Cluster(ctx); err != nil || c.Issuer != "https://set.example" {
		t.Errorf("it moved: %v", err)
	}
}

func TestBootstrap_ReplayNeedsTheToken(t *testing.T) {
	t.Parallel()
	w := empty(t, func(o *authority.Options) { o.BootstrapToken = bootstrapToken })
	once := onceFor("bootstrap", "the request", "0")
	r := authority.BootstrapRequest{URL: issuer, Token: bootstrapToken}
	done, err := bootstrapAt(w, r, once)
	if err != nil {
		t.Fatal(err)
	}
	w.later(23 * time.Hour)
	replays(t, once, done.Secret, func() error { _, err := bootstrapAt(w, r, once); return err }())
	r.Token = ""
	if _, err := bootstrapAt(w, r, once); !errors.Is(err, authority.ErrBootstrapToken) {
		t.Errorf("without the token: %v", err)
	}
	r.Token = bootstrapToken
	once.Request = []byte("another request")
	if _, err := bootstrapAt(w, r, once); !errors.Is(err, authority.ErrMismatch) {
		t.Errorf("another request: %v", err)
	}
	once.Request = []byte("the request")
	w.later(time.Hour)
	if _, err := bootstrapAt(w, r, once); !errors.Is(err, authority.ErrAlreadyBootstrapped) {
		t.Errorf("after 24 h: %v", err)
	}
}

func TestOpen_AnotherLedgerKey(t *testing.T) {
	t.Parallel()
	w := found(t)
	_, err := authority.Open(ctx, w.file, newCustody(t), w.o)
	if err == nil || !strings.Contains(err.Error(), "ledger.key") {
		t.Errorf("a foreign ledger key: %v", err)
	}
}
