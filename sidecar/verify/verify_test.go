package verify_test

import (
	"encoding/base64"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/token"
	"github.com/keyturn/keyturn/sidecar/verify"
)

func TestVerifier_Claims(t *testing.T) {
	t.Parallel()
	w, v := open(t)
	text := w.sign(sidecarI, func(c *token.Claims) { c.Audience = token.Audience{issuer, billing} })
	want := verify.Claims{
		ClientID: sharedI.String() + "-2", Credential: sharedI.String(), Version: 2, Scopes: []string{"peers.read"},
		Audience: []string{issuer, billing}, IssuedBy: sidecarI.String(), ExpiresAt: now.Add(time.Hour),
	}
	for _, wanted := range []verify.Want{{}, {Scopes: []string{"peers.read", "urn:keyturn:peers.read"}}, {Audience: billing}} {
		got, err := v.Check(t.Context(), text, wanted)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		remember(t, v, text, wanted)
	}
	if got, err := v.Check(t.Context(), text, verify.Want{}); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("from memory: %+v, %v", got, err)
	}
}

// Each row breaks one rule of access.Check.
func TestVerifier_Refuses(t *testing.T) {
	t.Parallel()
	w, v := open(t)
	foreign := newSigner(t, edKey("foreign"))
	by := func(peerID id.ID, change func(c *token.Claims)) string { return w.sign(peerID, change) }
	rows := map[string]struct {
		text string
		ok   bool
	}{
		"Good":              {by(authorityI, nil), true},
		"AtTheLastSecond":   {by(authorityI, func(c *token.Claims) { c.ExpiresAt = now.Unix() + 1 }), true},
		"Expired":           {by(authorityI, func(c *token.Claims) { c.ExpiresAt = now.Unix() }), false},
		"WithinLeeway":      {by(authorityI, func(c *token.Claims) { c.IssuedAt = now.Unix() + 30 }), true},
		"ALongerLife":       {by(authorityI, func(c *token.Claims) { c.ExpiresAt++ }), false},
		"ALifeFromLongAgo":  {by(authorityI, func(c *token.Claims) { c.ExpiresAt, c.IssuedAt = math.MaxInt64, -2 }), false},
		"AnotherClientID":   {by(authorityI, func(c *token.Claims) { c.ClientID = readerI.String() }), false},
		"AnotherVersionsID": {by(authorityI, func(c *token.Claims) { c.ClientID = sharedI.String() + "-1" }), false},
		"FromTheFuture":     {by(authorityI, func(c *token.Claims) { c.IssuedAt = now.Unix() + 31 }), false},
		"OtherIssuer":       {by(authorityI, func(c *token.Claims) { c.Issuer = billing }), false},
		"PeerAsIssuer":      {by(authorityI, func(c *token.Claims) { c.Issuer = authorityI.String() }), true},
		"OtherPeerAsIssuer": {by(authorityI, func(c *token.Claims) { c.Issuer = sidecarI.String() }), false},
		"OtherCluster":      {by(authorityI, func(c *token.Claims) { c.ClusterID = otherI.String() }), false},
		"OthersKey":         {by(sidecarI, func(c *token.Claims) { c.PeerID = authorityI.String() }), false},
		"AuthoritysKey":     {by(authorityI, func(c *token.Claims) { c.PeerID = sidecarI.String() }), false},
		"NoPeer":            {by(authorityI, func(c *token.Claims) { c.PeerID = "" }), false},
		"NoCredential":      {by(authorityI, func(c *token.Claims) { c.Subject = "jk_01jd6y0e00f2bvwrw0xk3y4t5z" }), false},
		"NoVersion":         {by(authorityI, func(c *token.Claims) { c.Version = 0 }), false},
		"WithinGrant":       {by(sidecarI, nil), true},
		"BeyondGrant":       {by(sidecarI, func(c *token.Claims) { c.Scope = "peers.read services.read" }), false},
		"AdminBeyondGrant":  {by(sidecarI, func(c *token.Claims) { c.Scope = "admin" }), false},
		"NoScope":           {by(authorityI, func(c *token.Claims) { c.Scope = "" }), true},
		"MalformedScope":    {by(authorityI, func(c *token.Claims) { c.Scope = "Peers" }), false},
		"LedgerForClients":  {by(authorityI, func(c *token.Claims) { c.Scope = "ledger.read" }), false},
		"Peer":              {by(authorityI, func(c *token.Claims) { c.Subject, c.Scope = sidecarI.String(), "ledger.read" }), true},
		"PeerBySidecar":     {by(sidecarI, func(c *token.Claims) { c.Subject, c.Scope = sidecarI.String(), "ledger.read" }), false},
		"PeerBeyondLedger":  {by(authorityI, func(c *token.Claims) { c.Subject = sidecarI.String() }), false},
		"UnknownPeer":       {by(authorityI, func(c *token.Claims) { c.Subject, c.Scope = lateI.String(), "ledger.read" }), false},
		"UnknownKey":        {sign(t, foreign, claims()), false},
		"Nothing":           {"", false},
		"NoToken":           {"a.b.c", false},
		"Cut":               {strings.TrimSuffix(by(authorityI, nil), "A")[:300], false},
		"NoAlgorithm":       {withHeader(by(authorityI, nil), `{"alg":"none","typ":"at+jwt"}`), false},
		"OtherAlgorithm":    {withHeader(by(authorityI, nil), `{"alg":"HS256","typ":"at+jwt","kid":"`+w.signers[authorityI].Key().ID()+`"}`), false},
		"Assertion":         {assertion(t, w), false},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second time from memory, maybe
				_, err := v.Check(t.Context(), row.text, verify.Want{})
				if row.ok {
					is(t, err, nil)
				} else {
					is(t, err, verify.ErrInvalid)
				}
			}
		})
	}
}

