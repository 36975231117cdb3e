package access_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/token"
)

func TestIssue_AllThatTheCredentialHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tok := w.issue(w.clientOf(sharedI, 3), access.TokenRequest{})
	want := token.Claims{
		Issuer: issuer, Subject: sharedI.String(), ClientID: sharedI.String() + "-3", Version: 3, Audience: token.Audience{issuer},
		ExpiresAt: now.Unix() + 3600, IssuedAt: now.Unix(), Scope: "admin", ClusterID: cluster.String(), PeerID: peerI.String(),
	}
	got := w.claims(tok.AccessToken)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(token.Claims{}, "ID")); diff != "" {
		t.Error(diff)
	}
	if again := w.claims(w.issue(w.clientOf(sharedI, 3), access.TokenRequest{}).AccessToken); len(got.ID) != 22 || again.ID == got.ID {
		t.Errorf("jti %q, then %q", got.ID, again.ID)
	}
	if tok.ExpiresIn != time.Hour || tok.Scope != "admin" || !tok.SecretExpiresAt.IsZero() || tok.SecretVersionCurrent != 0 {
		t.Errorf("= %+v", tok)
	}
}

func TestIssue_ScopeNarrowsAndKeepsItsSpelling(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, row := range []struct {
		of              id.ID
		asked           string
		spelling, scope string // "" is refused
	}{
		{sharedI, "peers.read", "peers.read", "peers.read"},
		{sharedI, "urn:tillered:arctic:peers.read urn:keyturn:admin", "urn:tillered:arctic:peers.read urn:keyturn:admin", "admin peers.read"},
		{sharedI, "billing.read", "billing.read", "billing.read"},
		{sharedI, "admin admin", "admin", "admin"},
		{sharedI, "urn:keyturn:peers.read peers.read", "urn:keyturn:peers.read peers.read", "peers.read"},
		{sharedI, "ledger.read", "", ""},
		{sharedI, "admin urn:keyturn:ledger.read", "", ""},
		{sharedI, "Admin", "", ""},
		{readerI, "", "peers.read services.read", "peers.read services.read"},
		{readerI, "  ", "peers.read services.read", "peers.read services.read"},
		{readerI, "services.read  peers.read", "services.read peers.read", "peers.read services.read"},
		{readerI, "urn:keyturn:services.read", "urn:keyturn:services.read", "services.read"},
		{readerI, "admin", "", ""},
		{readerI, "peers.read peers.write", "", ""},
		{readerI, "urn:keyturn:credentials.write", "", ""},
		{readerI, "peers.read ?", "", ""},
		{readerI, strings.Repeat("peers.read ", 65), "", ""},
	} {
		tok, err := w.Issue(context.Background(), now, w.clientOf(row.of, len(w.secrets[row.of])), access.TokenRequest{Scope: row.asked})
		if row.scope == "" {
			if !errors.Is(err, access.ErrScope) || tok != (access.Token{}) {
				t.Errorf("%.40s: %v", row.asked, err)
			}
			continue
		}
		if err != nil || tok.Scope != row.spelling || w.claims(tok.AccessToken).Scope != row.scope {
			t.Errorf("%s: %q, %v", row.asked, tok.Scope, err)
		}
	}
}

func TestIssue_AudienceOrResource(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, row := range []struct{ audience, resource, want string }{
		{"", "", issuer},
		{issuer, "", issuer},
		{"billing", "", "billing"},
		{"", "https://b.example/x?y=1", "https://b.example/x?y=1"},
		{"", "urn:b", "urn:b"},
		{"https://b.example", "https://b.example", "https://b.example"},
		{strings.Repeat("a", 512), "", strings.Repeat("a", 512)},
		{"https://b.example", "https://c.example", ""},
		{"", "b.example", ""},
		{"", "/path", ""},
		{"", "https://b.example/#f", ""},
		{"", "https://b.example/#", ""},
		{"", "https://b.example/%zz", ""},
		{"a b", "", ""},
		{"a\n", "", ""},
		{"é", "", ""},
		{"\x7f", "", ""},
		{strings.Repeat("a", 513), "", ""},
	} {
		tok, err := w.Issue(context.Background(), now, w.clientOf(sharedI, 3), access.TokenRequest{Audience: row.audience, Resource: row.resource})
		if row.want == "" {
			if !errors.Is(err, access.ErrRequest) {
				t.Errorf("%q and %q: %v", row.audience, row.resource, err)
			}
			continue
		}
		if err != nil || !cmp.Equal(w.claims(tok.AccessToken).Audience, token.Audience{row.want}) {
			t.Errorf("%q and %q: %v", row.audience, row.resource, err)
		}
	}
}

