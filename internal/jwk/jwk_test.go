package jwk_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/testkey"
)

func TestKey_StandardVectors(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ doc, id, alg string }{
		{rfc7638, rfc7638ID, "RS256"},
		{rfc8037, rfc8037ID, "EdDSA"},
		{rfc7517, rfc7517ID, "ES256"},
	} {
		k, err := jwk.Parse([]byte(row.doc))
		if err != nil {
			t.Fatal(err)
		}
		if k.ID() != row.id || k.Alg() != row.alg || k.IsZero() {
			t.Errorf("%s: id %s, alg %s", row.doc, k.ID(), k.Alg())
		}
	}
}

func TestNew_KeepsTheKey(t *testing.T) {
	t.Parallel()
	for alg, s := range signers(t) {
		k := mustKey(t, s)
		if k.Alg() != alg {
			t.Errorf("alg = %s, want %s", k.Alg(), alg)
		}
		if !s.Public().(interface{ Equal(x crypto.PublicKey) bool }).Equal(k.Public()) {
			t.Errorf("%s: another key came back", alg)
		}
	}
}

func TestNew_CopiesTheKey(t *testing.T) {
	t.Parallel()
	pub := testkey.Ed25519("copy").Public().(ed25519.PublicKey)
	k, err := jwk.New(pub)
	if err != nil {
		t.Fatal(err)
	}
	pub[0] ^= 1
	if pub.Equal(k.Public()) {
		t.Error("a change to the Ed25519 key reached the Key")
	}
	r := &rsa.PublicKey{N: new(big.Int).Set(testkey.RSA().N), E: testkey.RSA().E}
	if k, err = jwk.New(r); err != nil {
		t.Fatal(err)
	}
	r.N.SetInt64(15)
	if k.Public().(*rsa.PublicKey).N.BitLen() != 2048 {
		t.Error("a change to the RSA key reached the Key")
	}
}

func modulus(bits uint) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return n.Add(n, big.NewInt(1))
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	off := testkey.P256("off").PublicKey
	off.Y = new(big.Int).Add(off.Y, big.NewInt(1)) //lint:ignore SA1019 a broken key is what is wanted
	for name, pub := range map[string]any{
		"Nil":             nil,
		"PrivateEd25519":  testkey.Ed25519("a"),
		"PrivateECDSA":    testkey.P256("a"),
		"NilECDSA":        (*ecdsa.PublicKey)(nil),
		"NilRSA":          (*rsa.PublicKey)(nil),
		"EmptyECDSA":      &ecdsa.PublicKey{},
		"EmptyRSA":        &rsa.PublicKey{},
		"ECDSAByValue":    testkey.P256("a").PublicKey,
		"P384":            p384.Public(),
		"X25519":          x25519.PublicKey(),
		"OffCurve":        &off,
		"ShortEd25519":    ed25519.PublicKey(make([]byte, 31)),
		"LongEd25519":     ed25519.PublicKey(make([]byte, 33)),
		"RSA2047":         &rsa.PublicKey{N: modulus(2047), E: 65537},
		"RSA4097":         &rsa.PublicKey{N: modulus(4097), E: 65537},
		"RSANegative":     &rsa.PublicKey{N: new(big.Int).Neg(modulus(2048)), E: 65537},
		"RSAEvenModulus":  &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537},
		"RSAExponent3":    &rsa.PublicKey{N: modulus(2048), E: 3},
		"RSAExponentEven": &rsa.PublicKey{N: modulus(2048), E: 65538},
		"RSAExponentLow":  &rsa.PublicKey{N: modulus(2048), E: 65535},
		"RSAExponentBig":  &rsa.PublicKey{N: modulus(2048), E: 1<<31 + 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if k, err := jwk.New(pub); err == nil || !k.IsZero() {
				t.Fatalf("= %v, %v", k, err)
			}
		})
	}
	for _, bits := range []uint{2048, 2049, 3072, 4096} {
		if _, err := jwk.New(&rsa.PublicKey{N: modulus(bits), E: 65537}); err != nil {
			t.Errorf("RSA of %d bits: %v", bits, err)
		}
	}
	if _, err := jwk.New(&rsa.PublicKey{N: modulus(2048), E: 1<<31 - 1}); err != nil {
		t.Errorf("the largest RSA exponent: %v", err)
	}
}

