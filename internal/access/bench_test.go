package access_test

import (
	"context"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/testkey"
)

// plain are the claims that golang-jwt checks in the comparison.
type plain struct {
	jwt.RegisteredClaims
	Scope string `json:"scope"`
}

// BenchmarkCheck compares the first check of a token, state included, with golang-jwt's signature check alone.
func BenchmarkCheck(b *testing.B) {
	w := newWorld(b)
	ready := access.NewCluster(w.ledger)
	gate := access.NewGate(snapshot{w, ready}, access.Options{})
	text := w.issue(w.clientOf(sharedI, 3), access.TokenRequest{}).AccessToken
	key := w.signer.Key().Public()
	b.Run("golang-jwt", func(b *testing.B) {
		parser := jwt.NewParser(jwt.WithoutClaimsValidation(), jwt.WithValidMethods([]string{"ES256"}))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := parser.ParseWithClaims(text, &plain{}, func(*jwt.Token) (any, error) { return key, nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("keyturn", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := gate.Check(context.Background(), now, text, ""); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkIssue compares issuing a token with golang-jwt's signing of the same claims.
func BenchmarkIssue(b *testing.B) {
	w := newWorld(b)
	gate := access.NewGate(snapshot{w, access.NewCluster(w.ledger)}, access.Options{Signer: w.sign})
	client := w.clientOf(sharedI, 3)
	claims := w.claims(w.issue(client, access.TokenRequest{}).AccessToken)
	b.Run("golang-jwt", func(b *testing.B) {
		key := testkey.P256("token")
		b.ReportAllocs()
		for b.Loop() {
			if _, err := jwt.NewWithClaims(jwt.SigningMethodES256, claims).SignedString(key); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("keyturn", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := gate.Issue(context.Background(), now, client, access.TokenRequest{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// snapshot is a View whose cluster is made ready once, as authorities and sidecars keep it.
type snapshot struct {
	*world
	cluster *access.Cluster
}

// Cluster implements access.View.
func (s snapshot) Cluster(context.Context) (*access.Cluster, error) { return s.cluster, nil }
