package access_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/testkey"
	"github.com/keyturn/keyturn/internal/token"
)

func TestCheck_SaysWhoAsks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	text := w.issue(w.clientOf(sharedI, 3), access.TokenRequest{Scope: "urn:keyturn:peers.read"}).AccessToken
	caller, err := w.Check(context.Background(), now, text, "")
	if err != nil || caller.ID() != sharedI || caller.Credential != w.credentials[sharedI] || !cmp.Equal(caller.Scopes, credential.Scopes{"peers.read"}) {
		t.Fatalf("= %+v, %v", caller, err)
	}
	if caller.Require(credential.PeersRead) != nil || !errors.Is(caller.Require(credential.PeersWrite), access.ErrForbidden) || !errors.Is(caller.Require(credential.LedgerRead), access.ErrForbidden) {
		t.Error("the token's scopes do not decide")
	}
}

func TestCheck_Times(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	text := w.issue(w.clientOf(sharedI, 3), access.TokenRequest{}).AccessToken
	for at, good := range map[time.Time]bool{
		now: true, now.Add(time.Hour - time.Second): true, now.Add(time.Hour - time.Nanosecond): true, now.Add(time.Hour): false, now.Add(2 * time.Hour): false,
		now.Add(-30 * time.Second): true, now.Add(-31 * time.Second): false,
	} {
		_, err := w.Check(context.Background(), at, text, "")
		if (err == nil) != good || err != nil && !errors.Is(err, access.ErrToken) {
			t.Errorf("at %s: %v", at, err)
		}
		if early := at.Before(now.Add(-access.Leeway)); errors.Is(err, access.ErrEarly) != early {
			t.Errorf("at %s it is from the future: %v, and the error is %v", at, early, err)
		}
	}
}

func TestCheck_Audience(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own := w.issue(w.clientOf(sharedI, 3), access.TokenRequest{}).AccessToken
	other := w.issue(w.clientOf(sharedI, 3), access.TokenRequest{Audience: "billing"}).AccessToken
	both := w.resign(own, w.signer, func(c *token.Claims) { c.Audience = token.Audience{"billing", issuer} })
	none := w.resign(own, w.signer, func(c *token.Claims) { c.Audience = nil })
	for _, row := range []struct {
		text, audience string
		good           bool
	}{
		{own, "", true},
		{own, issuer, true},
		{own, "billing", false},
		{other, "", false},
		{other, "billing", true},
		{other, "bill", false},
		{both, "", true},
		{both, "billing", true},
		{both, "x", false},
		{none, "", false},
	} {
		caller, err := w.Check(context.Background(), now, row.text, row.audience)
		if (err == nil) != row.good || err != nil && (!errors.Is(err, access.ErrToken) || caller.Credential != nil) {
			t.Errorf("for %q: %v", row.audience, err)
		}
	}
}

func TestCheck_RefusesOtherClaims(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	far := signer(t, testkey.P256("far"))
	const farPeer = id.ID("peer_01jd6y0e00f2bvwrw0xk3y4t60")
	w.ledger.Keys = append(w.ledger.Keys, ledger.Key{Key: far.Key(), PeerID: farPeer, Region: "far"})
	text := w.issue(w.clientOf(sharedI, 3), access.TokenRequest{}).AccessToken
	type C = token.Claims
	for name, row := range map[string]struct {
		with   *token.Signer
		change func(c *C)
		good   bool
	}{
		"Same":             {w.signer, func(*C) {}, true},
		"PeerAsIssuer":     {w.signer, func(c *C) { c.Issuer = peerI.String() }, true},
		"FarPeer":          {far, func(c *C) { c.PeerID = farPeer.String() }, true},
		"OtherCluster":     {w.signer, func(c *C) { c.ClusterID = "clu_01jd6y0e00f2bvwrw0xk3y4t60" }, false},
		"NoCluster":        {w.signer, func(c *C) { c.ClusterID = "" }, false},
		"OtherPeer":        {w.signer, func(c *C) { c.PeerID = farPeer.String() }, false},
		"KeyOfAnotherPeer": {far, func(*C) {}, false},
		"NoPeer":           {w.signer, func(c *C) { c.PeerID = "" }, false},
		"OtherIssuer":      {w.signer, func(c *C) { c.Issuer = "https://b.example" }, false},
		"FarPeerAsIssuer":  {w.signer, func(c *C) { c.Issuer = farPeer.String() }, false},
		"NoExpiry":         {w.signer, func(c *C) { c.ExpiresAt = 0 }, false},
		"BadScope":         {w.signer, func(c *C) { c.Scope = "admin ?" }, false},
		"LedgerRead":       {w.signer, func(c *C) { c.Scope = "ledger.read" }, false},
		"UnknownSubject":   {w.signer, func(c *C) { c.Subject = "cli_01jd6y0e00f2bvwrw0xk3y4t7z" }, false},
		"NoSubject":        {w.signer, func(c *C) { c.Subject = "" }, false},
		"VersionToCome":    {w.signer, func(c *C) { c.Version = 4 }, false},
		"NoVersion":        {w.signer, func(c *C) { c.Version = 0 }, false},
		"RetiredVersion":   {w.signer, func(c *C) { c.Version, c.ClientID = 1, sharedI.String()+"-1" }, true}, // each token carries its own end
		"UnknownKey":       {signer(t, testkey.P256("nobody")), func(*C) {}, false},
	} {
		_, err := w.Check(context.Background(), now, w.resign(text, row.with, row.change), "")
		if (err == nil) != row.good || err != nil && !errors.Is(err, access.ErrToken) {
			t.Errorf("%s: %v", name, err)
		}
		unknown := name == "UnknownSubject" || name == "NoSubject" || name == "VersionToCome" || name == "UnknownKey"
		if errors.Is(err, access.ErrUnknown) != unknown {
			t.Errorf("%s is unknown rather than dead: %v", name, err)
		}
	}
	for _, bad := range []string{"", "x", text + "\n", text[:len(text)-1]} {
		if _, err := w.Check(context.Background(), now, bad, ""); !errors.Is(err, access.ErrToken) {
			t.Errorf("%.10q: %v", bad, err)
		}
	}
}

