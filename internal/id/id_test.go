package id_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/id"
)

// The text of 01890a5d-ac96-774b-bcce-b302099a8057 in the TypeID specification, and its milliseconds.
const (
	typeID       = "01h455vb4pex5vsknk084sn02q"
	typeIDMillis = 0x01890a5dac96
)

func kinds() []id.Kind {
	return []id.Kind{id.Client, id.Peer, id.Cluster, id.License, id.Customer, id.JoinKey}
}

func TestKind_Prefixes(t *testing.T) {
	t.Parallel()
	for i, want := range []string{"cli", "peer", "clu", "lic", "cust", "jk"} {
		if got := string(kinds()[i]); got != want {
			t.Errorf("kind %d is %q, want %q", i, got, want)
		}
	}
}

func TestNew_HasKindTimeAndLayout(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 891_234_567, time.FixedZone("east", 7200))
	for _, kind := range kinds() {
		got := id.New(kind, at)
		prefix, text, _ := strings.Cut(got.String(), "_")
		if prefix != string(kind) || len(text) != 26 {
			t.Errorf("New(%s) = %s", kind, got)
		}
		if got.Kind() != kind {
			t.Errorf("%s has kind %q", got, got.Kind())
		}
		if want := at.Truncate(time.Millisecond).UTC(); got.Time() != want {
			t.Errorf("%s has time %s, want %s", got, got.Time(), want)
		}
		if parsed, err := id.Parse(kind, got.String()); err != nil || parsed != got {
			t.Errorf("Parse(%s) = %s, %v", got, parsed, err)
		}
	}
}

// RFC 9562 §5.7: version 7, variant 0b10. Character 10 holds bits 48 to 52, and character 13 bits 63 to 67.
func TestNew_IsUUIDv7(t *testing.T) {
	t.Parallel()
	const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
	for range 64 {
		_, text, _ := strings.Cut(id.New(id.Peer, time.UnixMilli(typeIDMillis)).String(), "_")
		if version := strings.IndexByte(alphabet, text[10]) >> 1; version != 7 {
			t.Fatalf("%s has version %d", text, version)
		}
		if variant := strings.IndexByte(alphabet, text[13]) >> 2 & 3; variant != 2 {
			t.Fatalf("%s has variant %d", text, variant)
		}
	}
}

func TestNew_NeverRepeats(t *testing.T) {
	t.Parallel()
	seen := map[id.ID]bool{}
	for range 10_000 {
		i := id.New(id.Client, time.UnixMilli(typeIDMillis))
		if seen[i] {
			t.Fatalf("%s came twice", i)
		}
		seen[i] = true
	}
}

func TestNew_TimeOutOfRangeCountsAsNearest(t *testing.T) {
	t.Parallel()
	rows := []struct {
		at   time.Time
		want int64
	}{
		{time.UnixMilli(-1), 0},
		{time.UnixMilli(1<<48 - 1), 1<<48 - 1},
		{time.UnixMilli(1 << 48), 1<<48 - 1},
	}
	for _, row := range rows {
		if got := id.New(id.Client, row.at).Time().UnixMilli(); got != row.want {
			t.Errorf("New at %d has time %d, want %d", row.at.UnixMilli(), got, row.want)
		}
	}
}

func TestFirst_IsSmallestOfItsMillisecond(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(typeIDMillis)
	if got, want := id.First(id.Client, at.Add(999*time.Microsecond)), "cli_01h455vb4p0000000000000000"; got.String() != want {
		t.Fatalf("First = %s, want %s", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(rapid.Int64Range(1, 1<<48-1).Draw(t, "ms"))
		first := id.First(id.Client, at)
		if !first.Time().Equal(at) {
			t.Fatalf("%s has time %s", first, first.Time())
		}
		if made := id.New(id.Client, at); made < first {
			t.Fatalf("%s sorts before %s", made, first)
		}
		if before := id.New(id.Client, at.Add(-time.Millisecond)); before >= first {
			t.Fatalf("%s of the millisecond before sorts after %s", before, first)
		}
	})
}

func TestID_TextOrderIsTimeOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.Int64Range(0, 1<<48-1)
		a, b := ms.Draw(t, "a"), ms.Draw(t, "b")
		x, y := id.New(id.Peer, time.UnixMilli(a)), id.New(id.Peer, time.UnixMilli(b))
		if a != b && (a < b) != (x < y) {
			t.Fatalf("%d gives %s, %d gives %s", a, x, b, y)
		}
	})
}

func TestParse_SpecificationVectors(t *testing.T) {
	t.Parallel()
	rows := []struct {
		text   string
		millis int64
	}{
		{typeID, typeIDMillis},
		{"00000000000000000000000000", 0},
		{"7zzzzzzzzzzzzzzzzzzzzzzzzz", 1<<48 - 1},
		{"0123456789abcdefghjkmnpqrs", 0x0110c8531d09},
	}
	for _, row := range rows {
		got, err := id.Parse(id.Customer, "cust_"+row.text)
		if err != nil {
			t.Errorf("%s: %v", row.text, err)
		}
		if ms := got.Time().UnixMilli(); ms != row.millis {
			t.Errorf("%s has time %#x, want %#x", row.text, ms, row.millis)
		}
	}
}

