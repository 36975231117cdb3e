package jwk_test

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/testkey"
)

func b64(b ...byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func TestParse_TakesWhatItMayIgnore(t *testing.T) {
	t.Parallel()
	for name, changes := range map[string]map[string]any{
		"OtherKid":      {"kid": "mine"},
		"KidOfAnyType":  {"kid": 7},
		"Unknown":       {"x-note": map[string]any{"a": []int{1}}, "nbf": 1},
		"Use":           {"use": "sig"},
		"Alg":           {"alg": "ES256"},
		"Verify":        {"key_ops": []string{"verify"}},
		"SignAndVerify": {"key_ops": []string{"sign", "verify"}},
		"OtherCase":     {"D": "AA", "Use": "enc", "KTY": "RSA"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, err := jwk.Parse(with(t, rfc7517, changes))
			if err != nil || k.ID() != rfc7517ID {
				t.Fatalf("= %v, %v", k, err)
			}
		})
	}
	if k, err := jwk.Parse([]byte("\n\t " + rfc7517 + "\r\n")); err != nil || k.ID() != rfc7517ID {
		t.Errorf("with white space around: %v, %v", k, err)
	}
}

func TestParse_RefusesMembers(t *testing.T) {
	t.Parallel()
	x := "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"
	bigOne := new(big.Int).Lsh(big.NewInt(1), 31)
	rows := []struct {
		name, doc string
		changes   map[string]any
	}{
		{"NoKty", rfc7517, map[string]any{"kty": nil}},
		{"KtyNumber", rfc7517, map[string]any{"kty": 1}},
		{"KtyOct", rfc7517, map[string]any{"kty": "oct"}},
		{"KtyLower", rfc7517, map[string]any{"kty": "ec"}},
		{"KtyOfAnother", rfc7517, map[string]any{"kty": "OKP"}},
		{"NoCrv", rfc7517, map[string]any{"crv": nil}},
		{"P384", rfc7517, map[string]any{"crv": "P-384"}},
		{"Secp256k1", rfc7517, map[string]any{"crv": "secp256k1"}},
		{"X25519", rfc8037, map[string]any{"crv": "X25519"}},
		{"Ed448", rfc8037, map[string]any{"crv": "Ed448"}},
		{"NoX", rfc7517, map[string]any{"x": nil}},
		{"NoY", rfc7517, map[string]any{"y": nil}},
		{"XNumber", rfc7517, map[string]any{"x": 1}},
		{"XEmpty", rfc7517, map[string]any{"x": ""}},
		{"XPadded", rfc7517, map[string]any{"x": x + "="}},
		{"XStandardAlphabet", rfc7517, map[string]any{"y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFy+"}},
		{"XNewline", rfc7517, map[string]any{"x": x[:20] + "\n" + x[20:]}},
		{"XNewlineAtEnd", rfc7517, map[string]any{"x": x + "\r\n"}},
		{"XTrailingBits", rfc7517, map[string]any{"x": x[:42] + "5"}},
		{"XShort", rfc7517, map[string]any{"x": b64(make([]byte, 31)...)}},
		{"XLong", rfc7517, map[string]any{"x": b64(make([]byte, 33)...)}},
		{"OffCurve", rfc7517, map[string]any{"x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D8"}},
		{"ZeroPoint", rfc7517, map[string]any{"x": b64(make([]byte, 32)...), "y": b64(make([]byte, 32)...)}},
		{"OverP", rfc7517, map[string]any{"x": strings.Repeat("_", 42) + "8"}},
		{"Ed25519NoX", rfc8037, map[string]any{"x": nil}},
		{"Ed25519Short", rfc8037, map[string]any{"x": b64(make([]byte, 31)...)}},
		{"Ed25519OffCurve", rfc8037, map[string]any{"x": b64(append([]byte{2}, make([]byte, 31)...)...)}},
		{"RSANoN", rfc7638, map[string]any{"n": nil}},
		{"RSANoE", rfc7638, map[string]any{"e": nil}},
		{"RSAShort", rfc7638, map[string]any{"n": b64(modulus(1024).Bytes()...)}},
		{"RSALong", rfc7638, map[string]any{"n": b64(modulus(4104).Bytes()...)}},
		{"RSALeadingZero", rfc7638, map[string]any{"n": b64(append([]byte{0}, modulus(2048).Bytes()...)...)}},
		{"RSAExponentLeadingZero", rfc7638, map[string]any{"e": "AAEAAQ"}},
		{"RSAExponent3", rfc7638, map[string]any{"e": "Aw"}},
		{"RSAExponentEven", rfc7638, map[string]any{"e": "AQAC"}},
		{"RSAExponentBig", rfc7638, map[string]any{"e": b64(bigOne.Add(bigOne, big.NewInt(1)).Bytes()...)}},
		{"RSAExponentWraps", rfc7638, map[string]any{"e": b64(1, 0, 0, 0, 0, 0, 1, 0, 1)}},
		{"UseEnc", rfc7517, map[string]any{"use": "enc"}},
		{"UseEmpty", rfc7517, map[string]any{"use": ""}},
		{"UseNumber", rfc7517, map[string]any{"use": 1}},
		{"AlgOfAnother", rfc7517, map[string]any{"alg": "RS256"}},
		{"AlgNone", rfc7517, map[string]any{"alg": "none"}},
		{"AlgES384", rfc7517, map[string]any{"alg": "ES384"}},
		{"AlgHS256", rfc8037, map[string]any{"alg": "HS256"}},
		{"AlgPS256", rfc7638, map[string]any{"alg": "PS256"}},
		{"AlgEmpty", rfc7638, map[string]any{"alg": ""}},
		{"OpsSignOnly", rfc7517, map[string]any{"key_ops": []string{"sign"}}},
		{"OpsEmpty", rfc7517, map[string]any{"key_ops": []string{}}},
		{"OpsString", rfc7517, map[string]any{"key_ops": "verify"}},
	}
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		for _, doc := range []string{rfc7517, rfc8037, rfc7638} {
			rows = append(rows, struct {
				name, doc string
				changes   map[string]any
			}{"Private" + private, doc, map[string]any{private: "AQAB"}})
		}
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if k, err := jwk.Parse(with(t, row.doc, row.changes)); err == nil || !k.IsZero() {
				t.Fatalf("= %v, %v", k, err)
			}
		})
	}
}

