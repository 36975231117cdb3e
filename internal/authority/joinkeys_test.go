package authority_test

import (
	"errors"
	"slices"
	"strings"
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

func TestCreateJoinKey_SaysWhichClusterToJoin(t *testing.T) {
	t.Parallel()
	w := found(t)
	k := w.joinKey(w.root, authority.JoinKeyRequest{Name: "rack 7", TTL: time.Hour, MaxScopes: scopes("billing.read", "admin"), Region: "local"})
	got, err := token.NewKeySet([]jwk.Key{w.custody.LedgerKey()}).VerifyJoinKey(k.Text)
	want := token.JoinKey{
		Issuer: issuer, ID: k.ID.String(), ClusterID: w.founded.ClusterID.String(), Anchor: w.custody.LedgerKey().ID(),
		MaxScopes: []string{"admin", "billing.read"}, Region: "local", IssuedAt: w.at.Unix(), ExpiresAt: w.at.Add(time.Hour).Unix(),
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if !k.ExpiresAt.Equal(w.at.Add(time.Hour)) {
		t.Errorf("expires at %v", k.ExpiresAt)
	}
	list, err := w.a.JoinKeys(ctx, w.root, w.at, false)
	stored := &peer.JoinKey{
		ID: k.ID, Name: "rack 7", Region: "local", MaxScopes: scopes("billing.read", "admin"),
		CreatedAt: w.at, CreatedBy: w.root.Claims.ClientID, ExpiresAt: k.ExpiresAt,
	}
	if diff := cmp.Diff([]*peer.JoinKey{stored}, list); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, e := range w.entries() {
		if strings.Contains(string(e.Data), k.Text) || strings.Contains(string(e.Data), strings.Split(k.Text, ".")[2]) {
			t.Error("the key itself is in the ledger")
		}
	}
}

func TestCreateJoinKey_Defaults(t *testing.T) {
	t.Parallel()
	w := found(t)
	m := w.create(w.root, scopes(credential.PeersWrite, "billing.read", "billing.write"))
	k := w.joinKey(w.caller(m.client, m.secret), authority.JoinKeyRequest{})
	if !k.ExpiresAt.Equal(w.at.Add(10 * time.Minute)) {
		t.Errorf("expires at %v", k.ExpiresAt)
	}
	list, err := w.a.JoinKeys(ctx, w.root, w.at, false)
	if err != nil || len(list) != 1 || !cmp.Equal(list[0].MaxScopes, scopes("billing.read")) || list[0].Region != "" {
		t.Errorf("= %+v, %v", list, err)
	}
}

func TestCreateJoinKey_Refuses(t *testing.T) {
	t.Parallel()
	w := found(t, private, func(o *authority.Options) { o.Regions = []string{"far"} })
	m := w.create(w.root, scopes(credential.PeersWrite, credential.PeersRead, "billing.read"))
	some := w.caller(m.client, m.secret)
	reader := w.caller(m.client, m.secret, "peers.read")
	before := w.head()
	for name, c := range map[string]struct {
		by   access.Caller
		r    authority.JoinKeyRequest
		want error
	}{
		"NoScope":     {reader, authority.JoinKeyRequest{}, access.ErrForbidden},
		"Beyond":      {some, authority.JoinKeyRequest{MaxScopes: scopes("billing.read", "billing.write")}, access.ErrForbidden},
		"TheLedger":   {w.root, authority.JoinKeyRequest{MaxScopes: scopes(credential.LedgerRead)}, access.ErrForbidden},
		"TooLong":     {some, authority.JoinKeyRequest{TTL: 24*time.Hour + time.Second}, credential.ErrInput},
		"InThePast":   {some, authority.JoinKeyRequest{TTL: -time.Second}, credential.ErrInput},
		"Name":        {some, authority.JoinKeyRequest{Name: "a\nb"}, credential.ErrInput},
		"NowhereElse": {some, authority.JoinKeyRequest{Region: "nowhere"}, authority.ErrInput},
	} {
		if _, err := w.a.CreateJoinKey(ctx, c.by, w.origin(c.by), c.r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.elsewhere(t).CreateJoinKey(ctx, some, w.origin(some), authority.JoinKeyRequest{}); !errors.Is(err, authority.ErrNotHome) {
		t.Errorf("elsewhere: %v", err)
	}
	if w.head() != before {
		t.Error("something was written")
	}
	w.joinKey(some, authority.JoinKeyRequest{Region: "far", TTL: 24 * time.Hour}) // a region that the settings name
	mark := w.create(w.root, scopes("billing.read"))
	if err := w.elsewhere(t).Revoke(ctx, w.root, w.origin(w.root), mark.target()); err != nil {
		t.Fatal(err)
	}
	w.joinKey(some, authority.JoinKeyRequest{Region: "elsewhere"}) // one that has written something
}

func (w *world) statuses(includeTerminal bool) map[id.ID]peer.KeyStatus {
	w.t.Helper()
	list, err := w.a.JoinKeys(ctx, w.root, w.at, includeTerminal)
	if err != nil {
		w.t.Fatalf("join keys: %v", err)
	}
	if !slices.IsSortedFunc(list, func(a, b *peer.JoinKey) int { return strings.Compare(a.ID.String(), b.ID.String()) }) {
		w.t.Errorf("not in order: %v", list)
	}
	got := map[id.ID]peer.KeyStatus{}
	for _, k := range list {
		got[k.ID] = k.Status(w.at)
	}
	return got
}

func TestJoinKeys_TerminalOnesAreLeftOut(t *testing.T) {
	t.Parallel()
	w := found(t)
	old := w.joinKey(w.root, authority.JoinKeyRequest{})
	w.later(3 * day)
	expired := w.joinKey(w.root, authority.JoinKeyRequest{TTL: time.Second})
	revoked, used := w.joinKey(w.root, authority.JoinKeyRequest{}), w.joinKey(w.root, authority.JoinKeyRequest{})
	longest := w.joinKey(w.root, authority.JoinKeyRequest{TTL: 24 * time.Hour})
	if err := w.a.RevokeJoinKey(ctx, w.root, w.origin(w.root), revoked.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.join(newHost(t), used.Text); err != nil {
		t.Fatal(err)
	}
	w.later(24*time.Hour - time.Second)
	young := w.joinKey(w.root, authority.JoinKeyRequest{})
	if diff := cmp.Diff(map[id.ID]peer.KeyStatus{longest.ID: peer.KeyActive, young.ID: peer.KeyActive}, w.statuses(false)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[id.ID]peer.KeyStatus{
		longest.ID: peer.KeyActive, young.ID: peer.KeyActive, old.ID: peer.KeyExpired, expired.ID: peer.KeyExpired,
		revoked.ID: peer.KeyRevoked, used.ID: peer.KeyUsed,
	}, w.statuses(true)); diff != "" {
		t.Error(diff)
	}
	m := w.create(w.root, scopes(credential.PeersWrite))
	if _, err := w.a.JoinKeys(ctx, w.caller(m.client, m.secret), w.at, true); !errors.Is(err, access.ErrForbidden) {
		t.Errorf("without peers.read: %v", err)
	}
}

func TestRevokeJoinKey(t *testing.T) {
	t.Parallel()
	w := found(t)
	revoke := func(target id.ID) error { return w.a.RevokeJoinKey(ctx, w.root, w.origin(w.root), target) }
	k, used := w.joinKey(w.root, authority.JoinKeyRequest{}), w.joinKey(w.root, authority.JoinKeyRequest{})
	expired := w.joinKey(w.root, authority.JoinKeyRequest{TTL: time.Second})
	w.later(time.Second)
	h := newHost(t)
	if _, err := w.join(h, used.Text); err != nil {
		t.Fatal(err)
	}
	before := w.head()
	for range 2 {
		if err := revoke(k.ID); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(revoke(used.ID), revoke(expired.ID)); err != nil {
		t.Error(err)
	}
	if w.head() != before+1 {
		t.Errorf("%d records, want one", w.head()-before)
	}
	if _, err := w.join(newHost(t), k.Text); !errors.Is(err, authority.ErrJoinKey) {
		t.Errorf("join with a revoked key: %v", err)
	}
	if err := revoke(id.New(id.JoinKey, w.at)); !errors.Is(err, authority.ErrNotKnown) {
		t.Errorf("unknown: %v", err)
	}
	m := w.create(w.root, scopes(credential.PeersRead))
	by := w.caller(m.client, m.secret)
	if err := w.a.RevokeJoinKey(ctx, by, w.origin(by), k.ID); !errors.Is(err, access.ErrForbidden) {
		t.Errorf("without peers.write: %v", err)
	}
}

func TestRevokeJoinKey_InEveryRegion(t *testing.T) {
	t.Parallel()
	w := found(t)
	k := w.joinKey(w.root, authority.JoinKeyRequest{})
	if err := w.elsewhere(t).RevokeJoinKey(ctx, w.root, w.origin(w.root), k.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.join(newHost(t), k.Text); !errors.Is(err, authority.ErrJoinKey) {
		t.Errorf("= %v", err)
	}
}