// withHeader replaces the header of a token, and keeps its signature.
func withHeader(text, header string) string {
	_, rest, _ := strings.Cut(text, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + rest
}

// assertion is signed by a key of the cluster, and is of another type (RFC 8725 §3.11).
func assertion(t *testing.T, w *world) string {
	text, err := w.signers[authorityI].SignAssertion(token.Assertion{Issuer: issuer, Subject: sharedI.String(), Audience: issuer})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestVerifier_Wants(t *testing.T) {
	t.Parallel()
	w, v := open(t)
	admin := w.sign(authorityI, func(c *token.Claims) { c.Scope = "admin" })
	two := w.sign(authorityI, func(c *token.Claims) { c.Scope = "billing.read peers.read" })
	elsewhere := w.sign(authorityI, func(c *token.Claims) { c.Audience = token.Audience{billing} })
	for name, row := range map[string]struct {
		text string
		want verify.Want
		err  error
	}{
		"Both":             {two, verify.Want{Scopes: []string{"peers.read", "urn:tillered:arctic:billing.read"}}, nil},
		"OneTooMany":       {two, verify.Want{Scopes: []string{"peers.read", "peers.write"}}, verify.ErrForbidden},
		"AdminIsAll":       {admin, verify.Want{Scopes: []string{"peers.read", "billing.write", "admin"}}, nil},
		"AdminNotLedger":   {admin, verify.Want{Scopes: []string{"ledger.read"}}, verify.ErrForbidden},
		"NobodyIsAdmin":    {two, verify.Want{Scopes: []string{"admin"}}, verify.ErrForbidden},
		"Malformed":        {admin, verify.Want{Scopes: []string{"Peers Read"}}, verify.ErrForbidden},
		"MalformedEmpty":   {admin, verify.Want{Scopes: []string{""}}, verify.ErrForbidden},
		"Audience":         {elsewhere, verify.Want{Audience: billing}, nil},
		"AudienceUnasked":  {elsewhere, verify.Want{}, verify.ErrInvalid},
		"AudienceAsked":    {two, verify.Want{Audience: billing}, verify.ErrForbidden},
		"AudienceOfIssuer": {two, verify.Want{Audience: issuer}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v.Check(t.Context(), row.text, row.want)
			is(t, err, row.err)
			if row.err == nil {
				remember(t, v, row.text, row.want)
			}
		})
	}
	own := w.verifier(t, verify.Options{Audience: billing, Issuer: issuer})
	defer own.Close()
	_, err := own.Check(t.Context(), elsewhere, verify.Want{})
	is(t, err, nil)
	_, err = own.Check(t.Context(), two, verify.Want{})
	is(t, err, verify.ErrInvalid)
}

// What a cache has learned ends with what it rests on.
func TestVerifier_SeenTokensDie(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		by  id.ID
		how func(w *world)
	}{
		"Credential":      {authorityI, func(w *world) { w.revoke(sharedI) }},
		"Version":         {authorityI, func(w *world) { w.revoke(sharedI, 2) }},
		"VersionsAfter":   {authorityI, func(w *world) { w.revoke(sharedI, 1); w.revoke(sharedI, 2) }},
		"Denied":          {authorityI, func(w *world) { w.deny(sharedI.String()) }},
		"DeniedVersion":   {authorityI, func(w *world) { w.deny(sharedI.String() + "-2") }},
		"DeniedPeer":      {sidecarI, func(w *world) { w.deny(sidecarI.String()) }},
		"DeniedAuthority": {authorityI, func(w *world) { w.deny(authorityI.String()) }},
		"RemovedPeer":     {sidecarI, func(w *world) { w.remove(sidecarI) }},
		"LessToGrant": {sidecarI, func(w *world) {
			w.setPeer(sidecarI, func(p *peer.Peer) { p.MaxScopes = credential.NewScopes(credential.ServicesRead) })
		}},
		"RetiredKey": {authorityI, func(w *world) { w.retire(w.signers[authorityI].Key().ID()) }},
		"Expired":    {authorityI, func(w *world) { w.pass(time.Hour) }},
		"ClockBack":  {authorityI, func(w *world) { w.pass(-31 * time.Second) }},
		"OtherCluster": {authorityI, func(w *world) {
			w.change(func() { w.ledger.ID = otherI })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, v := open(t)
			text := w.sign(row.by, nil)
			remember(t, v, text, verify.Want{})
			row.how(w)
			sync1(t, v)
			_, err := v.Check(t.Context(), text, verify.Want{})
			is(t, err, verify.ErrInvalid)
		})
	}
}