func TestCheck_TombstonesCoverIssuedTokens(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]func(c *credential.Credential){
		"Version":    func(c *credential.Credential) { c.Versions[1].DeadSince = now },
		"Credential": func(c *credential.Credential) { c.RevokedAt = now },
	} {
		w := newWorld(t)
		text := w.issue(w.clientOf(sharedI, 2), access.TokenRequest{}).AccessToken
		if _, err := w.Check(context.Background(), now, text, ""); err != nil {
			t.Fatal(err)
		}
		kill(w.credentials[sharedI])
		_, err := w.Check(context.Background(), now, text, "")
		if !errors.Is(err, access.ErrToken) || errors.Is(err, access.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheck_RetiredKeysAndOtherTrouble(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	text := w.issue(w.clientOf(sharedI, 3), access.TokenRequest{}).AccessToken
	for _, want := range []error{access.ErrUnavailable, access.ErrNotBootstrapped, errBroken} {
		w.fails = want
		if _, err := w.Check(context.Background(), now, text, ""); !errors.Is(err, want) || errors.Is(err, access.ErrToken) {
			t.Errorf("= %v, want %v", err, want)
		}
		if _, _, err := w.Introspect(context.Background(), now, sharedI, nil, text); !errors.Is(err, want) {
			t.Errorf("introspection: %v, want %v", err, want)
		}
		if _, err := w.Former(context.Background(), now, text); !errors.Is(err, want) {
			t.Errorf("former: %v, want %v", err, want)
		}
	}
	w.fails = nil
	w.ledger.Keys[0].RetiredAt = now
	if _, err := w.Check(context.Background(), now, text, ""); !errors.Is(err, access.ErrToken) {
		t.Errorf("of a retired key: %v", err)
	}
}

func TestCluster_JWKSHasWhatIsInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := signer(t, testkey.Ed25519("old"))
	w.ledger.Keys = append(w.ledger.Keys, ledger.Key{Key: old.Key(), PeerID: peerI, RetiredAt: now})
	set := access.NewCluster(w.ledger).JWKS()
	if len(set.Keys) != 1 || !set.Keys[0].Equal(w.signer.Key()) {
		t.Errorf("= %v", set)
	}
	if set := access.NewCluster(&ledger.Cluster{}).JWKS(); set.Keys == nil || len(set.Keys) != 0 {
		t.Errorf("of none: %v", set)
	}
}

func TestFormer_ProvesWhoAskedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	text := w.issue(w.clientOf(sharedI, 2), access.TokenRequest{}).AccessToken
	other := w.issue(w.clientOf(sharedI, 2), access.TokenRequest{Audience: "billing"}).AccessToken
	elsewhere := w.resign(text, w.signer, func(c *token.Claims) { c.ClusterID = "clu_01jd6y0e00f2bvwrw0xk3y4t60" })
	expired := w.resign(text, w.signer, func(c *token.Claims) { c.ExpiresAt = 1 })
	forged := w.resign(text, signer(t, testkey.P256("nobody")), func(*token.Claims) {})
	w.credentials[sharedI].RevokedAt = now
	w.ledger.Keys[0].RetiredAt = now
	for name, good := range map[string]string{"Dead": text, "Expired": expired} {
		if got, err := w.Former(context.Background(), now, good); err != nil || got != sharedI {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	for name, bad := range map[string]string{"OtherAudience": other, "OtherCluster": elsewhere, "Forged": forged, "Empty": "", "Cut": text[:len(text)-1], "Assertion": w.assert(nil)} {
		if got, err := w.Former(context.Background(), now, bad); !errors.Is(err, access.ErrToken) || got != "" {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

func TestIntrospect_ShowsOnlyWhatMayBeSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	text := w.issue(w.clientOf(sharedI, 2), access.TokenRequest{Audience: "billing"}).AccessToken
	see := func(at time.Time, asker id.ID, text string, scopes ...credential.Scope) bool {
		t.Helper()
		c, active, err := w.Introspect(context.Background(), at, asker, scopes, text)
		if err != nil {
			t.Error(err)
		}
		if want := (token.Claims{}); active {
			want = w.claims(text)
			if !cmp.Equal(c, want) {
				t.Errorf("= %+v", c)
			}
		} else if !cmp.Equal(c, want) {
			t.Errorf("not active, and shows %+v", c)
		}
		return active
	}
	if !see(now, sharedI, text) || !see(now, readerI, text, credential.CredentialsRead) || !see(now, readerI, text, credential.Admin) {
		t.Error("the owner, or who may read credentials, does not see it")
	}
	if see(now, readerI, text) || see(now, readerI, text, credential.PeersRead, credential.CredentialsWrite) || see(now, "", text) {
		t.Error("another one sees it")
	}
	if see(now.Add(time.Hour), sharedI, text) || see(now, sharedI, "x") {
		t.Error("what is expired or malformed is active")
	}
	forged := w.resign(text, signer(t, testkey.P256("x")), func(*token.Claims) {})
	if _, active, err := w.Introspect(context.Background(), now, sharedI, nil, forged); active || !errors.Is(err, access.ErrUnknown) {
		t.Errorf("of a key that is not in the view: %t, %v", active, err)
	}
	w.credentials[sharedI].Versions[1].DeadSince = now
	if see(now, sharedI, text) {
		t.Error("a dead version's token is active")
	}
}
