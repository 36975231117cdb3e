package credential_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/credential"
)

// Vectors that another implementation (Python: zlib.crc32, hashlib) made. The checksum of the last one begins with three
// zeros.
var vectors = []struct{ text, hash, digest string }{
	{
		"sec_0000000000000000000000000000000000000000000028sx6",
		"1a7647a3e095fd0fcc6910d17b2a7e7199593d8c5746ed3b95738ad6f00f8172",
		"81THlpeVJnT8fzA_yuO9vWMMZ1Gwn3rd2LVF1Joaq3g",
	},
	{
		"sec_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz1nwhir",
		"e1dbdd0cdb1ac5c172b80eaf17855382b63a04ced7f22845a7e31955b201131f",
		"oExgO8h2fxcAHduAeQgtmBkoVG2cUBiQZx_XwgnA314",
	},
	{
		"sec_00000000000000000000000000000000000000008c7000hO8",
		"d68e6f67fe52e812fc031447a01fc2fb3e2cc328c901958d9412bd64c50b177d",
		"ZxE33RHQGyQ_TCZPRWQFmhpVci92tyYw8NvKsWE6jjI",
	},
}

func TestSecret_KnownAnswers(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		s, err := credential.ParseSecret(v.text)
		if err != nil {
			t.Fatalf("%s: %v", v.text, err)
		}
		h := s.Hash()
		if got := hex.EncodeToString(h[:]); got != v.hash || s.Reveal() != v.text {
			t.Errorf("%s: hash %s, want %s", v.text, got, v.hash)
		}
		if h.Digest() != credential.Digest(v.digest) {
			t.Errorf("%s: digest %s, want %s", v.text, h.Digest(), v.digest)
		}
	}
}

func TestNewSecret_ReadsBackAndIsNeverTheSame(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		s := credential.NewSecret()
		again, err := credential.ParseSecret(s.Reveal())
		if err != nil || again.Reveal() != s.Reveal() || !again.Hash().Equal(s.Hash()) || s.IsZero() {
			t.Fatalf("does not read back: %v", err)
		}
		if len(s.Reveal()) != 53 || seen[s.Reveal()] {
			t.Fatalf("%d characters, seen before: %v", len(s.Reveal()), seen[s.Reveal()])
		}
		seen[s.Reveal()] = true
	}
}

func TestSecret_ZeroIsNone(t *testing.T) {
	t.Parallel()
	var none credential.Secret
	if !none.IsZero() || none.Reveal() != "" || none.String() != "[redacted]" {
		t.Errorf("%q", none.Reveal())
	}
}

func TestParseSecret_RefusesEveryChangeOfOneCharacter(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		for i := range len(v.text) {
			for c := range 256 {
				if byte(c) == v.text[i] {
					continue
				}
				changed := v.text[:i] + string([]byte{byte(c)}) + v.text[i+1:]
				if _, err := credential.ParseSecret(changed); !errors.Is(err, credential.ErrSecretForm) {
					t.Fatalf("%q is accepted: %v", changed, err)
				}
			}
		}
	}
}

func TestParseSecret_RefusesOtherForms(t *testing.T) {
	t.Parallel()
	good := vectors[0].text
	for name, text := range map[string]string{
		"Empty": "", "Prefix": "sec_", "Cut": good[:52], "Long": good + "0", "Space": good + " ", "LeadingSpace": " " + good,
		"NewLine": good + "\n", "UpperPrefix": "SEC_" + good[4:], "NoPrefix": good[4:] + "0000",
		"UnpaddedSum": "sec_00000000000000000000000000000000000000008c7hO8",
		"SumLeftAway": good[:47], "NonASCII": "sec_é" + good[6:], "Swapped": good[:4] + "01" + good[6:],
		"Zeros": "sec_" + strings.Repeat("0", 49),
	} {
		if s, err := credential.ParseSecret(text); !errors.Is(err, credential.ErrSecretForm) || !s.IsZero() {
			t.Errorf("%s: %q is accepted: %v", name, text, err)
		}
	}
}

func TestParseSecret_ErrorHidesTheText(t *testing.T) {
	t.Parallel()
	almost := vectors[1].text[:52] + "0"
	if _, err := credential.ParseSecret(almost); err == nil || strings.Contains(err.Error(), "zzzz") {
		t.Errorf("the error is %v", err)
	}
}