func TestVerifier_SparesOthers(t *testing.T) {
	t.Parallel()
	w, v := open(t)
	text := w.sign(authorityI, nil)
	remember(t, v, text, verify.Want{})
	w.revoke(sharedI, 1)
	w.revoke(readerI)
	w.deny(sharedI.String()+"-1", sidecarI.String(), "what is this")
	sync1(t, v)
	_, err := v.Check(t.Context(), text, verify.Want{})
	is(t, err, nil)
	w.deny(sharedI.String())
	sync1(t, v)
	_, err = v.Check(t.Context(), text, verify.Want{})
	is(t, err, verify.ErrInvalid)
	w.deny()
	sync1(t, v)
	_, err = v.Check(t.Context(), text, verify.Want{})
	is(t, err, nil)
}

// A sidecar that has lost its place in the ledgers tells everything anew.
func TestVerifier_ReadsAnewWhereItsCursorIsNotKnown(t *testing.T) {
	t.Parallel()
	w, v := open(t)
	text := w.sign(authorityI, nil)
	remember(t, v, text, verify.Want{})
	w.set(func() { w.forgets = true })
	w.revoke(sharedI)
	sync1(t, v)
	_, err := v.Check(t.Context(), text, verify.Want{})
	is(t, err, verify.ErrInvalid)
	w.change(func() { w.graves = nil })
	sync1(t, v)
	_, err = v.Check(t.Context(), text, verify.Want{})
	is(t, err, nil)
}

func TestVerifier_Close(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := w.verifier(t, verify.Options{})
	text := w.sign(authorityI, nil)
	remember(t, v, text, verify.Want{})
	v.Close()
	v.Close()
	_, err := v.Check(t.Context(), text, verify.Want{})
	is(t, err, verify.ErrStale)
}
