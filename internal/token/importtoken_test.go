package token_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/token"
)

func importSigner(t testing.TB) (*token.Signer, *token.KeySet) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := token.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return s, token.NewKeySet([]jwk.Key{s.Key()})
}

func TestImportToken_IsNothingElse(t *testing.T) {
	t.Parallel()
	s, set := importSigner(t)
	want := token.ImportToken{Issuer: "https://auth.example", ClusterID: "clu", Audience: "peer", ID: "1", IssuedAt: 1, ExpiresAt: 61}
	text, err := s.SignImport(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := set.VerifyImport(text); err != nil || !cmp.Equal(got, want) || !token.IsImport(text) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, _, err := set.Verify(text); err == nil {
		t.Error("it is taken for an access token")
	}
	if _, err := set.VerifyJoinKey(text); err == nil {
		t.Error("it is taken for a join key")
	}
	if _, err := set.VerifyImport(text + "A"); err == nil {
		t.Error("another signature is as good")
	}
	if _, others := importSigner(t); true {
		if _, err := others.VerifyImport(text); err == nil {
			t.Error("another key is as good")
		}
	}
	for name, sign := range map[string]func() (string, error){
		"an access token": func() (string, error) { return s.Sign(token.Claims{}) },
		"an assertion":    func() (string, error) { return s.SignAssertion(token.Assertion{Audience: "peer"}) },
		"a join key":      func() (string, error) { return s.SignJoinKey(token.JoinKey{Issuer: "https://auth.example"}) },
	} {
		text, err := sign()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := set.VerifyImport(text); err == nil || token.IsImport(text) {
			t.Errorf("%s is taken for an import token", name)
		}
	}
}

func FuzzImportToken(f *testing.F) {
	s, set := importSigner(f)
	text, err := s.SignImport(token.ImportToken{Audience: "peer", IssuedAt: 1, ExpiresAt: 61})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(strings.Replace(text, ".", "..", 1))
	f.Add("")
	f.Fuzz(func(t *testing.T, shown string) {
		_, err := set.VerifyImport(shown)
		if err == nil && shown != text {
			t.Errorf("%q is as good as the one that was signed", shown)
		}
		if err == nil && !token.IsImport(shown) {
			t.Errorf("%q is good, and does not say what it is", shown)
		}
	})
}
