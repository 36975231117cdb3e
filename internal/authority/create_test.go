package authority_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/token"
)

// client is a private_key_jwt client.
type client struct {
	t      testing.TB
	signer *token.Signer
}

func newClient(t testing.TB, alg string) client {
	t.Helper()
	var s *token.Signer
	var err error
	if alg == "EdDSA" {
		_, key, _ := ed25519.GenerateKey(nil)
		s, err = token.NewSigner(key)
	} else {
		key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		s, err = token.NewSigner(key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return client{t, s}
}

func (c client) public() *jwk.Key { k := c.signer.Key(); return &k }

// login shows an assertion that is good from now on.
func (c client) login(w *world, clientID, jti string) (access.Client, error) {
	c.t.Helper()
	text, err := c.signer.SignAssertion(token.Assertion{
		Issuer: clientID, Subject: clientID, Audience: issuer, ID: jti,
		IssuedAt: token.NumericDate(w.at.Unix()), ExpiresAt: token.NumericDate(w.at.Add(time.Minute).Unix()),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return w.a.Authenticate(ctx, w.at, access.Proof{ClientID: clientID, Assertion: text})
}

func TestCreate(t *testing.T) {
	t.Parallel()
	w := found(t)
	labels := map[string]string{"team": "billing"}
	done, err := w.a.Create(ctx, w.root, w.origin(w.root), authority.CreateRequest{
		Name: "till 4", Scopes: scopes(credential.PeersRead, "billing.read"), ExpiresIn: time.Hour, Labels: labels,
	}, authority.Once{})
	if err != nil {
		t.Fatal(err)
	}
	want := &credential.Credential{
		ID: done.Credential.ID, Name: "till 4", Kind: credential.Standard, Scopes: scopes(credential.PeersRead, "billing.read"),
		LicenseID: w.founded.LicenseID, CreatedAt: start, CreatedBy: w.founded.Credential.ClientID(1), ExpiresAt: start.Add(time.Hour),
		Labels: labels, Versions: []credential.Version{{Number: 1, CreatedAt: start, CreatedBy: w.founded.Credential.ClientID(1)}},
	}
	if diff := cmp.Diff(want, done.Credential); diff != "" {
		t.Errorf("returned: %s", diff)
	}
	joined := *w.credential(done.Credential.ID)
	if h := joined.Versions[0].Hash; h == nil || !h.Equal(done.Secret.Hash()) {
		t.Error("the hash is not that of the secret")
	}
	joined.Versions = want.Versions
	if diff := cmp.Diff(want, &joined); diff != "" {
		t.Errorf("joined: %s", diff)
	}
	// It gets in, and its tokens end with it.
	c := w.caller(done.Credential.ClientID(1), done.Secret)
	if !cmp.Equal(c.Scopes, want.Scopes) || c.Claims.ExpiresAt != start.Add(time.Hour).Unix() {
		t.Errorf("token %+v", c.Claims)
	}
	w.later(time.Hour)
	if _, err := w.authenticate(done.Credential.ClientID(1), done.Secret); !errors.Is(err, access.ErrRefused) {
		t.Errorf("at its end: %v", err)
	}
}

func TestCreate_Refuses(t *testing.T) {
	t.Parallel()
	w := found(t)
	reader := w.create(w.root, scopes(credential.CredentialsRead, credential.PeersWrite))
	writer := w.create(w.root, scopes(credential.CredentialsWrite, credential.PeersRead))
	many := map[string]string{}
	for i := range 17 {
		many[strings.Repeat("k", i+1)] = ""
	}
	before := w.head()
	for name, c := range map[string]struct {
		by   access.Caller
		r    authority.CreateRequest
		want error
	}{
		"WithoutTheScope":   {w.caller(reader.client, reader.secret), authority.CreateRequest{}, access.ErrForbidden},
		"BeyondTheCaller":   {w.caller(writer.client, writer.secret), authority.CreateRequest{Scopes: scopes(credential.PeersWrite)}, access.ErrForbidden},
		"Admin":             {w.caller(writer.client, writer.secret), authority.CreateRequest{Scopes: scopes(credential.Admin)}, access.ErrForbidden},
		"BeyondTheToken":    {w.caller(w.founded.Credential.ClientID(1), w.founded.Secret, "credentials.write"), authority.CreateRequest{Scopes: scopes(credential.PeersRead)}, access.ErrForbidden},
		"LedgerRead":        {w.root, authority.CreateRequest{Scopes: scopes(credential.LedgerRead)}, access.ErrForbidden},
		"BackwardsInTime":   {w.root, authority.CreateRequest{ExpiresIn: -1}, authority.ErrInput},
		"TooLong":           {w.root, authority.CreateRequest{ExpiresIn: 101 * 365 * day}, authority.ErrInput},
		"TooManyLabels":     {w.root, authority.CreateRequest{Labels: many}, credential.ErrInput},
		"NameThatSteers":    {w.root, authority.CreateRequest{Name: "a\x1b[2J"}, credential.ErrInput},
		"NameThatIsTooLong": {w.root, authority.CreateRequest{Name: strings.Repeat("n", 129)}, credential.ErrInput},
	} {
		if done, err := w.a.Create(ctx, c.by, w.origin(c.by), c.r, authority.Once{}); !errors.Is(err, c.want) || done.Credential != nil || !done.Secret.IsZero() {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if w.head() != before {
		t.Error("a refusal wrote")
	}
}

func TestCreate_GivesTheTokensScopesByDefault(t *testing.T) {
	t.Parallel()
	w := found(t)
	narrow := w.caller(w.founded.Credential.ClientID(1), w.founded.Secret, "credentials.write peers.read")
	m := w.create(narrow, nil)
	if got := w.credential(m.id).Scopes; !cmp.Equal(got, scopes(credential.CredentialsWrite, credential.PeersRead)) {
		t.Errorf("= %v", got)
	}
}

func TestCreate_WithAPublicKey(t *testing.T) {
	t.Parallel()
	w := found(t)
	key := newClient(t, "ES256")
	done, err := w.a.Create(ctx, w.root, w.origin(w.root), authority.CreateRequest{Scopes: scopes(credential.PeersRead), Key: key.public()}, authority.Once{})
	if err != nil || !done.Secret.IsZero() {
		t.Fatalf("%+v, %v", done, err)
	}
	name := done.Credential.ID.String()
	if c, err := key.login(w, name, "1"); err != nil || c.Version.Number != 1 {
		t.Fatalf("%v", err)
	}
	if _, err := key.login(w, name, "1"); !errors.Is(err, access.ErrRefused) {
		t.Errorf("a second time: %v", err)
	}
	if _, err := newClient(t, "ES256").login(w, name, "2"); !errors.Is(err, access.ErrRefused) {
		t.Errorf("another key: %v", err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	w := found(t)
	m := w.create(w.root, scopes(credential.PeersRead))
	peersOnly := w.caller(m.client, m.secret)
	if _, err := w.a.Find(ctx, peersOnly, w.at, m.target()); !errors.Is(err, access.ErrForbidden) {
		t.Errorf("without the scope: %v", err)
	}
	for _, name := range []string{m.id.String(), m.id.String() + "-1"} {
		if c, err := w.a.Find(ctx, w.root, w.at, clientID(t, name)); err != nil || c.ID != m.id {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{m.id.String() + "-2", "cli_00000000000000000000000000"} {
		if _, err := w.a.Find(ctx, w.root, w.at, clientID(t, name)); !errors.Is(err, authority.ErrNotKnown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	before := empty(t, private)
	if _, err := before.a.Find(ctx, w.root, w.at, m.target()); !errors.Is(err, access.ErrNotBootstrapped) {
		t.Errorf("before bootstrap: %v", err)
	}
}

func TestList_Pages(t *testing.T) {
	t.Parallel()
	w := found(t)
	want := []string{w.founded.Credential.ID.String()}
	revoked := map[string]bool{}
	for i := range 12 {
		w.later(time.Second)
		m := w.create(w.root, scopes(credential.PeersRead))
		want = append(want, m.id.String())
		if i%4 == 1 {
			revoked[m.id.String()] = true
			if err := w.a.Revoke(ctx, w.root, w.origin(w.root), m.target()); err != nil {
				t.Fatal(err)
			}
		}
	}
	living := slices.DeleteFunc(slices.Clone(want), func(s string) bool { return revoked[s] })
	for limit := 0; limit < 15; limit++ {
		for _, withRevoked := range []bool{false, true} {
			expected := living
			if withRevoked {
				expected = want
			}
			var got []string
			after := ""
			for {
				page, err := w.a.List(ctx, w.root, w.at, after, limit, withRevoked)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range page.Credentials {
					got = append(got, c.ID.String())
				}
				if page.Next != "" && len(page.Credentials) != max(limit, 1) {
					t.Fatalf("a page of %d that is not the last", len(page.Credentials))
				}
				if after = page.Next; after == "" {
					break
				}
			}
			if !cmp.Equal(got, expected) {
				t.Errorf("limit %d, revoked %t: %s", limit, withRevoked, cmp.Diff(expected, got))
			}
		}
	}
	m := w.create(w.root, scopes(credential.PeersRead))
	if _, err := w.a.List(ctx, w.caller(m.client, m.secret), w.at, "", 10, false); !errors.Is(err, access.ErrForbidden) {
		t.Errorf("without the scope: %v", err)
	}
}
