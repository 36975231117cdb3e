package authority_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/token"
)

func (w *world) peers() []*peer.Peer {
	w.t.Helper()
	list, err := w.a.Peers(ctx, w.root, w.at)
	if err != nil {
		w.t.Fatalf("peers: %v", err)
	}
	return list
}

func TestPeers_AuthorityAndSidecars(t *testing.T) {
	t.Parallel()
	w := found(t)
	self := &peer.Peer{ID: w.founded.PeerID, Name: "local", Role: peer.Authority, Region: "local", JoinedAt: w.at}
	w.later(time.Minute)
	first := w.joined()
	w.later(time.Minute)
	second := w.joined()
	w.remove(first.peer)
	list := w.peers()
	if len(list) != 3 || !cmp.Equal(list[0], self) || list[1].ID != first.peer || list[2].ID != second.peer {
		t.Fatalf("= %+v", list)
	}
	if !list[1].LeftAt.Equal(w.at) || list[1].Status() != peer.Removed || list[2].Status() != peer.Active {
		t.Errorf("= %+v, %+v", list[1], list[2])
	}
	m := w.create(w.root, scopes(credential.PeersWrite, credential.PeersRead))
	reader, writer := w.caller(m.client, m.secret, "peers.read"), w.caller(m.client, m.secret, "peers.write")
	if p, err := w.a.FindPeer(ctx, reader, w.at, second.peer); err != nil || p.ID != second.peer {
		t.Errorf("= %+v, %v", p, err)
	}
	_, forbidden := w.a.Peers(ctx, writer, w.at)
	_, forbidden2 := w.a.FindPeer(ctx, writer, w.at, second.peer)
	if !errors.Is(forbidden, access.ErrForbidden) || !errors.Is(forbidden2, access.ErrForbidden) {
		t.Errorf("without peers.read: %v, %v", forbidden, forbidden2)
	}
	if _, err := w.a.FindPeer(ctx, reader, w.at, id.New(id.Peer, w.at)); !errors.Is(err, authority.ErrNotKnown) {
		t.Errorf("unknown: %v", err)
	}
}

func (w *world) change(by access.Caller, target id.ID, name string, s credential.Scopes) (*peer.Peer, error) {
	r := authority.PeerChange{}
	if name != "" {
		r.Name = &name
	}
	if s != nil {
		r.MaxScopes = &s
	}
	return w.a.ChangePeer(ctx, by, w.origin(by), target, r)
}

func TestChangePeer(t *testing.T) {
	t.Parallel()
	w := found(t)
	h := w.joined("billing.read")
	before := *w.peer(h.peer)
	for _, step := range []struct {
		name    string
		scopes  credential.Scopes
		records uint64
	}{
		{"rack 8", nil, 1}, {"", scopes("billing.read", "billing.write"), 1}, {"rack 9", scopes(), 1}, {"rack 9", scopes(), 0}, {"", nil, 0},
	} {
		head := w.head()
		got, err := w.change(w.root, h.peer, step.name, step.scopes)
		if step.name != "" {
			before.Name = step.name
		}
		if step.scopes != nil {
			before.MaxScopes = step.scopes
		}
		if err != nil || w.head() != head+step.records {
			t.Fatalf("%+v: %v, %d records", step, err, w.head()-head)
		}
		if diff := cmp.Diff(&before, got); diff != "" {
			t.Errorf("%+v: %s", step, diff)
		}
		if diff := cmp.Diff(&before, w.peer(h.peer)); diff != "" {
			t.Errorf("%+v, joined: %s", step, diff)
		}
	}
}

