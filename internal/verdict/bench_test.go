package verdict_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/token"
	"github.com/keyturn/keyturn/internal/verdict"
)

// es256 makes the authority sign as authorities do by default.
func (w *world) es256() {
	w.t.Helper()
	d := sha256.Sum256([]byte("token"))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d[:])
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := token.NewSigner(key)
	if err != nil {
		w.t.Fatal(err)
	}
	w.keys = []issuing{{s, authorityI}}
	w.signs = w.keys[0]
	w.ledger.Keys[0].Key = s.Key()
	w.setKeys(w.ledger.Keys)
}

// BenchmarkToken compares a token that was seen before with the verification of the same token against a key set.
func BenchmarkToken(b *testing.B) {
	w := open(b)
	w.es256()
	shared := w.create(credential.Shared, now.AddDate(1, 0, 0), credential.Admin)
	text := w.issue(now, shared, 1, access.TokenRequest{})
	var many []string
	for range 512 {
		many = append(many, w.issue(now, shared, 1, access.TokenRequest{}))
	}
	for _, text := range append(many, text) {
		if _, err := w.check(now, text, ""); err != nil {
			b.Fatal(err)
		}
	}
	bare, err := verdict.NewTokens[*token.Claims](w.generations, verdict.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	defer bare.Close()
	bare.Set(w.generations.Mark(), now, text, verdict.Entry[*token.Claims]{Value: &token.Claims{}, Subject: shared, Owner: authorityI})
	bare.Wait()
	b.Run("verify", func(b *testing.B) {
		keys := token.NewKeySet([]jwk.Key{w.signs.signer.Key()})
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := keys.Verify(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("seen/tokens", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := bare.Get(now, text); !ok {
				b.Fatal("miss")
			}
		}
	})
	ctx := context.Background()
	b.Run("seen/gate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := w.Check(ctx, now, text, ""); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, name := range []string{"seen/parallel/one", "seen/parallel/many"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					text := text
					if strings.HasSuffix(name, "many") {
						text = many[i%len(many)]
					}
					if _, err := w.Check(ctx, now, text, ""); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
	b.Run("unseen", func(b *testing.B) { // what the cache costs where it does not help: compare with verify
		b.ReportAllocs()
		for b.Loop() {
			w.generations.Move(shared)
			if _, err := w.Check(ctx, now, text, ""); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Logf("the token has %d bytes", len(text))
}

// BenchmarkPair compares a pair that was seen before with the plain gate.
func BenchmarkPair(b *testing.B) {
	w := open(b)
	shared := w.create(credential.Shared, now.AddDate(1, 0, 0), credential.Admin)
	p := w.proof(shared.String(), shared, 1)
	if _, err := w.authenticate(now, p); err != nil {
		b.Fatal(err)
	}
	for name, gate := range map[string]verdict.Decider{"plain": w.plain, "seen": w.Gate} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := gate.Authenticate(context.Background(), now, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
