package authority

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/license"
	"github.com/keyturn/keyturn/internal/peer"
)

// BootstrapRequest founds a cluster.
type BootstrapRequest struct {
	License []byte // as its vendor signed it; empty where the authority is its own vendor
	Token   string // the bootstrap token
	URL     string // the base URL that was called: the issuer, unless the settings name one
}

// Bootstrapped is the outcome of a bootstrap. The secret is shown this once.
type Bootstrapped struct {
	ClusterID  id.ID
	PeerID     id.ID
	LicenseID  id.ID
	Credential *credential.Credential
	Secret     credential.Secret
}

// Bootstrap founds the cluster with its license, its first token key, and the shared credential. It returns
// ErrBootstrapToken, ErrAlreadyBootstrapped, ErrLicense, ErrLicenseExpired, ErrInput, ErrMismatch or a *Replayed.
func (a *Authority) Bootstrap(ctx context.Context, o Origin, r BootstrapRequest, once Once) (Bootstrapped, error) {
	if err := a.MayBootstrap(r.Token); err != nil {
		return Bootstrapped{}, err
	}
	if err := a.Replay(ctx, o.At, once); err != nil {
		return Bootstrapped{}, err
	}
	if a.cluster.Load() != nil {
		return Bootstrapped{}, ErrAlreadyBootstrapped
	}
	issuer := a.o.Issuer
	if issuer == "" {
		issuer = r.URL
	}
	if err := CheckIssuer(issuer); err != nil {
		return Bootstrapped{}, err
	}
	l, err := a.foundingLicense(ctx, o.At, r.License)
	if err != nil {
		return Bootstrapped{}, err
	}
	key, err := a.tokenKey(ctx)
	if err != nil {
		return Bootstrapped{}, err
	}
	first, err := a.custody.Found(ctx)
	if err != nil {
		return Bootstrapped{}, hidden("make the ledger key", err)
	}
	f := founding{a: a, license: l, issuer: issuer, key: key, first: first}
	var done Bootstrapped
	err = a.commit(ctx, o, change{
		once: once, touches: []string{"bootstrap"},
		decide: func(ctx context.Context, d *draft) (err error) {
			heads, err := a.store.Heads(ctx)
			switch {
			case err != nil:
				return unavailable("read the heads", err)
			case len(heads) > 0:
				return ErrAlreadyBootstrapped
			}
			if done, err = f.draft(d); err != nil {
				return err
			}
			return a.keep(ctx, d, once, done)
		},
	})
	if err != nil {
		return Bootstrapped{}, err
	}
	_, _ = a.Cluster(ctx) // where it cannot be read now, the next call does: nobody loses the answer over it
	return done, nil
}

// digestPrefix begins a bootstrap token of which only the digest is known.
const digestPrefix = "sha256:"

// BootstrapDigest is what Options.BootstrapToken can be in place of a token: "sha256:" and the token's SHA-256 in lower-case
// hexadecimal digits. Whoever reads it cannot bootstrap with it.
func BootstrapDigest(token string) string {
	sum := sha256.Sum256([]byte(token))
	return digestPrefix + hex.EncodeToString(sum[:])
}

// MayBootstrap returns ErrBootstrapToken for a caller who may not found the cluster. A token that is set has to come;
// without one, a vendor's license is proof enough, and on an authority that is its own vendor only this host may call.
func (a *Authority) MayBootstrap(shown string) error {
	switch {
	case a.o.BootstrapToken != "":
		if strings.HasPrefix(a.o.BootstrapToken, digestPrefix) {
			shown = BootstrapDigest(shown)
		}
		if subtle.ConstantTimeCompare([]byte(shown), []byte(a.o.BootstrapToken)) != 1 {
			return ErrBootstrapToken
		}
	case len(a.o.VendorKeys) == 0 && !a.o.Private:
		return fmt.Errorf("%w: this authority is its own vendor and other hosts can reach it: start it with a bootstrap token", ErrBootstrapToken)
	}
	return nil
}

// OpenToThisHost reports whether anybody on this host may bootstrap, without a license or a token.
func (a *Authority) OpenToThisHost() bool {
	return a.o.BootstrapToken == "" && len(a.o.VendorKeys) == 0 && a.o.Private
}

// CheckIssuer returns ErrInput for an issuer that is not an http(s) URL without query, fragment and trailing slash.
func CheckIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
		strings.ContainsAny(issuer, "?#") || strings.HasSuffix(issuer, "/") {
		return fmt.Errorf("%w: issuer %.128q has to be an http(s) URL without query, fragment and trailing slash", ErrInput, issuer)
	}
	return nil
}

func (a *Authority) foundingLicense(ctx context.Context, at time.Time, text []byte) (license.License, error) {
	if len(a.o.VendorKeys) == 0 {
		if len(text) > 0 {
			return license.License{}, fmt.Errorf("%w: this authority is its own vendor: send {} instead of a license", ErrLicense)
		}
		return a.ownLicense(ctx, at)
	}
	if len(text) == 0 {
		return license.License{}, fmt.Errorf("%w: send the license file of your vendor", ErrLicense)
	}
	return a.checkLicense(ctx, at, text)
}

// founding is what a bootstrap will write.
type founding struct {
	a       *Authority
	license license.License
	issuer  string
	key     NewKey   // the first token key
	first   Founding // the ledger key
}

func (f founding) draft(d *draft) (Bootstrapped, error) {
	text, err := f.license.MarshalJSON()
	if err != nil {
		return Bootstrapped{}, err
	}
	cluster, self := id.New(id.Cluster, d.At), id.New(id.Peer, d.At)
	d.founding = cluster
	d.claims = append(d.claims, usageBegunClaim(d.At))
	d.add(fact{
		kind: ledger.KindCluster, subject: cluster, lists: []string{listClusters},
		body: ledger.ClusterBody{
			Issuer: f.issuer, Home: f.a.o.Region, LedgerKey: f.first.Signer.Key(), Sealed: f.first.Sealed, Anchor: f.first.Anchor,
		},
	})
	d.add(fact{kind: ledger.KindLicense, subject: cluster, body: ledger.LicenseBody{License: text}})
	d.add(fact{
		kind: ledger.KindKey, subject: cluster,
		body: ledger.KeyBody{Use: ledger.UseToken, Key: f.key.Key, PeerID: self, Sealed: f.key.Sealed},
	})
	d.add(fact{
		kind: ledger.KindPeer, subject: self, lists: []string{listPeers},
		body: ledger.PeerBody{Name: f.a.o.Region, Role: peer.Authority},
	})
	body := ledger.CredentialBody{
		Name: "shared cluster credential", Kind: credential.Shared,
		Scopes: credential.NewScopes(credential.Admin), LicenseID: f.license.LicenseID,
	}
	c, secret, err := draftCredential(d, body, nil)
	return Bootstrapped{cluster, self, f.license.LicenseID, c, secret}, err
}
