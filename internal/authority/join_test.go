package authority_test

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/authority/storetest"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/token"
)

func scope(s string) credential.Scope { return credential.Scope(s) }

func TestJoin_MakesAPeer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ region, via, want string }{
		{"", "", "local"}, {"far", "", "far"}, {"", "far", "far"}, {"local", "far", "local"}, {"", "mars", "local"},
	} {
		region, want := c.region, c.want
		w := found(t, private, func(o *authority.Options) { o.Regions = []string{"far"} })
		k := w.joinKey(w.root, authority.JoinKeyRequest{MaxScopes: scopes("billing.read"), Region: region})
		w.later(time.Minute)
		h := newHost(t)
		r := h.request(k.Text)
		r.Via = c.via
		got, err := w.a.Join(ctx, authority.Origin{At: w.at}, r)
		if err != nil {
			t.Fatal(err)
		}
		c, err := w.a.Cluster(ctx)
		if err != nil {
			t.Fatal(err)
		}
		answer := authority.Joined{PeerID: got.PeerID, ClusterID: c.ID, Issuer: issuer, LedgerKeys: c.LedgerKeys, License: c.License, Region: want}
		if diff := cmp.Diff(answer, got); diff != "" || !json.Valid(got.License) {
			t.Error(diff)
		}
		if diff := cmp.Diff(&peer.Peer{
			ID: got.PeerID, Name: "host", Role: peer.Sidecar, PublicKey: h.public, TokenKey: h.signer.Key(), Region: want,
			MaxScopes: scopes("billing.read"), JoinKey: k.ID, JoinedAt: w.at,
		}, w.peer(got.PeerID)); diff != "" {
			t.Error(diff)
		}
		list, err := w.a.JoinKeys(ctx, w.root, w.at, true)
		if err != nil || len(list) != 1 || list[0].UsedBy != got.PeerID {
			t.Errorf("join keys %+v, %v", list, err)
		}
	}
}

