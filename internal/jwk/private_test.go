package jwk_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/testkey"
)

func TestMarshalPrivate_ReadsBack(t *testing.T) {
	t.Parallel()
	for alg, s := range signers(t) {
		b := mustPrivate(t, s)
		got, err := jwk.ParsePrivate(b)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		if !got.(interface {
			Equal(x crypto.PrivateKey) bool
		}).Equal(s) {
			t.Errorf("%s: another key came back", alg)
		}
		if k, err := jwk.Parse(b); err == nil {
			t.Errorf("%s: the private key is read as the public key %v", alg, k)
		}
		public, err := json.Marshal(mustKey(t, s))
		if err != nil || !strings.HasPrefix(string(b), strings.TrimSuffix(string(public), "}")+`,"d":"`) {
			t.Errorf("%s: it does not begin with the public key", alg)
		}
	}
}

func TestMarshalPrivate_AnyKey(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.String().Draw(rt, "seed")
		for _, s := range []crypto.Signer{testkey.P256(seed), testkey.Ed25519(seed)} {
			got, err := jwk.ParsePrivate(mustPrivate(t, s))
			if err != nil || !mustKey(t, got).Equal(mustKey(t, s)) {
				rt.Fatalf("%q: %v", seed, err)
			}
		}
	})
}

func TestMarshalPrivate_TakesRSAThatIsNotPrecomputed(t *testing.T) {
	t.Parallel()
	k := testkey.RSA()
	bare := &rsa.PrivateKey{PublicKey: k.PublicKey, D: k.D, Primes: k.Primes}
	if string(mustPrivate(t, bare)) != string(mustPrivate(t, k)) {
		t.Error("it is another key")
	}
	if bare.Precomputed.Dp != nil {
		t.Error("the caller's key was changed")
	}
}

func TestMarshalPrivate_Refuses(t *testing.T) {
	t.Parallel()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	mixed := testkey.Ed25519("a")
	copy(mixed[ed25519.SeedSize:], testkey.Ed25519("b")[ed25519.SeedSize:])
	mixedEC := testkey.P256("a")
	mixedEC.PublicKey = testkey.P256("b").PublicKey
	k := testkey.RSA()
	for name, s := range map[string]crypto.Signer{
		"P384":          p384,
		"ShortEd25519":  testkey.Ed25519("a")[:63],
		"EmptyEd25519":  ed25519.PrivateKey(nil),
		"MixedEd25519":  mixed,
		"MixedECDSA":    mixedEC,
		"RSAWithoutP":   &rsa.PrivateKey{PublicKey: k.PublicKey, D: k.D},
		"RSAWrongD":     &rsa.PrivateKey{PublicKey: k.PublicKey, D: big.NewInt(7), Primes: k.Primes},
		"RSAWrongPrime": &rsa.PrivateKey{PublicKey: k.PublicKey, D: k.D, Primes: []*big.Int{k.Primes[0], big.NewInt(7)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if b, err := jwk.MarshalPrivate(s); err == nil || b != nil {
				t.Fatalf("%d bytes, %v", len(b), err)
			}
		})
	}
	if _, err := jwk.MarshalPrivate(nil); err == nil {
		t.Error("nil is accepted")
	}
}