// holder has a secret where fmt cannot call methods.
type holder struct {
	Open   credential.Secret
	hidden credential.Secret
	list   []credential.Secret
	byName map[string]credential.Secret
	at     *credential.Secret
}

func TestSecret_IsRedactedEverywhere(t *testing.T) {
	t.Parallel()
	s, err := credential.ParseSecret(vectors[1].text)
	if err != nil {
		t.Fatal(err)
	}
	hash := s.Hash()
	nested := holder{s, s, []credential.Secret{s}, map[string]credential.Secret{"a": s}, &s}
	for name, value := range map[string]any{
		"Secret": s, "PointerToSecret": &s, "Hash": hash, "PointerToHash": &hash, "Nested": nested, "PointerToNested": &nested,
		"Slice": []credential.Secret{s}, "Version": credential.Version{Hash: &hash}, "List": []credential.Version{{Hash: &hash}},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%t", "%e", "%U", "%c", "%60v"} {
			assertHidden(t, name+" "+verb, fmt.Sprintf(verb, value))
		}
		b, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		assertHidden(t, name+" JSON", string(b))
		var log bytes.Buffer
		l := zerolog.New(&log)
		l.Info().Interface("a", value).Any("b", value).Str("c", fmt.Sprint(value)).Fields(map[string]any{"d": value}).Msgf("%v", value)
		l.Info().Stringer("a", s).Stringer("b", hash).Err(fmt.Errorf("with %v", value)).Send()
		assertHidden(t, name+" zerolog", log.String())
	}
	assertHidden(t, "Secret %p", fmt.Sprintf(strings.Clone("%p"), s)) // the one verb that calls no method
	for verb, want := range map[string]string{"%v": "[redacted]", "%+v": "[redacted]", "%#v": "[redacted]", "%s": "[redacted]", "%q": "[redacted]", "%x": "[redacted]", "%d": "[redacted]"} {
		if a, b := fmt.Sprintf(verb, s), fmt.Sprintf(verb, hash); a != want || b != want {
			t.Errorf("%s prints %s and %s", verb, a, b)
		}
	}
	if a, b, c := s.String(), s.GoString(), hash.String(); a+b+c != strings.Repeat("[redacted]", 3) {
		t.Errorf("%s %s %s", a, b, c)
	}
	if b, err := json.Marshal(s); err != nil || string(b) != `"[redacted]"` {
		t.Errorf("JSON is %s, %v", b, err)
	}
}

// assertHidden looks for the secret and its hash in the spellings that the verbs have.
func assertHidden(t *testing.T, what, printed string) {
	t.Helper()
	for _, leak := range []string{
		"zzzzzzzz", "1nwhir", hex.EncodeToString([]byte("zzzz")), strings.ToUpper(hex.EncodeToString([]byte("zzzz"))), "122 122",
		vectors[1].hash[:8], strings.ToUpper(vectors[1].hash[:8]), "225 219 221", "0xe1, 0xdb", "225,219,221",
	} {
		if strings.Contains(printed, leak) {
			t.Errorf("%s shows %s", what, printed)
			return
		}
	}
}

func TestHash_EqualAndDigestTellHashesApart(t *testing.T) {
	t.Parallel()
	a, b := credential.NewSecret().Hash(), credential.NewSecret().Hash()
	if !a.Equal(a) || a.Equal(b) || a.Digest() == b.Digest() || len(a.Digest()) != 43 {
		t.Errorf("%s %s", a.Digest(), b.Digest())
	}
	for i := range a {
		c := a
		c[i] ^= 1
		if a.Equal(c) {
			t.Fatalf("byte %d does not count", i)
		}
	}
}

func FuzzParseSecret(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.text)
	}
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := credential.ParseSecret(text)
		if err != nil {
			if !s.IsZero() || !errors.Is(err, credential.ErrSecretForm) || err.Error() != credential.ErrSecretForm.Error() {
				t.Fatalf("%v", err)
			}
			return
		}
		if s.Reveal() != text || len(text) != 53 || !strings.HasPrefix(text, "sec_") {
			t.Fatalf("%q reads as %q", text, s.Reveal())
		}
	})
}