func TestChangePeer_Refuses(t *testing.T) {
	t.Parallel()
	w := found(t)
	h, gone := w.joined("billing.read"), w.joined()
	w.remove(gone.peer)
	m := w.create(w.root, scopes(credential.PeersWrite, credential.PeersRead, "billing.read"))
	some, reader := w.caller(m.client, m.secret), w.caller(m.client, m.secret, "peers.read")
	before := w.head()
	for name, c := range map[string]struct {
		by     access.Caller
		target id.ID
		name   string
		scopes credential.Scopes
		want   error
	}{
		"NoScope":           {reader, h.peer, "a", nil, access.ErrForbidden},
		"Beyond":            {some, h.peer, "", scopes("billing.read", "billing.write"), access.ErrForbidden},
		"TheLedger":         {w.root, h.peer, "", scopes(credential.LedgerRead), access.ErrForbidden},
		"Name":              {some, h.peer, "a\nb", nil, credential.ErrInput},
		"Unknown":           {some, id.New(id.Peer, w.at), "a", nil, authority.ErrNotKnown},
		"Removed":           {some, gone.peer, "a", nil, authority.ErrInput},
		"ScopesOfAuthority": {w.root, w.founded.PeerID, "", scopes("billing.read"), authority.ErrInput},
	} {
		if _, err := w.change(c.by, c.target, c.name, c.scopes); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	name := "a"
	if _, err := w.elsewhere(t).ChangePeer(ctx, w.root, w.origin(w.root), h.peer, authority.PeerChange{Name: &name}); !errors.Is(err, authority.ErrNotHome) {
		t.Errorf("elsewhere: %v", err)
	}
	if w.head() != before {
		t.Error("something was written")
	}
}

// issued is a token of the sidecar h for m.
func (w *world) issued(h *host, m made, scope string) string {
	w.t.Helper()
	text, err := h.signer.Sign(token.Claims{
		Issuer: issuer, Subject: m.id.String(), ClientID: m.client, Version: 1, Audience: token.Audience{issuer},
		ExpiresAt: w.at.Unix() + 3600, IssuedAt: w.at.Unix(), ID: "j", Scope: scope, ClusterID: w.founded.ClusterID.String(), PeerID: h.peer.String(),
	})
	if err != nil {
		w.t.Fatalf("sign: %v", err)
	}
	return text
}

// assertion is how the peer h authenticates.
func (w *world) asserted(h *host, jti string) error {
	w.t.Helper()
	signer, err := token.NewSigner(h.identity)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	text, err := signer.SignAssertion(token.Assertion{
		Issuer: h.peer.String(), Subject: h.peer.String(), Audience: issuer, ExpiresAt: token.NumericDate(w.at.Unix() + 60), ID: jti,
	})
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	client, err := w.a.Authenticate(ctx, w.at, access.Proof{ClientID: h.peer.String(), Assertion: text})
	if err != nil {
		return err
	}
	_, err = w.a.Issue(ctx, w.at, client, access.TokenRequest{})
	return err
}

func TestRemovePeer_EndsAllThatItDid(t *testing.T) {
	t.Parallel()
	for name, option := range map[string]func(*authority.Options){"one of many": private, "the only writer": remembering} {
		w := found(t, option)
		h, stays := w.joined("billing.read"), w.joined("billing.read")
		m := w.create(w.root, scopes("billing.read", "billing.write"))
		good := func(h *host) error { _, err := w.a.Check(ctx, w.at, w.issued(h, m, "billing.read"), ""); return err }
		if err := errors.Join(good(h), good(stays), w.asserted(h, "1"), w.asserted(stays, "1")); err != nil {
			t.Fatalf("%s, before: %v", name, err)
		}
		if _, err := w.a.Check(ctx, w.at, w.issued(h, m, "billing.write"), ""); !errors.Is(err, access.ErrToken) {
			t.Errorf("%s: a token beyond its max_scopes: %v", name, err)
		}
		head := w.head()
		w.remove(h.peer)
		w.remove(h.peer)
		if w.head() != head+1 {
			t.Errorf("%s: %d records", name, w.head()-head)
		}
		if err := good(h); !errors.Is(err, access.ErrToken) {
			t.Errorf("%s: its tokens: %v", name, err)
		}
		if err := w.asserted(h, "2"); !errors.Is(err, access.ErrRefused) {
			t.Errorf("%s: itself: %v", name, err)
		}
		if err := errors.Join(good(stays), w.asserted(stays, "2")); err != nil {
			t.Errorf("%s: the other one: %v", name, err)
		}
	}
}

func TestRemovePeer_Refuses(t *testing.T) {
	t.Parallel()
	w := found(t)
	h := w.joined()
	m := w.create(w.root, scopes(credential.PeersRead))
	reader := w.caller(m.client, m.secret)
	remove := func(by access.Caller, target id.ID) error {
		return w.a.RemovePeer(ctx, by, w.origin(by), target)
	}
	if err := remove(reader, h.peer); !errors.Is(err, access.ErrForbidden) {
		t.Errorf("without peers.write: %v", err)
	}
	if err := remove(w.root, id.New(id.Peer, w.at)); !errors.Is(err, authority.ErrNotKnown) {
		t.Errorf("unknown: %v", err)
	}
	if err := remove(w.root, w.founded.PeerID); !errors.Is(err, authority.ErrInput) {
		t.Errorf("the authority: %v", err)
	}
	if w.peer(h.peer).Status() != peer.Active || w.peer(w.founded.PeerID).Status() != peer.Active {
		t.Error("it is removed")
	}
	if err := w.elsewhere(t).RemovePeer(ctx, w.root, w.origin(w.root), h.peer); err != nil {
		t.Errorf("elsewhere: %v", err)
	}
	if w.peer(h.peer).Status() != peer.Removed {
		t.Error("a removal elsewhere does not count here")
	}
}

// What a caller does with a token of a sidecar is not written once that is removed, be the token checked before.
func TestRemovePeer_NothingAfterItOnItsTokens(t *testing.T) {
	t.Parallel()
	w := found(t)
	h, other := w.joined("admin"), w.joined()
	m := w.create(w.root, scopes(credential.Admin))
	caller, err := w.a.Check(ctx, w.at, w.issued(h, m, "admin"), "")
	if err != nil {
		t.Fatal(err)
	}
	name := "mine"
	if _, err := w.a.ChangePeer(ctx, caller, w.origin(caller), other.peer, authority.PeerChange{Name: &name}); err != nil {
		t.Fatal(err)
	}
	w.remove(h.peer)
	_, created := w.a.Create(ctx, caller, w.origin(caller), authority.CreateRequest{}, authority.Once{})
	_, joinKey := w.a.CreateJoinKey(ctx, caller, w.origin(caller), authority.JoinKeyRequest{})
	_, changed := w.a.ChangePeer(ctx, caller, w.origin(caller), other.peer, authority.PeerChange{Name: &name})
	removed := w.a.RemovePeer(ctx, caller, w.origin(caller), other.peer)
	for what, err := range map[string]error{"create": created, "join key": joinKey, "change": changed, "remove": removed} {
		if !errors.Is(err, access.ErrToken) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func (w *world) keyIDs() []string {
	w.t.Helper()
	set, err := w.a.KeySet(ctx, w.at)
	if err != nil {
		w.t.Fatalf("key set: %v", err)
	}
	ids := []string{}
	for _, k := range set.Keys {
		ids = append(ids, k.ID())
	}
	slices.Sort(ids)
	return ids
}

func sorted(keys ...jwk.Key) []string {
	ids := []string{}
	for _, k := range keys {
		ids = append(ids, k.ID())
	}
	slices.Sort(ids)
	return ids
}

func TestKeySet_ClusterAndActiveSidecars(t *testing.T) {
	t.Parallel()
	w := found(t, remembering)
	c, err := w.a.Cluster(ctx)
	if err != nil {
		t.Fatal(err)
	}
	own := c.Keys[0].Key
	check := func(when string, want ...jwk.Key) {
		t.Helper()
		if diff := cmp.Diff(sorted(want...), w.keyIDs()); diff != "" {
			t.Errorf("%s: %s", when, diff)
		}
	}
	check("alone", own)
	a := w.joined()
	check("one has joined", own, a.signer.Key())
	b := w.joined()
	check("another", own, a.signer.Key(), b.signer.Key())
	w.remove(a.peer)
	check("one is removed", own, b.signer.Key())
	p, err := w.a.RotateTokenKey(ctx, w.root, w.origin(w.root))
	if err != nil {
		t.Fatal(err)
	}
	check("a new key of the cluster", own, p.Key, b.signer.Key())
	w.reopen()
	check("after a restart", own, p.Key, b.signer.Key())
	set, err := w.a.KeySet(ctx, w.at)
	if err != nil {
		t.Fatal(err)
	}
	set.Keys[0] = jwk.Key{} // it belongs to the caller
	check("it is the caller's", own, p.Key, b.signer.Key())
	if _, err := empty(t).a.KeySet(ctx, w.at); !errors.Is(err, access.ErrNotBootstrapped) {
		t.Errorf("before bootstrap: %v", err)
	}
}

// Where others write, a peer comes and goes within a minute, and not every request reads all peers.
func TestKeySet_IsRememberedForAMinute(t *testing.T) {
	t.Parallel()
	w := found(t)
	reader, err := authority.Open(ctx, w.file, w.custody, w.o)
	if err != nil {
		t.Fatal(err)
	}
	count := func(after time.Duration) int {
		set, err := reader.KeySet(ctx, w.at.Add(after))
		if err != nil {
			t.Fatal(err)
		}
		return len(set.Keys)
	}
	if n := count(0); n != 1 {
		t.Fatalf("%d keys", n)
	}
	h := w.joined()
	if n := count(59 * time.Second); n != 1 {
		t.Errorf("%d keys: the peers were read again", n)
	}
	if n := count(time.Minute); n != 2 {
		t.Errorf("%d keys after a minute", n)
	}
	w.remove(h.peer)
	if n := count(2 * time.Minute); n != 1 {
		t.Errorf("%d keys a minute after it was removed", n)
	}
	w.joined()
	if n := count(0); n != 2 {
		t.Errorf("%d keys: a clock that went back keeps them for longer", n)
	}
}

// listless is a store whose lists cannot be read, once it is down.
type listless struct {
	authority.Store
	down bool
}

func (s *listless) Page(c ctxT, list, after string, limit int) ([]string, error) {
	if s.down {
		return nil, errors.New("down")
	}
	return s.Store.Page(c, list, after, limit)
}

func TestKeySet_WhatWasReadStands(t *testing.T) {
	t.Parallel()
	w := found(t)
	s := &listless{Store: w.file}
	w.over(s)
	s.down = true
	if _, err := w.a.KeySet(ctx, w.at); !errors.Is(err, access.ErrUnavailable) {
		t.Errorf("nothing was read yet: %v", err)
	}
	s.down = false
	h := w.joined()
	want := w.keyIDs()
	s.down = true
	w.later(time.Hour)
	if diff := cmp.Diff(want, w.keyIDs()); diff != "" {
		t.Errorf("an hour later: %s", diff)
	}
	w.remove(h.peer)
	if _, err := w.a.KeySet(ctx, w.at); !errors.Is(err, access.ErrUnavailable) {
		t.Errorf("a peer has gone meanwhile: %v", err)
	}
}

// Each region's authority is a peer from its first key on.
func TestPeers_AnotherRegionsAuthority(t *testing.T) {
	t.Parallel()
	w := found(t)
	a := w.elsewhere(t)
	w.later(time.Minute)
	if _, err := a.MoveHome(ctx, w.root, w.origin(w.root), "elsewhere"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		w.later(time.Minute)
		if _, err := a.RotateTokenKey(ctx, w.root, w.origin(w.root)); err != nil {
			t.Fatal(err)
		}
	}
	list := w.peers()
	if len(list) != 2 || list[1].Role != peer.Authority || list[1].Name != "elsewhere" || list[1].Region != "elsewhere" || list[1].ID != a.Self() {
		t.Errorf("= %+v; it is %s", list, a.Self())
	}
}

func TestAudit_Peers(t *testing.T) {
	t.Parallel()
	w := found(t)
	before := w.head()
	h := newHost(t)
	k, revoked := w.joinKey(w.root, authority.JoinKeyRequest{}), w.joinKey(w.root, authority.JoinKeyRequest{})
	done, err := w.join(h, k.Text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.change(w.root, done.PeerID, "new", nil); err != nil {
		t.Fatal(err)
	}
	w.remove(done.PeerID)
	if err := w.a.RevokeJoinKey(ctx, w.root, w.origin(w.root), revoked.ID); err != nil {
		t.Fatal(err)
	}
	events, _ := w.audit(authority.Cursor{"local": before}.String(), 50, authority.AuditFilter{})
	root := w.root.Claims.ClientID
	var got [][3]string
	for _, e := range events {
		got = append(got, [3]string{e.Action, e.Subject, e.Actor})
	}
	want := [][3]string{
		{"join_key.create", k.ID.String(), root},
		{"join_key.create", revoked.ID.String(), root},
		{"peer.join", done.PeerID.String(), k.ID.String()},
		{"peer.change", done.PeerID.String(), root},
		{"peer.remove", done.PeerID.String(), root},
		{"join_key.revoke", revoked.ID.String(), root},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