func TestParse_Refuses(t *testing.T) {
	t.Parallel()
	rows := map[string]string{
		"Empty":            "",
		"OtherKind":        "peer_" + typeID,
		"NoPrefix":         typeID,
		"EmptyPrefix":      "_" + typeID,
		"UpperPrefix":      "CLI_" + typeID,
		"Hyphen":           "cli-" + typeID,
		"TwoUnderscores":   "cli__" + typeID,
		"UpperCase":        "cli_" + strings.ToUpper(typeID),
		"OneUpperCase":     "cli_01h455vb4pex5vsknk084sn02Q",
		"OverflowingFirst": "cli_8zzzzzzzzzzzzzzzzzzzzzzzzz",
		"AliasO":           "cli_01h455vb4pex5vsknk084sno2q",
		"AliasI":           "cli_01h455vb4pex5vsknk084sni2q",
		"AliasL":           "cli_01h455vb4pex5vsknk084snl2q",
		"LetterU":          "cli_01h455vb4pex5vsknk084snu2q",
		"Short":            "cli_" + typeID[1:],
		"Long":             "cli_" + typeID + "0",
		"TrailingSpace":    "cli_" + typeID + " ",
		"TrailingNewline":  "cli_" + typeID + "\n",
		"Versioned":        "cli_" + typeID + "-1",
		"NUL":              "cli_01h455vb4pex5vsknk084sn02\x00",
		"NotASCII":         "cli_01h455vb4pex5vsknk084sn0é",
	}
	for name, in := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := id.Parse(id.Client, in)
			if !errors.Is(err, id.ErrMalformed) || got != "" {
				t.Fatalf("Parse(%q) = %q, %v", in, got, err)
			}
			if !strings.Contains(err.Error(), "cli_") {
				t.Errorf("the error does not say what was expected: %v", err)
			}
		})
	}
}

func TestParse_ErrorShowsLittleOfTheInput(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	secret := "sec_" + strings.Repeat("S", 49)
	for _, in := range []string{long, "cli_" + long, secret, "cli_" + secret} {
		_, one := id.Parse(id.Peer, in)
		_, client := id.ParseClientID(in)
		for _, err := range []error{one, client} {
			if n := strings.Count(err.Error(), "x"); n > 64 {
				t.Errorf("the error has %d characters of the input: %v", n, err)
			}
			if strings.Contains(err.Error(), "SSS") {
				t.Errorf("the error shows a secret: %v", err)
			}
		}
	}
}

func TestParse_KnownKindsOnly(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds() {
		in := string(kind) + "_" + typeID
		if got, err := id.Parse(kind, in); err != nil || got.String() != in || got.Kind() != kind {
			t.Errorf("Parse(%q) = %q, %v", in, got, err)
		}
	}
	for _, kind := range []id.Kind{"user", ""} {
		if got, err := id.Parse(kind, string(kind)+"_"+typeID); !errors.Is(err, id.ErrMalformed) || got != "" {
			t.Errorf("Parse of the unknown kind %q = %q, %v", kind, got, err)
		}
	}
}

func TestID_NoneAndUnparsedHaveNoKindAndNoTime(t *testing.T) {
	t.Parallel()
	for _, i := range []id.ID{"", "cli_", "user_" + typeID, "cli_" + typeID + "0"} {
		if i.Kind() != "" || !i.Time().IsZero() {
			t.Errorf("%q has kind %q and time %s", i, i.Kind(), i.Time())
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("cli_" + typeID)
	f.Add("jk_7zzzzzzzzzzzzzzzzzzzzzzzzz")
	f.Add("peer_8zzzzzzzzzzzzzzzzzzzzzzzzz")
	f.Fuzz(func(t *testing.T, s string) {
		taken := 0
		for _, kind := range kinds() {
			got, err := id.Parse(kind, s)
			if err != nil {
				if !errors.Is(err, id.ErrMalformed) || got != "" {
					t.Fatalf("Parse(%q) = %q, %v", s, got, err)
				}
				continue
			}
			taken++
			if got.String() != s || got.Kind() != kind || !strings.HasPrefix(s, string(kind)+"_") {
				t.Fatalf("Parse(%q) = %q of kind %q", s, got, got.Kind())
			}
			if first := id.First(kind, got.Time()); first > got || first.Time() != got.Time() {
				t.Fatalf("First at the time of %s is %s", got, first)
			}
		}
		if taken > 1 || (taken == 1) != (id.ID(s).Kind() != "") {
			t.Fatalf("%q is of %d kinds", s, taken)
		}
	})
}
