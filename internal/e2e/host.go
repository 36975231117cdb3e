package e2e

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"testing"

	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/token"
)

// Host is a machine that can join a cluster, with the two keys of a peer.
type Host struct {
	Public jwk.Key       // who it is
	Tokens *token.Signer // with its token key

	identity ed25519.PrivateKey
}

// NewHost makes a host with keys of its own.
func NewHost(t testing.TB) *Host {
	t.Helper()
	public, identity, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h := &Host{identity: identity}
	if h.Public, err = jwk.New(public); err != nil {
		t.Fatal(err)
	}
	if h.Tokens, err = token.NewSigner(key); err != nil {
		t.Fatal(err)
	}
	return h
}

// Join is the body with which the host joins.
func (h *Host) Join(t testing.TB, joinKey string) map[string]any {
	t.Helper()
	return h.JoinWith(t, joinKey, h.Tokens.Key())
}

// JoinWith is Join with another token key, and the proof of that.
func (h *Host) JoinWith(t testing.TB, joinKey string, tokens jwk.Key) map[string]any {
	t.Helper()
	claims, err := token.UnverifiedJoinKey(joinKey)
	if err != nil {
		t.Fatalf("no join key: %s", joinKey)
	}
	proof := ed25519.Sign(h.identity, peer.ProofMessage(claims.ID, h.Public, tokens))
	return map[string]any{
		"join_key": joinKey, "name": "host-1", "public_key": h.Public, "token_key": tokens,
		"proof": base64.RawURLEncoding.EncodeToString(proof),
	}
}

// Assertion is how the host authenticates as a peer, for a minute from an instant on (RFC 7523 §3). It works once.
func (h *Host) Assertion(t testing.TB, peerID, issuer string, now int64) Option {
	t.Helper()
	signer, err := token.NewSigner(h.identity)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signer.SignAssertion(token.Assertion{
		Issuer: peerID, Subject: peerID, Audience: issuer, ExpiresAt: token.NumericDate(now + 60), ID: rand.Text(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return Form("grant_type", "client_credentials", "client_assertion", text,
		"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
}