func TestJoin_ALostAnswerBurnsNoKey(t *testing.T) {
	t.Parallel()
	w := found(t)
	k := w.joinKey(w.root, authority.JoinKeyRequest{})
	h := newHost(t)
	first, err := w.join(h, k.Text)
	if err != nil {
		t.Fatal(err)
	}
	head := w.head()
	for name, step := range map[string]func(){
		"at once": func() {}, "after a restart": func() { w.reopen() }, "when the key has expired": func() { w.later(day) },
	} {
		step()
		again, err := w.join(h, k.Text)
		if diff := cmp.Diff(first, again); err != nil || diff != "" || w.head() != head {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	other := newHost(t)
	half := *h // the same identity with another token key
	half.signer = other.signer
	twin := *other // another identity with the same token key
	twin.signer = h.signer
	for name, stranger := range map[string]*host{"another host": other, "another token key": &half, "another identity": &twin} {
		if _, err := w.join(stranger, k.Text); !errors.Is(err, authority.ErrJoinKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := h.request(k.Text)
	bad.Proof = ed25519.Sign(other.identity, []byte("no"))
	if _, err := w.a.Join(ctx, authority.Origin{At: w.at}, bad); !errors.Is(err, authority.ErrJoinKey) {
		t.Errorf("without proof: %v", err)
	}
	w.remove(first.PeerID)
	if _, err := w.join(h, k.Text); !errors.Is(err, authority.ErrJoinKey) {
		t.Errorf("once it is removed: %v", err)
	}
}

// Nothing that is refused uses the key up.
func TestJoin_RefusesKeys(t *testing.T) {
	t.Parallel()
	w, stranger := found(t), found(t)
	k, foreign := w.joinKey(w.root, authority.JoinKeyRequest{}), stranger.joinKey(stranger.root, authority.JoinKeyRequest{})
	signed := func(change func(*token.JoinKey)) string {
		own, err := w.custody.Ledger(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := token.NewSigner(own.Crypto())
		if err != nil {
			t.Fatal(err)
		}
		claims, err := token.UnverifiedJoinKey(k.Text)
		if err != nil {
			t.Fatal(err)
		}
		change(&claims)
		text, err := signer.SignJoinKey(claims)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	h := newHost(t)
	for name, text := range map[string]string{
		"Nothing":           "",
		"Garbage":           "a.b.c",
		"AnotherClusters":   foreign.Text,
		"NamesAnother":      signed(func(c *token.JoinKey) { c.ClusterID = stranger.founded.ClusterID.String() }),
		"NeverMade":         signed(func(c *token.JoinKey) { c.ID = id.New(id.JoinKey, w.at).String() }),
		"NamesAPeer":        signed(func(c *token.JoinKey) { c.ID = w.founded.PeerID.String() }),
		"NamesNothing":      signed(func(c *token.JoinKey) { c.ID = "" }),
		"AnAccessToken":     w.token(w.founded.Credential.ClientID(1), w.founded.Secret, ""),
		"ChangedOnTheWay":   k.Text[:len(k.Text)-6] + "AAAAAA",
		"WithoutASignature": k.Text[:len(k.Text)-86],
	} {
		r := h.request(text)
		if _, err := w.a.Join(ctx, authority.Origin{At: w.at}, r); !errors.Is(err, authority.ErrJoinKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, proof := range map[string][]byte{"None": nil, "ForAnotherKey": h.request(foreign.Text).Proof, "AnotherHosts": newHost(t).request(k.Text).Proof} {
		r := h.request(k.Text)
		r.Proof = proof
		if _, err := w.a.Join(ctx, authority.Origin{At: w.at}, r); !errors.Is(err, authority.ErrJoinKey) {
			t.Errorf("proof %s: %v", name, err)
		}
	}
	w.later(10*time.Minute - time.Second)
	if _, err := w.join(h, k.Text); err != nil {
		t.Errorf("in its last second: %v", err)
	}
	k = w.joinKey(w.root, authority.JoinKeyRequest{})
	w.later(10 * time.Minute)
	if _, err := w.join(newHost(t), k.Text); !errors.Is(err, authority.ErrJoinKey) {
		t.Errorf("at its end: %v", err)
	}
}

func TestJoin_AnyTrustedLedgerKeyCanHaveSigned(t *testing.T) {
	t.Parallel()
	w := found(t)
	k := w.joinKey(w.root, authority.JoinKeyRequest{})
	far := newCustody(t)
	own, err := far.Ledger(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewSigner(own.Crypto())
	if err != nil {
		t.Fatal(err)
	}
	claims, err := token.UnverifiedJoinKey(k.Text)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signer.SignJoinKey(claims)
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t)
	if _, err := w.join(h, text); !errors.Is(err, authority.ErrJoinKey) {
		t.Errorf("before it is vouched for: %v", err)
	}
	if err := w.a.Vouch(ctx, w.root, w.origin(w.root), far.LedgerKey()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.join(h, text); err != nil {
		t.Errorf("then: %v", err)
	}
}

// Two hosts with one key could not be told apart, and a host with a key of the cluster would be the cluster.
func TestJoin_EachHostHasKeysOfItsOwn(t *testing.T) {
	t.Parallel()
	w := found(t)
	active, gone := w.joined(), w.joined()
	w.remove(gone.peer)
	c, err := w.a.Cluster(ctx)
	if err != nil {
		t.Fatal(err)
	}
	k := w.joinKey(w.root, authority.JoinKeyRequest{})
	h := newHost(t)
	before := w.head()
	with := func(change func(*authority.JoinRequest)) authority.JoinRequest {
		r := h.request(k.Text)
		change(&r)
		r.Proof = ed25519.Sign(h.identity, peer.ProofMessage(k.ID.String(), r.PublicKey, r.TokenKey))
		return r
	}
	tokenKey := func(key jwk.Key) authority.JoinRequest {
		return with(func(r *authority.JoinRequest) { r.TokenKey = key })
	}
	identity := func(owner *host) authority.JoinRequest {
		r := h.request(k.Text)
		r.PublicKey = owner.public
		r.Proof = ed25519.Sign(owner.identity, peer.ProofMessage(k.ID.String(), r.PublicKey, r.TokenKey))
		return r
	}
	for name, r := range map[string]authority.JoinRequest{
		"NoKeys":                   {JoinKey: k.Text},
		"IdentityIsNotEd25519":     with(func(r *authority.JoinRequest) { r.PublicKey = active.signer.Key() }),
		"NoTokenKey":               tokenKey(jwk.Key{}),
		"NoName":                   with(func(r *authority.JoinRequest) { r.Name = "" }),
		"BlankName":                with(func(r *authority.JoinRequest) { r.Name = " \u00a0 " }),
		"OneKeyForBoth":            tokenKey(h.public),
		"TokenKeyOfAPeer":          tokenKey(active.signer.Key()),
		"TokenKeyIsAPeersIdentity": tokenKey(active.public),
		"TokenKeyOfARemovedPeer":   tokenKey(gone.signer.Key()),
		"TokenKeyOfTheCluster":     tokenKey(c.Keys[0].Key),
		"TokenKeyIsTheLedgerKey":   tokenKey(c.LedgerKeys[0]),
		"IdentityOfAPeer":          identity(active),
		"IdentityOfARemovedPeer":   identity(gone),
	} {
		if _, err := w.a.Join(ctx, authority.Origin{At: w.at}, r); !errors.Is(err, authority.ErrInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
	named := h.request(k.Text)
	named.Name = "a\x1b[31m"
	if _, err := w.a.Join(ctx, authority.Origin{At: w.at}, named); !errors.Is(err, credential.ErrInput) {
		t.Errorf("name: %v", err)
	}
	if w.head() != before {
		t.Error("something was written")
	}
	if _, err := w.join(h, k.Text); err != nil {
		t.Errorf("the key is used up: %v", err)
	}
}

func TestJoin_OneOfManyWins(t *testing.T) {
	t.Parallel()
	w := found(t)
	second, err := authority.Open(ctx, w.file, w.custody, w.o) // another process over the same store
	if err != nil {
		t.Fatal(err)
	}
	k := w.joinKey(w.root, authority.JoinKeyRequest{})
	hosts := make([]*host, 6)
	for i := range hosts {
		hosts[i] = newHost(t)
	}
	var mu sync.Mutex
	in := map[*host]map[id.ID]int{}
	var all sync.WaitGroup
	for i := range 24 {
		h := hosts[i%len(hosts)]
		a := []*authority.Authority{w.a, second}[i%2]
		all.Go(func() {
			done, err := a.Join(ctx, authority.Origin{At: w.at}, h.request(k.Text))
			for errors.Is(err, access.ErrUnavailable) { // the other process has just let somebody in
				done, err = a.Join(ctx, authority.Origin{At: w.at}, h.request(k.Text))
			}
			if err != nil && !errors.Is(err, authority.ErrJoinKey) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil && in[h] == nil {
				in[h] = map[id.ID]int{}
			}
			if err == nil {
				in[h][done.PeerID]++
			}
		})
	}
	all.Wait()
	peers, err := w.a.Peers(ctx, w.root, w.at)
	if err != nil || len(peers) != 2 || len(in) != 1 {
		t.Fatalf("%d peers, %d hosts are in, %v", len(peers), len(in), err)
	}
	for _, answers := range in {
		for peerID, n := range answers {
			if n != 4 || w.peer(peerID).Role != peer.Sidecar {
				t.Errorf("the host that is in got %v", answers)
			}
		}
	}
}

// Whatever call to the store fails, before or after it was done: asking again lets the host in once.
func TestJoin_UnknownOutcome(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, faulty func(authority.Store) authority.Store) {
		w := found(t)
		k := w.joinKey(w.root, authority.JoinKeyRequest{})
		h := newHost(t)
		failing := &late{Store: w.file}
		w.over(failing)
		failing.Store = faulty(w.file)
		first, err := w.join(h, k.Text)
		if err != nil {
			if !errors.Is(err, access.ErrUnavailable) {
				t.Errorf("= %v", err)
			}
			if first, err = w.join(h, k.Text); err != nil {
				t.Fatalf("again: %v", err)
			}
		}
		failing.Store = w.file
		again, err := w.join(h, k.Text)
		if err != nil || again.PeerID != first.PeerID {
			t.Errorf("once more: %v, %v", again, err)
		}
		if peers, err := w.a.Peers(ctx, w.root, w.at); err != nil || len(peers) != 2 {
			t.Errorf("%d peers, %v", len(peers), err)
		}
	})
}

// late is a store whose faults begin later.
type late struct{ authority.Store }

func TestJoin_AtHomeOnly(t *testing.T) {
	t.Parallel()
	w := found(t)
	k := w.joinKey(w.root, authority.JoinKeyRequest{})
	if _, err := w.elsewhere(t).Join(ctx, authority.Origin{At: w.at}, newHost(t).request(k.Text)); !errors.Is(err, authority.ErrNotHome) {
		t.Errorf("= %v", err)
	}
	before := empty(t, private)
	if _, err := before.join(newHost(t), k.Text); !errors.Is(err, access.ErrNotBootstrapped) {
		t.Errorf("= %v", err)
	}
}
