package verdict_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/token"
	"github.com/keyturn/keyturn/internal/verdict"
)

func TestGate_AsksOnce(t *testing.T) {
	t.Parallel()
	w := open(t)
	c := w.create(credential.Shared, time.Time{}, credential.Admin)
	text, p := w.issue(now, c, 1, access.TokenRequest{}), w.proof(c.String(), c, 1)
	if n := w.misses(func() {
		for range 10 {
			if caller, err := w.check(now, text, ""); err != nil || caller.ID() != c || caller.Claims.ClientID != c.String()+"-1" {
				t.Errorf("%+v, %v", caller, err)
			}
		}
	}); n != 1 {
		t.Errorf("the token is checked %d times", n)
	}
	if n := w.misses(func() {
		for range 10 {
			if client, err := w.authenticate(now, p); err != nil || client.ClientID() != c.String()+"-1" {
				t.Errorf("%+v, %v", client, err)
			}
		}
	}); n != 1 {
		t.Errorf("the pair is checked %d times", n)
	}
	tokens, pairs := w.Stats()
	if tokens.Hits != 9 || tokens.Misses != 1 || pairs.Hits != 9 || pairs.Misses != 1 {
		t.Errorf("%+v, %+v", tokens, pairs)
	}
}

// Each change is moved by what changed alone.
func TestGate_WhatChangesIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(w *world, c, sidecar id.ID){
		"Revoked": func(w *world, c, _ id.ID) { w.change(c, func(c *credential.Credential) { c.RevokedAt = now }) },
		"VersionRevoked": func(w *world, c, _ id.ID) {
			w.change(c, func(c *credential.Credential) { c.Versions[0].DeadSince = now })
		},
		"Emergency":    func(w *world, c, _ id.ID) { w.rotate(c, time.Time{}, true, false) },
		"PeerRemoved":  func(w *world, _, s id.ID) { w.changePeer(s, func(p *peer.Peer) { p.LeftAt = now }) },
		"PeerNarrowed": func(w *world, _, s id.ID) { w.changePeer(s, func(p *peer.Peer) { p.MaxScopes = nil }) },
		"PeerKeyChanged": func(w *world, _, s id.ID) {
			w.changePeer(s, func(p *peer.Peer) { p.TokenKey = newSigner(w.t, "another").Key() })
		},
	} {
		w := open(t)
		sidecar := w.join("sidecar", credential.PeersRead)
		w.signs = w.keys[1]
		c := w.create(credential.Shared, time.Time{}, credential.PeersRead)
		text := w.issue(now, c, 1, access.TokenRequest{})
		if caller, err := w.check(now, text, ""); err != nil || caller.Issuer == nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := w.misses(func() { _, _ = w.check(now, text, "") }); n != 0 {
			t.Errorf("%s: not kept", name)
		}
		change(w, c, sidecar)
		if _, err := w.check(now, text, ""); !errors.Is(err, access.ErrToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGate_RetiredKey(t *testing.T) {
	t.Parallel()
	w := open(t)
	c := w.create(credential.Standard, time.Time{}, credential.PeersRead)
	text := w.issue(now, c, 1, access.TokenRequest{})
	if _, err := w.check(now, text, ""); err != nil {
		t.Fatal(err)
	}
	w.retire(w.keys[0].signer.Key())
	if _, err := w.check(now, text, ""); !errors.Is(err, access.ErrToken) {
		t.Error(err)
	}
}

// A peer's own token has no credential behind it.
func TestGate_TokenOfAPeer(t *testing.T) {
	t.Parallel()
	w := open(t)
	sidecar := w.join("sidecar")
	text, err := w.keys[0].signer.Sign(token.Claims{
		Issuer: issuer, Subject: sidecar.String(), ClientID: sidecar.String(), Audience: token.Audience{issuer}, IssuedAt: now.Unix(),
		ExpiresAt: now.Unix() + 60, ID: "one", Scope: string(credential.LedgerRead), ClusterID: clusterID.String(), PeerID: authorityI.String(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := w.misses(func() {
		for range 3 {
			if caller, err := w.check(now, text, ""); err != nil || caller.ID() != sidecar || caller.Claims.ClientID != sidecar.String() {
				t.Errorf("%+v, %v", caller, err)
			}
		}
	}); n != 1 {
		t.Errorf("asked %d times", n)
	}
	w.changePeer(sidecar, func(p *peer.Peer) { p.LeftAt = now })
	if _, err := w.check(now, text, ""); !errors.Is(err, access.ErrToken) {
		t.Error(err)
	}
}

func TestGate_Audience(t *testing.T) {
	t.Parallel()
	w := open(t)
	c := w.create(credential.Standard, time.Time{}, credential.PeersRead)
	home, away := w.issue(now, c, 1, access.TokenRequest{}), w.issue(now, c, 1, access.TokenRequest{Audience: billing})
	for range 3 { // in any order, and again
		for _, row := range []struct {
			text, audience string
			good           bool
		}{
			{away, billing, true},
			{away, "", false},
			{away, issuer, false},
			{home, issuer, true},
			{home, "", true},
			{home, billing, false},
			{home, "https://b", false},
		} {
			if _, err := w.check(now, row.text, row.audience); (err == nil) != row.good || err != nil && !errors.Is(err, access.ErrToken) {
				t.Errorf("%q: %v", row.audience, err)
			}
		}
	}
	if n := w.misses(func() {
		for audience, text := range map[string]string{"": home, issuer: home, billing: away} {
			_, _ = w.check(now, text, audience)
		}
	}); n != 0 {
		t.Errorf("%d good answers are not kept", n)
	}
}

func TestGate_KeepsNoRefusal(t *testing.T) {
	t.Parallel()
	w := open(t)
	c := w.create(credential.Shared, time.Time{}, credential.Admin)
	text := w.issue(now, c, 1, access.TokenRequest{})
	late := now.Add(access.Lifetime)
	wrong := access.Proof{ClientID: c.String(), Secret: credential.NewSecret().Reveal()}
	for range 3 {
		if n := w.misses(func() {
			_, expired := w.check(late, text, "")
			_, garbled := w.check(now, text+"x", "")
			_, refused := w.authenticate(now, wrong)
			_, unknown := w.authenticate(now, access.Proof{ClientID: c.String() + "-2", Secret: w.secrets[c][0].Reveal()})
			_, malformed := w.authenticate(now, access.Proof{ClientID: "hunter", Secret: "2"})
			_, short := w.authenticate(now, access.Proof{ClientID: c.String(), Secret: "2"})
			for _, err := range []error{expired, garbled, refused, unknown, malformed, short} {
				if err == nil {
					t.Error("good")
				}
			}
		}); n != 6 {
			t.Errorf("%d of 6 are asked", n)
		}
	}
	tokens, pairs := w.Stats()
	if tokens.Bytes != 0 || pairs.Bytes != 0 {
		t.Errorf("%+v, %+v", tokens, pairs)
	}
}

func TestGate_AssertionsAreUsedOnce(t *testing.T) {
	t.Parallel()
	w := open(t)
	key := newSigner(t, "client")
	c := w.create(credential.Standard, time.Time{}, credential.PeersRead)
	w.change(c, func(c *credential.Credential) { c.Versions[0].Key = key.Key() })
	text, err := key.SignAssertion(token.Assertion{
		Issuer: c.String(), Subject: c.String(), Audience: issuer, ExpiresAt: token.NumericDate(now.Unix() + 60), IssuedAt: token.NumericDate(now.Unix()), ID: "one",
	})
	if err != nil {
		t.Fatal(err)
	}
	p := w.proof(c.String(), c, 1)
	if _, err := w.authenticate(now, p); err != nil { // a pair that is known does not help
		t.Fatal(err)
	}
	p.Assertion = text
	if _, err := w.authenticate(now, p); err != nil {
		t.Fatal(err)
	}
	if _, err := w.authenticate(now, p); !errors.Is(err, access.ErrRefused) {
		t.Errorf("twice: %v", err)
	}
}

func TestGate_PairEndsWithItsWindow(t *testing.T) {
	t.Parallel()
	w := open(t)
	c := w.create(credential.Shared, now.Add(time.Hour), credential.Admin)
	w.rotate(c, now.Add(time.Minute), false, false)
	for _, row := range []struct {
		version int
		ends    time.Duration
	}{{1, time.Minute}, {2, time.Hour}} {
		p := w.proof(c.String(), c, row.version)
		if _, err := w.authenticate(now, p); err != nil {
			t.Fatal(err)
		}
		if n := w.misses(func() { _, _ = w.authenticate(now.Add(row.ends-time.Second), p) }); n != 0 {
			t.Errorf("version %d is not kept", row.version)
		}
		if _, err := w.authenticate(now.Add(row.ends), p); !errors.Is(err, access.ErrRefused) {
			t.Errorf("version %d at its end: %v", row.version, err)
		}
	}
}

func TestGate_TokenHoldsUntilItsEnd(t *testing.T) {
	t.Parallel()
	w := open(t)
	c := w.create(credential.Shared, time.Time{}, credential.Admin)
	text := w.issue(now, c, 1, access.TokenRequest{})
	if _, err := w.check(now, text, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := w.check(now.Add(-access.Leeway), text, ""); err != nil {
		t.Error(err)
	}
	for _, at := range []time.Time{now.Add(-access.Leeway - time.Second), now.Add(access.Lifetime)} {
		if _, err := w.check(at, text, ""); !errors.Is(err, access.ErrToken) {
			t.Errorf("at %s: %v", at, err)
		}
	}
	if n := w.misses(func() { _, _ = w.check(now.Add(access.Lifetime-time.Second), text, "") }); n != 0 {
		t.Error("not kept until its end")
	}
}

// A clock that turns out to be wrong moves nothing.
func TestGate_ClockBehind(t *testing.T) {
	t.Parallel()
	w := open(t)
	c := w.create(credential.Shared, time.Time{}, credential.Admin)
	w.rotate(c, now.Add(time.Hour), false, false)
	for version, refused := range map[int]bool{1: true, 2: false} {
		w.behind = false
		p := w.proof(c.String(), c, version)
		if _, err := w.authenticate(now, p); err != nil {
			t.Fatal(err)
		}
		w.behind = true
		if _, err := w.authenticate(now, p); errors.Is(err, access.ErrUnavailable) != refused {
			t.Errorf("version %d: %v", version, err)
		}
	}
	w.behind = false
	blind, err := verdict.NewGate(counting{w}, w.generations, verdict.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer blind.Close()
	for version, asked := range map[int]int{1: 2, 2: 1} {
		if n := w.misses(func() {
			for range 2 {
				_, _ = blind.Authenticate(context.Background(), now, w.proof(c.String(), c, version))
				blind.Wait()
			}
		}); n != asked {
			t.Errorf("without ClockBehind version %d is asked %d times", version, n)
		}
	}
}

// Where all hashes are equal, whoever comes finds the entry of whoever was there before.
func TestGate_EqualHashesAuthenticateNobody(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.Collide()
	a, b := w.create(credential.Shared, time.Time{}, credential.Admin), w.create(credential.Shared, time.Time{}, credential.Admin)
	w.rotate(a, time.Time{}, false, false)
	proofs := map[string]access.Proof{}
	for _, form := range []string{"", "-1", "-2"} {
		for n := 1; n <= 2; n++ {
			proofs[fmt.Sprintf("a%s with %d", form, n)] = w.proof(a.String()+form, a, n)
		}
		proofs[fmt.Sprintf("a%s with b's", form)] = w.proof(a.String()+form, b, 1)
		proofs[fmt.Sprintf("b%s with a's", form)] = w.proof(b.String()+form, a, 1)
		proofs["b"+form] = w.proof(b.String()+form, b, 1)
	}
	for name := range proofs { // each fills the only place, then all come
		_, _ = w.authenticate(now, proofs[name])
		for name, p := range proofs {
			want, wantErr := w.plain.Authenticate(context.Background(), now, p)
			got, err := w.Authenticate(context.Background(), now, p)
			if (err == nil) != (wantErr == nil) || err == nil && (got.ID() != want.ID() || got.Version.Number != want.Version.Number) {
				t.Errorf("%s: %v, want %v", name, err, wantErr)
			}
		}
	}
	texts := []string{w.issue(now, a, 1, access.TokenRequest{}), w.issue(now, a, 2, access.TokenRequest{}), w.issue(now, b, 1, access.TokenRequest{})}
	for _, text := range texts {
		_, _ = w.check(now, text, "")
		for i, id := range []id.ID{a, a, b} {
			if caller, err := w.Check(context.Background(), now, texts[i], ""); err != nil || caller.ID() != id {
				t.Errorf("%d: %v", i, err)
			}
		}
	}
}

func TestGate_AnswersAfterClose(t *testing.T) {
	t.Parallel()
	w := open(t)
	c := w.create(credential.Shared, time.Time{}, credential.Admin)
	w.Close()
	for range 2 {
		if _, err := w.Authenticate(context.Background(), now, w.proof(c.String(), c, 1)); err != nil {
			t.Error(err)
		}
		if _, err := w.Check(context.Background(), now, w.issue(now, c, 1, access.TokenRequest{}), ""); err != nil {
			t.Error(err)
		}
	}
	if w.asked != 4 {
		t.Errorf("asked %d times", w.asked)
	}
}

func TestGate_AllocatesNothingOnAHit(t *testing.T) {
	w := open(t)
	c := w.create(credential.Shared, time.Time{}, credential.Admin)
	text := w.issue(now, c, 1, access.TokenRequest{})
	if _, err := w.check(now, text, ""); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() { _, _ = w.Check(context.Background(), now, text, "") }); n != 0 || w.asked != 1 {
		t.Errorf("%v allocations, asked %d times", n, w.asked)
	}
}

func TestNewGate_Limits(t *testing.T) {
	t.Parallel()
	for _, o := range []verdict.Options{{Tokens: verdict.Limits{Entries: -1}}, {Pairs: verdict.Limits{Bytes: -1}}} {
		if _, err := verdict.NewGate(nil, verdict.NewGenerations(), o); err == nil {
			t.Errorf("%+v is fine", o)
		}
	}
}
