package access_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/testkey"
	"github.com/keyturn/keyturn/internal/token"
)

const (
	issuer   = "https://a.example"
	cluster  = id.ID("clu_01jd6y0e00f2bvwrw0xk3y4t5z")
	peerI    = id.ID("peer_01jd6y0e00f2bvwrw0xk3y4t5z")
	sharedI  = id.ID("cli_01jd6y0e00f2bvwrw0xk3y4t5z")
	readerI  = id.ID("cli_01jd6y0e00f2bvwrw0xk3y4t60")
	sidecarI = id.ID("peer_01jd6y0e00f2bvwrw0xk3y4t60")
	keyedI   = id.ID("cli_01jd6y0e00f2bvwrw0xk3y4t61")
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func signer(t testing.TB, key crypto.Signer) *token.Signer {
	t.Helper()
	s, err := token.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// world is a View over maps, with a Gate in front. The tests change it as they like.
type world struct {
	*access.Gate
	t           testing.TB
	ledger      *ledger.Cluster // nil: not bootstrapped
	credentials map[id.ID]*credential.Credential
	secrets     map[id.ID][]credential.Secret // of version 1, 2, …
	signer      *token.Signer
	client      *token.Signer // of the credential keyedI
	claimed     map[string]time.Time
	reads       int   // how often the view was asked
	fails       error // what the view says to everything
	behind      bool
	peerIssuer  bool

	peers    map[id.ID]*peer.Peer
	sidecar  *token.Signer // the token key of the peer sidecarI, which may grant peers.read
	identity *token.Signer // the identity of that peer
}

// newWorld has three credentials: the shared one at version 3 (1 is retired, 2 superseded for half an hour), a standard one
// that reads, and one with a public key.
func newWorld(t testing.TB) *world {
	w := &world{
		t: t, credentials: map[id.ID]*credential.Credential{}, secrets: map[id.ID][]credential.Secret{}, claimed: map[string]time.Time{},
		signer: signer(t, testkey.P256("token")), client: signer(t, testkey.Ed25519("client")),
	}
	w.ledger = &ledger.Cluster{ID: cluster, Issuer: issuer, Keys: []ledger.Key{{Key: w.signer.Key(), PeerID: peerI, Region: "local"}}}
	c := w.credential(sharedI, credential.Shared, 3, credential.Admin)
	c.Versions[0].NotAfter, c.Versions[1].NotAfter = now.Add(-time.Hour), now.Add(30*time.Minute)
	w.credential(readerI, credential.Standard, 1, credential.PeersRead, credential.ServicesRead)
	k := w.credential(keyedI, credential.Standard, 0, credential.PeersRead)
	k.Versions = []credential.Version{{Number: 1, Digest: credential.Digest("jwk:" + w.client.Key().ID()), Key: w.client.Key()}}
	w.sidecar, w.identity = signer(t, testkey.P256("sidecar")), signer(t, testkey.Ed25519("identity"))
	w.peers = map[id.ID]*peer.Peer{
		peerI: {ID: peerI, Role: peer.Authority},
		sidecarI: {
			ID: sidecarI, Role: peer.Sidecar, PublicKey: w.identity.Key(), TokenKey: w.sidecar.Key(),
			MaxScopes: credential.NewScopes(credential.PeersRead),
		},
	}
	w.reset()
	return w
}

func (w *world) options() access.Options {
	return access.Options{
		Signer:      w.sign,
		Claim:       w.claim,
		ClockBehind: func(time.Time) bool { return w.behind },
		PeerIssuer:  w.peerIssuer,
	}
}

// reset makes the Gate anew, as the world is now.
func (w *world) reset() {
	w.Gate = access.NewGate(w, w.options())
}

func (w *world) credential(name id.ID, kind credential.Kind, versions int, scopes ...credential.Scope) *credential.Credential {
	c := &credential.Credential{ID: name, Kind: kind, Scopes: credential.NewScopes(scopes...)}
	for n := range versions {
		s := credential.NewSecret()
		h := s.Hash()
		w.secrets[name] = append(w.secrets[name], s)
		c.Versions = append(c.Versions, credential.Version{Number: n + 1, Digest: h.Digest(), Hash: &h})
	}
	w.credentials[name] = c
	return c
}

// Cluster implements access.View.
func (w *world) Cluster(context.Context) (*access.Cluster, error) {
	w.reads++
	switch {
	case w.fails != nil:
		return nil, w.fails
	case w.ledger == nil:
		return nil, access.ErrNotBootstrapped
	}
	return access.NewCluster(w.ledger), nil
}

// Credential implements access.View. It wraps ErrUnknown, as a view may.
func (w *world) Credential(_ context.Context, _ time.Time, name id.ID) (*credential.Credential, error) {
	w.reads++
	if w.fails != nil {
		return nil, w.fails
	}
	if c, ok := w.credentials[name]; ok {
		return c, nil
	}
	return nil, fmt.Errorf("look for %s: %w", name, access.ErrUnknown)
}

// Peer implements access.View.
func (w *world) Peer(_ context.Context, _ time.Time, name id.ID) (*peer.Peer, error) {
	w.reads++
	if w.fails != nil {
		return nil, w.fails
	}
	if p, ok := w.peers[name]; ok {
		return p, nil
	}
	return nil, fmt.Errorf("look for %s: %w", name, access.ErrUnknown)
}

func (w *world) sign(context.Context, time.Time) (*token.Signer, id.ID, error) {
	return w.signer, peerI, nil
}

func (w *world) claim(_ context.Context, key string, at, until time.Time) (bool, error) {
	if end, held := w.claimed[key]; held && at.Before(end) {
		return false, nil
	}
	w.claimed[key] = until
	return true, nil
}

// proof of version n.
func (w *world) proof(clientID string, of id.ID, n int) access.Proof {
	return access.Proof{ClientID: clientID, Secret: w.secrets[of][n-1].Reveal()}
}

// clientOf authenticates version n of a credential.
func (w *world) clientOf(of id.ID, n int) access.Client {
	w.t.Helper()
	c, err := w.Authenticate(context.Background(), now, w.proof(of.String(), of, n))
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) issue(c access.Client, r access.TokenRequest) access.Token {
	w.t.Helper()
	tok, err := w.Issue(context.Background(), now, c, r)
	if err != nil {
		w.t.Fatal(err)
	}
	return tok
}

// claims of a token, read with the world's key alone.
func (w *world) claims(text string) token.Claims {
	w.t.Helper()
	c, _, err := token.NewKeySet([]jwk.Key{w.signer.Key()}).Verify(text)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// resign changes the claims of a token and signs them with a key of the cluster: what only a faulty authority makes.
func (w *world) resign(text string, with *token.Signer, change func(c *token.Claims)) string {
	w.t.Helper()
	c := w.claims(text)
	change(&c)
	text, err := with.Sign(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

var errBroken = errors.New("the disk is on fire")