func TestParsePrivate_Refuses(t *testing.T) {
	t.Parallel()
	other := map[string]string{}
	docs := map[string]string{}
	for alg, s := range signers(t) {
		docs[alg] = string(mustPrivate(t, s))
	}
	for alg, s := range map[string]crypto.Signer{"ES256": testkey.P256("b"), "EdDSA": testkey.Ed25519("b")} {
		var m map[string]string
		if err := json.Unmarshal(mustPrivate(t, s), &m); err != nil {
			t.Fatal(err)
		}
		other[alg] = m["d"]
	}
	rows := []struct {
		name, alg string
		changes   map[string]any
	}{
		{"NoD", "ES256", map[string]any{"d": nil}},
		{"OtherD", "ES256", map[string]any{"d": other["ES256"]}},
		{"ZeroD", "ES256", map[string]any{"d": b64(make([]byte, 32)...)}},
		{"ShortD", "ES256", map[string]any{"d": b64(1)}},
		{"DOverOrder", "ES256", map[string]any{"d": strings.Repeat("_", 42) + "8"}},
		{"NumberD", "ES256", map[string]any{"d": 123456789}},
		{"EncUse", "ES256", map[string]any{"use": "enc"}},
		{"OtherAlg", "ES256", map[string]any{"alg": "ES384"}},
		{"VerifyOnly", "ES256", map[string]any{"key_ops": []string{"verify"}}},
		{"NoX", "ES256", map[string]any{"x": nil}},
		{"NoD", "EdDSA", map[string]any{"d": nil}},
		{"OtherD", "EdDSA", map[string]any{"d": other["EdDSA"]}},
		{"ShortD", "EdDSA", map[string]any{"d": b64(make([]byte, 31)...)}},
		{"LongD", "EdDSA", map[string]any{"d": b64(make([]byte, 64)...)}},
		{"Oth", "RS256", map[string]any{"oth": []any{}}},
	}
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi"} {
		rows = append(rows, struct {
			name, alg string
			changes   map[string]any
		}{"Without" + name, "RS256", map[string]any{name: nil}}, struct {
			name, alg string
			changes   map[string]any
		}{"Wrong" + name, "RS256", map[string]any{name: "AQAB"}})
	}
	for _, row := range rows {
		t.Run(row.alg+row.name, func(t *testing.T) {
			t.Parallel()
			s, err := jwk.ParsePrivate(with(t, docs[row.alg], row.changes))
			if err == nil || s != nil {
				t.Fatalf("accepted, %v", err)
			}
			assertNoMaterial(t, err, docs[row.alg])
		})
	}
	for alg, doc := range docs {
		for name, bad := range map[string]string{
			"Twice": strings.TrimSuffix(doc, "}") + `,"d":"AA"}`, "Trailing": doc + doc, "Cut": doc[:len(doc)-1], "CutInD": doc[:len(doc)-9],
		} {
			_, err := jwk.ParsePrivate([]byte(bad))
			if err == nil {
				t.Errorf("%s%s is accepted", alg, name)
				continue
			}
			assertNoMaterial(t, err, doc)
		}
	}
	if s, err := jwk.ParsePrivate([]byte(rfc8037)); err == nil || s != nil {
		t.Error("a public key is accepted")
	}
}

func TestParsePrivate_TakesSignOps(t *testing.T) {
	t.Parallel()
	doc := with(t, string(mustPrivate(t, testkey.Ed25519("a"))), map[string]any{"key_ops": []string{"sign"}, "kid": "mine"})
	if _, err := jwk.ParsePrivate(doc); err != nil {
		t.Error(err)
	}
}

func TestParse_ErrorHasNoKeyMaterial(t *testing.T) {
	t.Parallel()
	for _, s := range signers(t) {
		doc := string(mustPrivate(t, s))
		_, err := jwk.Parse([]byte(doc))
		assertNoMaterial(t, err, doc)
		_, err = jwk.ParseSet([]byte(`{"keys":[` + doc + `]}`))
		assertNoMaterial(t, err, doc)
		_, err = jwk.Parse([]byte(`[` + doc + `]`))
		assertNoMaterial(t, err, doc)
	}
}

// assertNoMaterial looks for 8 characters in a row of any member of doc but the names that everybody knows.
func assertNoMaterial(t *testing.T, err error, doc string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	var m map[string]string
	if e := json.Unmarshal([]byte(doc), &m); e != nil {
		t.Fatal(e)
	}
	for name, value := range m {
		for i := 0; name != "crv" && i+8 <= len(value); i++ {
			if strings.Contains(err.Error(), value[i:i+8]) {
				t.Fatalf("the error shows a part of %s", name)
			}
		}
	}
	if strings.Contains(err.Error(), "123456789") {
		t.Fatal("the error shows a number from the key")
	}
}

func FuzzParsePrivate(f *testing.F) {
	f.Add(mustPrivate(f, testkey.P256("a")))
	f.Add(mustPrivate(f, testkey.Ed25519("a")))
	f.Add([]byte(rfc7638))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := jwk.ParsePrivate(b)
		if err != nil {
			if s != nil {
				t.Fatal("a key came with an error")
			}
			return
		}
		again, err := jwk.ParsePrivate(mustPrivate(t, s))
		if err != nil || !mustKey(t, again).Equal(mustKey(t, s)) {
			t.Fatalf("it does not read back: %v", err)
		}
	})
}
