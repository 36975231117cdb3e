package peer_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/peer"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func scopes(list ...credential.Scope) credential.Scopes { return credential.NewScopes(list...) }

// identity is an Ed25519 key of a host.
func identity(t *testing.T) (ed25519.PrivateKey, jwk.Key) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	public, err := jwk.New(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key, public
}

func tokenKey(t *testing.T) jwk.Key {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), nil)
	if err != nil {
		t.Fatal(err)
	}
	public, err := jwk.New(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func TestPeer_MayGrant(t *testing.T) {
	t.Parallel()
	sidecar := peer.Peer{Role: peer.Sidecar, MaxScopes: scopes("peers.read", "billing.read")}
	removed := sidecar
	removed.LeftAt = now
	for name, c := range map[string]struct {
		p    peer.Peer
		ask  credential.Scopes
		want bool
	}{
		"WithinItsScopes":   {sidecar, scopes("billing.read"), true},
		"Nothing":           {sidecar, nil, true},
		"BeyondItsScopes":   {sidecar, scopes("billing.read", "billing.write"), false},
		"Removed":           {removed, scopes("billing.read"), false},
		"RemovedForNothing": {removed, nil, false},
		"Authority":         {peer.Peer{Role: peer.Authority}, scopes("admin"), true},
		"AuthorityThatLeft": {peer.Peer{Role: peer.Authority, LeftAt: now}, nil, false},
		"NoRole":            {peer.Peer{}, scopes("billing.read"), false},
	} {
		if got := c.p.MayGrant(c.ask); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if sidecar.Status() != peer.Active || removed.Status() != peer.Removed {
		t.Errorf("status %s and %s", sidecar.Status(), removed.Status())
	}
}

func TestProofMessage_IsWhatTheContractSays(t *testing.T) {
	t.Parallel()
	public, err := jwk.Parse([]byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`)) // RFC 8037 appendix A
	if err != nil {
		t.Fatal(err)
	}
	token := tokenKey(t)
	want := "keyturn-join-v1\njk_1\nkPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k\n" + token.ID() + "\n"
	if got := string(peer.ProofMessage("jk_1", public, token)); got != want {
		t.Errorf("%q", got)
	}
}

func TestCheckProof(t *testing.T) {
	t.Parallel()
	key, public := identity(t)
	stranger, other := identity(t)
	token, token2 := tokenKey(t), tokenKey(t)
	proof := ed25519.Sign(key, peer.ProofMessage("jk_1", public, token))
	if err := peer.CheckProof("jk_1", public, token, proof); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"AnotherJoinKey":  peer.CheckProof("jk_2", public, token, proof),
		"AnotherIdentity": peer.CheckProof("jk_1", other, token, proof),
		"AnotherTokenKey": peer.CheckProof("jk_1", public, token2, proof),
		"Swapped":         peer.CheckProof("jk_1", token, public, proof),
		"Stranger":        peer.CheckProof("jk_1", public, token, ed25519.Sign(stranger, peer.ProofMessage("jk_1", public, token))),
		"WithoutDomain":   peer.CheckProof("jk_1", public, token, ed25519.Sign(key, []byte("jk_1\n"+public.ID()+"\n"+token.ID()+"\n"))),
		"Empty":           peer.CheckProof("jk_1", public, token, nil),
		"Short":           peer.CheckProof("jk_1", public, token, proof[:63]),
		"NoIdentity":      peer.CheckProof("jk_1", jwk.Key{}, token, proof),
		"IdentityIsEC":    peer.CheckProof("jk_1", token2, token, proof),
	} {
		if !errors.Is(err, peer.ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
