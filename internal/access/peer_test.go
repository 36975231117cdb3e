package access_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/token"
)

// issued is a token of the peer sidecarI for the credential readerI.
func (w *world) issued(change func(*token.Claims)) string {
	w.t.Helper()
	c := token.Claims{
		Issuer: issuer, Subject: readerI.String(), ClientID: readerI.String(), Version: 1, Audience: token.Audience{issuer},
		ExpiresAt: now.Unix() + 3600, IssuedAt: now.Unix(), ID: "j", Scope: "peers.read", ClusterID: cluster.String(), PeerID: sidecarI.String(),
	}
	if change != nil {
		change(&c)
	}
	text, err := w.sidecar.Sign(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

func TestCheck_TokensOfASidecar(t *testing.T) {
	t.Parallel()
	t.Run("Good", func(t *testing.T) {
		w := newWorld(t)
		caller, err := w.Check(context.Background(), now, w.issued(nil), "")
		if err != nil || caller.ID() != readerI || caller.Issuer == nil || caller.Issuer.ID != sidecarI {
			t.Fatalf("%+v, %v", caller, err)
		}
	})
	for name, change := range map[string]func(*world, *token.Claims){
		"BeyondWhatItMayGrant": func(_ *world, c *token.Claims) { c.Scope = "peers.read services.read" },
		"Removed":              func(w *world, _ *token.Claims) { w.peers[sidecarI].LeftAt = now },
		"GrantsLessNow":        func(w *world, _ *token.Claims) { w.peers[sidecarI].MaxScopes = nil },
		"AnotherKey":           func(w *world, _ *token.Claims) { w.peers[sidecarI].TokenKey = w.identity.Key() },
		"NamesNoPeer":          func(_ *world, c *token.Claims) { c.PeerID = "" },
		"ForAPeer":             func(_ *world, c *token.Claims) { c.Subject, c.Scope = sidecarI.String(), "ledger.read" },
		"AnotherIssuer":        func(_ *world, c *token.Claims) { c.Issuer = "https://b.example" },
		"AnotherClientID":      func(_ *world, c *token.Claims) { c.ClientID = sharedI.String() + "-3" },
		"NoClientID":           func(_ *world, c *token.Claims) { c.ClientID = "root\x1b[31m\r\nX: y" },
		"ALongerLife":          func(_ *world, c *token.Claims) { c.ExpiresAt++ },
		"ALifeFromLongAgo":     func(_ *world, c *token.Claims) { c.ExpiresAt, c.IssuedAt = math.MaxInt64, -2 },
		"OfWhatIsOver":         func(w *world, _ *token.Claims) { w.credentials[readerI].ExpiresAt = now },
		"BeyondItsCredential": func(w *world, c *token.Claims) {
			w.peers[sidecarI].MaxScopes, c.Scope = credential.NewScopes("billing.write"), "billing.write"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			text := w.issued(func(c *token.Claims) { change(w, c) })
			if _, err := w.Check(context.Background(), now, text, ""); !errors.Is(err, access.ErrToken) || errors.Is(err, access.ErrUnknown) {
				t.Errorf("%v, want a plain ErrToken", err)
			}
		})
	}
	t.Run("NotInTheView", func(t *testing.T) {
		w := newWorld(t)
		text := w.issued(nil)
		delete(w.peers, sidecarI)
		if _, err := w.Check(context.Background(), now, text, ""); !errors.Is(err, access.ErrToken) || !errors.Is(err, access.ErrUnknown) {
			t.Errorf("%v, want ErrToken that is ErrUnknown", err)
		}
	})
	t.Run("NamesTheAuthority", func(t *testing.T) { // which may have published a key since
		w := newWorld(t)
		text := w.issued(func(c *token.Claims) { c.PeerID = peerI.String() })
		if _, err := w.Check(context.Background(), now, text, ""); !errors.Is(err, access.ErrToken) || !errors.Is(err, access.ErrUnknown) {
			t.Errorf("%v, want ErrToken that is ErrUnknown", err)
		}
	})
	t.Run("AuthoritysTokenNamesThePeer", func(t *testing.T) {
		w := newWorld(t)
		w.sidecar = w.signer // signs what names the sidecar
		text := w.issued(nil)
		if _, err := w.Check(context.Background(), now, text, ""); !errors.Is(err, access.ErrToken) {
			t.Errorf("%v, want ErrToken", err)
		}
	})
}

// A token that was signed for the version to come does not outlive the emergency that makes it for long.
func TestCheck_ATokenLastsAnHour(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	early := w.issued(func(c *token.Claims) { c.Version, c.ExpiresAt = 2, now.AddDate(1, 0, 0).Unix() })
	hour := w.issued(func(c *token.Claims) { c.Version = 2 })
	w.credentials[readerI].Versions = append(w.credentials[readerI].Versions, credential.Version{Number: 2})
	for _, row := range []struct {
		text string
		at   time.Time
		good bool
	}{
		{early, now, false},
		{early, now.Add(48 * time.Hour), false},
		{hour, now.Add(time.Hour - time.Second), true},
		{hour, now.Add(time.Hour), false},
	} {
		if _, err := w.Check(context.Background(), row.at, row.text, ""); (err == nil) != row.good || err != nil && !errors.Is(err, access.ErrToken) {
			t.Errorf("at %s: %v", row.at, err)
		}
	}
}

// An answer that was kept goes to who asked: a sidecar cannot say so for scopes that it may not grant.
func TestFormer_BoundByWhatThePeerMayGrant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for scope, good := range map[string]bool{"peers.read": true, "admin": false, "?": false} {
		text := w.issued(func(c *token.Claims) {
			c.Subject, c.ClientID, c.Version, c.Scope = sharedI.String(), sharedI.String()+"-3", 3, scope
		})
		if _, err := w.Former(context.Background(), now, text); (err == nil) != good || err != nil && !errors.Is(err, access.ErrToken) {
			t.Errorf("%s: %v", scope, err)
		}
	}
}

