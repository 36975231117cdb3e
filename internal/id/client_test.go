package id_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/id"
)

func TestParseClientID_Forms(t *testing.T) {
	t.Parallel()
	const credential id.ID = "cli_" + typeID
	rows := map[string]id.ClientID{
		"cli_" + typeID:                {Credential: credential},
		"cli_" + typeID + "-1":         {Credential: credential, Version: 1},
		"cli_" + typeID + "-7":         {Credential: credential, Version: 7},
		"cli_" + typeID + "-10":        {Credential: credential, Version: 10},
		"cli_" + typeID + "-999999999": {Credential: credential, Version: 999_999_999},
	}
	for in, want := range rows {
		got, err := id.ParseClientID(in)
		if err != nil || got != want {
			t.Errorf("ParseClientID(%q) = %+v, %v", in, got, err)
		}
		if got.String() != in {
			t.Errorf("%q prints as %q", in, got)
		}
		if got.Bare() != (want.Version == 0) {
			t.Errorf("%q: Bare() = %v", in, got.Bare())
		}
	}
}

func TestParseClientID_Refuses(t *testing.T) {
	t.Parallel()
	for name, suffix := range map[string]string{
		"NoVersion":       "-",
		"Zero":            "-0",
		"LeadingZero":     "-07",
		"Plus":            "-+7",
		"Negative":        "--7",
		"Space":           "- 7",
		"TrailingSpace":   "-7 ",
		"TrailingNewline": "-7\n",
		"Hex":             "-0x7",
		"Underscore":      "-1_0",
		"TenDigits":       "-1000000000",
		"Overflow":        "-99999999999999999999",
		"ArabicDigit":     "-٣",
		"TwoVersions":     "-7-7",
		"Letter":          "-7a",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := id.ParseClientID("cli_" + typeID + suffix)
			if !errors.Is(err, id.ErrMalformed) || got != (id.ClientID{}) {
				t.Fatalf("= %+v, %v", got, err)
			}
		})
	}
	for _, in := range []string{"", "-7", "peer_" + typeID, "peer_" + typeID + "-7", "cli_" + strings.ToUpper(typeID) + "-7"} {
		if got, err := id.ParseClientID(in); !errors.Is(err, id.ErrMalformed) || got != (id.ClientID{}) {
			t.Errorf("ParseClientID(%q) = %+v, %v", in, got, err)
		}
	}
}

func TestClientID_RoundTrips(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := id.ClientID{
			Credential: id.New(id.Client, time.UnixMilli(rapid.Int64Range(0, 1<<48-1).Draw(t, "ms"))),
			Version:    rapid.IntRange(0, 999_999_999).Draw(t, "version"),
		}
		got, err := id.ParseClientID(want.String())
		if err != nil || got != want {
			t.Fatalf("%s parses as %+v, %v", want, got, err)
		}
	})
}

func TestClientID_IsAStringInJSON(t *testing.T) {
	t.Parallel()
	type doc struct {
		ID       id.ID         `json:"id"`
		ClientID id.ClientID   `json:"client_id"`
		None     id.ClientID   `json:"none"`
		Killed   []id.ClientID `json:"killed"`
	}
	const want = `{"id":"cli_` + typeID + `","client_id":"cli_` + typeID + `-7","none":"","killed":["cli_` + typeID + `"]}`
	var d doc
	if err := json.Unmarshal([]byte(want), &d); err != nil {
		t.Fatal(err)
	}
	if d.ClientID.Version != 7 || d.None != (id.ClientID{}) || len(d.Killed) != 1 || !d.Killed[0].Bare() {
		t.Errorf("read %+v", d)
	}
	got, err := json.Marshal(d)
	if err != nil || string(got) != want {
		t.Errorf("wrote %s, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`{"client_id":"cli_x"}`), &d); !errors.Is(err, id.ErrMalformed) {
		t.Errorf("a bad client id gives %v", err)
	}
}

func TestClientID_EmptyTextClears(t *testing.T) {
	t.Parallel()
	c := id.ClientID{Credential: "cli_" + typeID, Version: 7}
	if err := c.UnmarshalText(nil); err != nil || c != (id.ClientID{}) {
		t.Errorf("= %+v, %v", c, err)
	}
}

func FuzzParseClientID(f *testing.F) {
	f.Add("cli_" + typeID)
	f.Add("cli_" + typeID + "-7")
	f.Add("cli_" + typeID + "-07")
	f.Add("cli_" + typeID + "-999999999")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := id.ParseClientID(s)
		if err != nil {
			if !errors.Is(err, id.ErrMalformed) || got != (id.ClientID{}) {
				t.Fatalf("ParseClientID(%q) = %+v, %v", s, got, err)
			}
			return
		}
		if got.String() != s || got.Version < 0 || got.Version > 999_999_999 || got.Credential.Kind() != id.Client {
			t.Fatalf("ParseClientID(%q) = %+v", s, got)
		}
	})
}