func TestIssue_DoesNotOutliveTheSecretOrTheCredential(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		version         int
		notAfter, whole time.Duration // from now; 0: none
		want            time.Duration
		superseded      bool
	}{
		{3, 0, 0, time.Hour, false},
		{2, 30 * time.Minute, 0, 30 * time.Minute, true},
		{2, 24 * time.Hour, 0, time.Hour, true},
		{2, time.Second, 0, time.Second, true},
		{3, 0, 10 * time.Minute, 10 * time.Minute, false},
		{3, 0, 24 * time.Hour, time.Hour, false},
		{2, 20 * time.Minute, 10 * time.Minute, 10 * time.Minute, true},
		{2, 10 * time.Minute, 20 * time.Minute, 10 * time.Minute, true},
	} {
		w := newWorld(t)
		c := w.credentials[sharedI]
		if row.notAfter != 0 {
			c.Versions[row.version-1].NotAfter = now.Add(row.notAfter)
		}
		if row.whole != 0 {
			c.ExpiresAt = now.Add(row.whole)
		}
		tok := w.issue(w.clientOf(sharedI, row.version), access.TokenRequest{})
		if tok.ExpiresIn != row.want || w.claims(tok.AccessToken).ExpiresAt != now.Add(row.want).Unix() {
			t.Errorf("%+v: %s", row, tok.ExpiresIn)
		}
		expires, current := time.Time{}, 0 // a current secret is not warned about
		if row.superseded {
			expires, current = now.Add(row.notAfter), 3
		}
		if !tok.SecretExpiresAt.Equal(expires) || tok.SecretVersionCurrent != current {
			t.Errorf("%+v: %+v", row, tok)
		}
	}
}

func TestIssue_PeerAsIssuer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.peerIssuer = true
	w.reset()
	text := w.issue(w.clientOf(sharedI, 3), access.TokenRequest{}).AccessToken
	if c := w.claims(text); c.Issuer != peerI.String() || !cmp.Equal(c.Audience, token.Audience{issuer}) {
		t.Errorf("= %+v", c)
	}
	if _, err := w.Check(context.Background(), now, text, ""); err != nil {
		t.Error(err)
	}
}

func TestIssue_NeverMoreThanCheckReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	scopes := make([]string, 64)
	for i := range scopes {
		scopes[i] = strings.Repeat("a", 60) + fmt.Sprintf(".b%02d", i)
	}
	r := access.TokenRequest{Scope: strings.Join(scopes, " "), Audience: strings.Repeat("a", 512)}
	tok := w.issue(w.clientOf(sharedI, 3), r)
	if _, err := w.Check(context.Background(), now, tok.AccessToken, r.Audience); err != nil {
		t.Errorf("the longest that is asked for in earnest (%d bytes): %v", len(tok.AccessToken), err)
	}
	r.Audience = strings.Repeat("<", 512) // six bytes each in JSON
	if _, err := w.Issue(context.Background(), now, w.clientOf(sharedI, 3), r); !errors.Is(err, access.ErrRequest) {
		t.Errorf("= %v", err)
	}
}

func TestIssue_WithoutAKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.clientOf(sharedI, 3)
	gate := access.NewGate(w, access.Options{})
	if _, err := gate.Issue(context.Background(), now, c, access.TokenRequest{}); !errors.Is(err, access.ErrUnavailable) || gate.CanIssue(t.Context(), now) == nil {
		t.Errorf("= %v, %v", err, gate.CanIssue(t.Context(), now))
	}
	failing := access.NewGate(w, access.Options{Signer: func(context.Context, time.Time) (*token.Signer, id.ID, error) { return nil, "", errBroken }})
	if _, err := failing.Issue(context.Background(), now, c, access.TokenRequest{}); !errors.Is(err, errBroken) || !errors.Is(failing.CanIssue(t.Context(), now), errBroken) {
		t.Errorf("= %v", err)
	}
	if w.CanIssue(t.Context(), now) != nil {
		t.Error("with a key it says that it cannot issue")
	}
	w.ledger = nil
	if _, err := w.Issue(context.Background(), now, c, access.TokenRequest{}); !errors.Is(err, access.ErrNotBootstrapped) {
		t.Errorf("= %v", err)
	}
}

func TestIssue_TheCurrentVersionIsTheOneThatLives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.clientOf(sharedI, 2)
	dead := w.credentials[sharedI].Versions[2]
	dead.Number, dead.DeadSince = 9, now
	w.credentials[sharedI].Versions = append(w.credentials[sharedI].Versions, dead)
	if tok := w.issue(access.Client{Credential: w.credentials[sharedI], Version: c.Version}, access.TokenRequest{}); tok.SecretVersionCurrent != 3 {
		t.Errorf("version %d is called current", tok.SecretVersionCurrent)
	}
}