// A key of small order verifies signatures that anybody can make, so it proves nothing.
func TestNew_RefusesEd25519OfSmallOrder(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"0100000000000000000000000000000000000000000000000000000000000000", // order 1
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // order 2
		"0000000000000000000000000000000000000000000000000000000000000000", // order 4
		"0000000000000000000000000000000000000000000000000000000000000080",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"0100000000000000000000000000000000000000000000000000000000000080", // not canonical: x = 0 with a sign
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // not canonical: y = p
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // not canonical: y = p+1
		"f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // not canonical: y = p+3, on the curve
		"0200000000000000000000000000000000000000000000000000000000000000", // not on the curve
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if k, err := jwk.New(ed25519.PublicKey(b)); err == nil {
			t.Errorf("%s is accepted as %s", text, k)
		}
	}
	// 3 is on the curve and of large order: only the spelling p+3 is wrong.
	if _, err := jwk.New(ed25519.PublicKey(append([]byte{3}, make([]byte, 31)...))); err != nil {
		t.Errorf("y = 3: %v", err)
	}
}

func TestKey_JSONIsStableAndReadsBack(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		rfc7517: strings.TrimSuffix(rfc7517, "}") + `,"kid":"` + rfc7517ID + `","alg":"ES256","use":"sig"}`,
		rfc8037: strings.TrimSuffix(rfc8037, "}") + `,"kid":"` + rfc8037ID + `","alg":"EdDSA","use":"sig"}`,
		rfc7638: strings.Split(rfc7638, `,"alg"`)[0] + `,"kid":"` + rfc7638ID + `","alg":"RS256","use":"sig"}`,
	}
	for doc, want := range want {
		k, err := jwk.Parse([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(k)
		if err != nil || string(got) != want {
			t.Errorf("wrote %s, %v; want %s", got, err, want)
		}
		again, err := jwk.Parse(got)
		if err != nil || !again.Equal(k) {
			t.Errorf("read back %v, %v; want %v", again, err, k)
		}
	}
}

func TestKey_RoundTripsAnyKey(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.String().Draw(rt, "seed")
		for _, k := range []jwk.Key{mustKey(t, testkey.P256(seed)), mustKey(t, testkey.Ed25519(seed))} {
			b, err := json.Marshal(k)
			if err != nil {
				rt.Fatal(err)
			}
			if again, err := jwk.Parse(b); err != nil || !again.Equal(k) || again.ID() != k.ID() {
				rt.Fatalf("%s reads back as %v, %v", b, again, err)
			}
		}
	})
}

// RFC 7518 §6.2.1.2: a coordinate keeps its leading zero bytes.
func TestKey_CoordinatesKeepLeadingZeros(t *testing.T) {
	t.Parallel()
	for i := range 100_000 {
		s := testkey.P256(fmt.Sprint(i))
		point, err := s.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if point[1] != 0 {
			continue
		}
		b, err := json.Marshal(mustKey(t, s))
		if err != nil {
			t.Fatal(err)
		}
		var m struct{ X string }
		if err := json.Unmarshal(b, &m); err != nil || len(m.X) != 43 || m.X[0] != 'A' {
			t.Fatalf("wrote %s", b)
		}
		if _, err := jwk.Parse(b); err != nil {
			t.Fatal(err)
		}
		short := base64.RawURLEncoding.EncodeToString(point[2:33])
		if _, err := jwk.Parse(with(t, string(b), map[string]any{"x": short})); err == nil {
			t.Fatal("a coordinate without its leading zero is accepted")
		}
		return
	}
	t.Fatal("no key with a leading zero was found")
}

func TestKey_PrintsAsThumbprint(t *testing.T) {
	t.Parallel()
	k := mustKey(t, testkey.Ed25519("a"))
	for _, format := range []string{"%v", "%+v", "%s"} {
		if got := fmt.Sprintf(format, k); got != k.ID() || len(got) != 43 {
			t.Errorf("%s prints %q", format, got)
		}
	}
}

func TestKey_ZeroIsNull(t *testing.T) {
	t.Parallel()
	type doc struct {
		Key  jwk.Key `json:"key"`
		Left jwk.Key `json:"left,omitzero"`
	}
	got, err := json.Marshal(doc{})
	if err != nil || string(got) != `{"key":null}` {
		t.Errorf("wrote %s, %v", got, err)
	}
	d := doc{Key: mustKey(t, testkey.Ed25519("a"))}
	if err := json.Unmarshal(got, &d); err != nil || !d.Key.IsZero() {
		t.Errorf("read %v, %v", d.Key, err)
	}
	if k := (jwk.Key{}); k.ID() != "" || k.Alg() != "" || k.Public() != nil || !k.IsZero() {
		t.Errorf("the zero Key is %v", k)
	}
}

func TestKey_EqualIsByKey(t *testing.T) {
	t.Parallel()
	a, same, b := mustKey(t, testkey.Ed25519("a")), mustKey(t, testkey.Ed25519("a")), mustKey(t, testkey.Ed25519("b"))
	if diff := cmp.Diff(a, same); diff != "" {
		t.Error(diff)
	}
	if a.Equal(b) || a.Equal(jwk.Key{}) || !(jwk.Key{}).Equal(jwk.Key{}) {
		t.Error("Equal takes two keys for one, or one for two")
	}
}