func TestAuthenticate_APeerGetsLedgerReadOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	asserted := func(by *token.Signer) access.Proof {
		text, err := by.SignAssertion(token.Assertion{
			Issuer: sidecarI.String(), Subject: sidecarI.String(), Audience: issuer, ExpiresAt: token.NumericDate(now.Unix() + 60), ID: by.Key().ID(),
		})
		if err != nil {
			t.Fatal(err)
		}
		return access.Proof{ClientID: sidecarI.String(), Assertion: text}
	}
	if _, err := w.Authenticate(context.Background(), now, asserted(w.sidecar)); !errors.Is(err, access.ErrRefused) {
		t.Fatalf("signed with the token key: %v", err)
	}
	p := asserted(w.identity)
	client, err := w.Authenticate(context.Background(), now, p)
	if err != nil || client.ID() != sidecarI {
		t.Fatalf("%+v, %v", client, err)
	}
	if _, err := w.Authenticate(context.Background(), now, p); !errors.Is(err, access.ErrRefused) {
		t.Errorf("shown twice: %v", err)
	}
	for _, scope := range []string{"", "ledger.read"} {
		got, err := w.Issue(context.Background(), now, client, access.TokenRequest{Scope: scope})
		if err != nil || got.Scope != "ledger.read" {
			t.Fatalf("%q: %+v, %v", scope, got, err)
		}
		caller, err := w.Check(context.Background(), now, got.AccessToken, "")
		if err != nil || caller.Peer == nil || caller.ID() != sidecarI || !cmp.Equal(caller.Scopes.Strings(), []string{"ledger.read"}) {
			t.Fatalf("%+v, %v", caller, err)
		}
		w.peers[sidecarI].LeftAt = now
		if _, err := w.Check(context.Background(), now, got.AccessToken, ""); !errors.Is(err, access.ErrToken) {
			t.Errorf("after its removal: %v", err)
		}
		w.peers[sidecarI].LeftAt = time.Time{}
	}
	if _, err := w.Issue(context.Background(), now, client, access.TokenRequest{Scope: "peers.read"}); !errors.Is(err, access.ErrScope) {
		t.Errorf("another scope: %v", err)
	}
	w.peers[sidecarI].LeftAt = now
	if _, err := w.Authenticate(context.Background(), now, asserted(w.identity)); !errors.Is(err, access.ErrRefused) {
		t.Errorf("removed: %v", err)
	}
}

func TestIssue_RefusesWhatThePeerMayNotGrant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.options()
	o.MayGrant = func(_ context.Context, at time.Time, scopes credential.Scopes) bool {
		if !at.Equal(now) {
			t.Errorf("asked about %v, want the instant of the request, %v", at, now)
		}
		return w.peers[sidecarI].MayGrant(scopes)
	}
	w.Gate = access.NewGate(w, o)
	client := access.Client{Credential: w.credentials[readerI], Version: &w.credentials[readerI].Versions[0]}
	if _, err := w.Issue(context.Background(), now, client, access.TokenRequest{}); !errors.Is(err, access.ErrBeyond) {
		t.Errorf("%v, want ErrBeyond", err)
	}
	if _, err := w.Issue(context.Background(), now, client, access.TokenRequest{Scope: string(credential.PeersRead)}); err != nil {
		t.Error(err)
	}
}