func TestParse_RefusesText(t *testing.T) {
	t.Parallel()
	inside := strings.TrimSuffix(rfc8037, "}")
	for name, doc := range map[string]string{
		"Empty":            "",
		"Null":             "null",
		"Array":            "[" + rfc8037 + "]",
		"String":           `"` + rfc8037ID + `"`,
		"Unclosed":         inside,
		"TrailingComma":    inside + ",}",
		"TrailingObject":   rfc8037 + rfc8037,
		"TrailingText":     rfc8037 + "x",
		"TrailingBracket":  rfc8037 + "}",
		"TwoEqualMembers":  inside + `,"kty":"OKP"}`,
		"TwoKty":           `{"kty":"RSA",` + rfc8037[1:],
		"TwoByEscape":      inside + `,"\u006bty":"RSA"}`,
		"TwoUnknown":       inside + `,"a":1,"a":2}`,
		"PrivateNull":      inside + `,"d":null}`,
		"PrivateByEscape":  inside + `,"\u0064":"AA"}`,
		"UseNull":          inside + `,"use":null}`,
		"AlgNull":          inside + `,"alg":null}`,
		"OpsNull":          inside + `,"key_ops":null}`,
		"Comment":          "// key\n" + rfc8037,
		"ByteOrderMark":    "\ufeff" + rfc8037,
		"OverEightKiBytes": inside + `,"a":"` + strings.Repeat("a", 8<<10) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if k, err := jwk.Parse([]byte(doc)); err == nil || !k.IsZero() {
				t.Fatalf("= %v, %v", k, err)
			}
			k := mustKey(t, testkey.Ed25519("a"))
			if name != "Null" && (json.Unmarshal([]byte(doc), &k) == nil) {
				t.Fatalf("UnmarshalJSON takes it as %v", k)
			}
		})
	}
	room := 8<<10 - len(inside) - len(`,"a":""}`)
	if _, err := jwk.Parse([]byte(inside + `,"a":"` + strings.Repeat("a", room) + `"}`)); err != nil {
		t.Errorf("exactly 8 KiB: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(rfc7517))
	f.Add([]byte(rfc7638))
	f.Add([]byte(rfc8037))
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"AA","key_ops":["verify"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := jwk.Parse(b)
		if err != nil {
			if !k.IsZero() {
				t.Fatalf("%v came with an error", k)
			}
			return
		}
		written, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		again, err := jwk.Parse(written)
		if err != nil || !again.Equal(k) {
			t.Fatalf("%s reads back as %v, %v", written, again, err)
		}
		if same, err := jwk.New(k.Public()); err != nil || !same.Equal(k) {
			t.Fatalf("New of %s is %v, %v", written, same, err)
		}
	})
}
