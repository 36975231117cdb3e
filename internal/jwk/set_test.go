package jwk_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/testkey"
)

func TestParseSet_SkipsWhatItHasNoUseFor(t *testing.T) {
	t.Parallel()
	skipped := []string{
		`{"kty":"new"}`,
		`{}`,
		`{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}`,
		`{"kty":"OKP","crv":"X25519","x":"AA"}`,
		string(with(t, rfc7638, map[string]any{"use": "enc"})),
		string(with(t, rfc7638, map[string]any{"alg": "PS256"})),
		string(with(t, rfc7517, map[string]any{"key_ops": []string{"encrypt"}})),
		string(with(t, rfc7638, map[string]any{"n": b64(modulus(1024).Bytes()...)})),
	}
	doc := fmt.Sprintf(`{"keys":[%s,%s,%s],"note":1}`, rfc7517, strings.Join(skipped, ","), rfc8037)
	s, err := jwk.ParseSet([]byte(doc))
	if err != nil || len(s.Keys) != 2 || s.Keys[0].ID() != rfc7517ID || s.Keys[1].ID() != rfc8037ID {
		t.Fatalf("= %v, %v", s, err)
	}
}

func TestParseSet_Refuses(t *testing.T) {
	t.Parallel()
	for name, doc := range map[string]string{
		"Empty":            "",
		"Null":             "null",
		"NoKeys":           "{}",
		"KeysNull":         `{"keys":null}`,
		"KeysObject":       `{"keys":{}}`,
		"KeysTwice":        `{"keys":[],"keys":[]}`,
		"ABareKey":         rfc8037,
		"ABareArray":       "[" + rfc8037 + "]",
		"Trailing":         `{"keys":[]}{}`,
		"NullKey":          `{"keys":[null]}`,
		"StringKey":        `{"keys":["a"]}`,
		"Private":          `{"keys":[` + rfc7517 + `,` + string(mustPrivate(t, testkey.Ed25519("a"))) + `]}`,
		"PrivateOfUnknown": `{"keys":[{"kty":"oct","k":"AA"}]}`,
		"PrivateForEnc":    `{"keys":[{"kty":"OKP","crv":"X25519","x":"AA","d":"AA","use":"enc"}]}`,
		"OffCurve":         `{"keys":[{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}]}`,
		"MemberTwice":      `{"keys":[{"kty":"new","kty":"OKP"}]}`,
		"OverFourMiBytes":  `{"keys":[],"a":"` + strings.Repeat("a", 4<<20) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if s, err := jwk.ParseSet([]byte(doc)); err == nil || s.Keys != nil {
				t.Fatalf("= %v, %v", s, err)
			}
		})
	}
}

func TestSet_RoundTrips(t *testing.T) {
	t.Parallel()
	want := jwk.Set{Keys: []jwk.Key{mustKey(t, testkey.P256("a")), mustKey(t, testkey.Ed25519("a")), mustKey(t, testkey.RSA())}}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jwk.ParseSet(b)
	if err != nil {
		t.Fatal(err)
	}
	var unmarshalled jwk.Set
	if err := json.Unmarshal(b, &unmarshalled); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, parsed) + cmp.Diff(want, unmarshalled); diff != "" {
		t.Error(diff)
	}
}

func TestSet_EmptyIsAnArray(t *testing.T) {
	t.Parallel()
	if b, err := json.Marshal(jwk.Set{}); err != nil || string(b) != `{"keys":[]}` {
		t.Errorf("wrote %s, %v", b, err)
	}
	if s, err := jwk.ParseSet([]byte(`{"keys":[]}`)); err != nil || len(s.Keys) != 0 {
		t.Errorf("read %v, %v", s, err)
	}
}

func FuzzParseSet(f *testing.F) {
	f.Add([]byte(`{"keys":[` + rfc7517 + `,` + rfc8037 + `]}`))
	f.Add([]byte(`{"keys":[{"kty":"new"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := jwk.ParseSet(b)
		if err != nil {
			return
		}
		written, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := jwk.ParseSet(written); err != nil || !cmp.Equal(again, s) {
			t.Fatalf("%s reads back as %v, %v", written, again, err)
		}
	})
}
