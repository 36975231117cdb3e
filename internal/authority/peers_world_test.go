package authority_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"testing"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/license"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/token"
)

// host is a machine that wants to be a peer.
type host struct {
	identity ed25519.PrivateKey
	public   jwk.Key
	signer   *token.Signer // with its token key
	peer     id.ID         // once it has joined
}

func newHost(t tb) *host {
	t.Helper()
	_, identity, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatalf("%v", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), nil)
	if err != nil {
		t.Fatalf("%v", err)
	}
	signer, err := token.NewSigner(key)
	if err != nil {
		t.Fatalf("%v", err)
	}
	public, err := jwk.New(identity.Public())
	if err != nil {
		t.Fatalf("%v", err)
	}
	return &host{identity: identity, public: public, signer: signer}
}

// request is what the host sends to join with that key.
func (h *host) request(joinKey string) authority.JoinRequest {
	claims, _ := token.UnverifiedJoinKey(joinKey)
	return authority.JoinRequest{
		JoinKey: joinKey, Name: "host", PublicKey: h.public, TokenKey: h.signer.Key(),
		Proof: ed25519.Sign(h.identity, peer.ProofMessage(claims.ID, h.public, h.signer.Key())),
	}
}

func (w *world) joinKey(by access.Caller, r authority.JoinKeyRequest) authority.CreatedJoinKey {
	w.t.Helper()
	k, err := w.a.CreateJoinKey(ctx, by, w.origin(by), r)
	if err != nil {
		w.t.Fatalf("create a join key: %v", err)
	}
	return k
}

func (w *world) join(h *host, joinKey string) (authority.Joined, error) {
	return w.a.Join(ctx, authority.Origin{At: w.at, RequestID: "req-join", Source: "192.0.2.7"}, h.request(joinKey))
}

// joined is a new peer that may grant these scopes.
func (w *world) joined(list ...string) *host {
	w.t.Helper()
	r := authority.JoinKeyRequest{}
	for _, s := range list {
		r.MaxScopes = append(r.MaxScopes, scope(s))
	}
	h := newHost(w.t)
	done, err := w.join(h, w.joinKey(w.root, r).Text)
	if err != nil {
		w.t.Fatalf("join: %v", err)
	}
	h.peer = done.PeerID
	return h
}

func (w *world) peer(subject id.ID) *peer.Peer {
	w.t.Helper()
	p, err := w.a.Peer(ctx, w.at, subject)
	if err != nil {
		w.t.Fatalf("read %s: %v", subject, err)
	}
	return p
}

func (w *world) remove(target id.ID) {
	w.t.Helper()
	if err := w.a.RemovePeer(ctx, w.root, w.origin(w.root), target); err != nil {
		w.t.Fatalf("remove %s: %v", target, err)
	}
}

// licensed is a cluster whose vendor allows three nodes.
func licensed(t testing.TB, change ...func(*license.License)) (*world, vendor) {
	t.Helper()
	v := newVendor(t)
	w := empty(t, func(o *authority.Options) { o.VendorKeys = []jwk.Key{v.public()} })
	done, err := bootstrapAt(w, authority.BootstrapRequest{URL: issuer, License: v.license(w.at, change...)}, authority.Once{})
	if err != nil {
		t.Fatal(err)
	}
	w.founded = done
	w.root = w.caller(done.Credential.ClientID(1), done.Secret)
	return w, v
}
