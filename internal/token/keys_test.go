package token_test

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/testkey"
	"github.com/keyturn/keyturn/internal/token"
)

func signer(t testing.TB, key crypto.Signer) *token.Signer {
	t.Helper()
	s, err := token.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signers has one of each algorithm.
func signers(t testing.TB) map[string]*token.Signer {
	return map[string]*token.Signer{"ES256": signer(t, testkey.P256("a")), "EdDSA": signer(t, testkey.Ed25519("a")), "RS256": signer(t, testkey.RSA())}
}

// claims of a token, each with a value of its own.
var claims = token.Claims{
	Issuer: "https://a.example", Subject: "cli_01jd6y0e00f2bvwrw0xk3y4t5z", ClientID: "cli_01jd6y0e00f2bvwrw0xk3y4t5z-7", Version: 7,
	Audience: token.Audience{"https://a.example"}, ExpiresAt: 1772370000, IssuedAt: 1772366400, ID: "AAAAAAAAAAAAAAAAAAAAAA",
	Scope: "peers.read services.read", ClusterID: "clu_01jd6y0e00f2bvwrw0xk3y4t5z", PeerID: "peer_01jd6y0e00f2bvwrw0xk3y4t5z",
}

var assertion = token.Assertion{
	Issuer: "cli_01jd6y0e00f2bvwrw0xk3y4t5z", Subject: "cli_01jd6y0e00f2bvwrw0xk3y4t5z", Audience: "https://a.example",
	ExpiresAt: 1772370000, NotBefore: 1772366300, IssuedAt: 1772366400, ID: "j",
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// forge signs any header and payload with an Ed25519 key, whatever the header says.
func forge(t testing.TB, seed string, header map[string]any, payload string) string {
	t.Helper()
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	text := b64(h) + "." + b64([]byte(payload))
	return text + "." + b64(ed25519.Sign(testkey.Ed25519(seed), []byte(text)))
}

// header is a good one for the key of that seed, changed: nil takes a member out.
func header(t testing.TB, seed string, changes map[string]any) map[string]any {
	t.Helper()
	h := map[string]any{"alg": "EdDSA", "typ": "at+jwt", "kid": signer(t, testkey.Ed25519(seed)).Key().ID()}
	for name, value := range changes {
		if h[name] = value; value == nil {
			delete(h, name)
		}
	}
	return h
}

func cut(text string) []string { return strings.Split(text, ".") }
