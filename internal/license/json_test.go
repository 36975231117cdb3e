package license_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gowebpki/jcs"

	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/license"
)

func TestParse_Refuses(t *testing.T) {
	t.Parallel()
	good := text(t, issue(t, "a", plain()))
	inside := strings.TrimSuffix(good, "}")
	instead := func(old, replacement string) string {
		if strings.Count(good, old) != 1 {
			t.Fatalf("%s is there %d times", old, strings.Count(good, old))
		}
		return strings.Replace(good, old, replacement, 1)
	}
	const from, to = `"2026-01-31T23:59:58Z"`, `"2027-01-31T23:59:58Z"`
	sig := good[strings.Index(good, `"signature":"`)+len(`"signature":"`) : len(good)-2]
	for name, doc := range map[string]string{
		"Empty":             "",
		"Null":              "null",
		"Array":             "[" + good + "]",
		"EmptyObject":       "{}",
		"Unclosed":          inside,
		"TrailingObject":    good + "{}",
		"TrailingText":      good + "x",
		"Unknown":           inside + `,"plan":"gold"}`,
		"UnknownNull":       inside + `,"plan":null}`,
		"OtherCase":         instead(`"max_nodes"`, `"Max_Nodes"`),
		"OtherCaseTwice":    inside + `,"MAX_NODES":1000000}`,
		"Twice":             inside + `,"max_nodes":25}`,
		"TwiceByEscape":     inside + `,"max\u005fnodes":1000000}`,
		"NotUTF8":           instead(`"key_id":"`, "\"key_id\":\"\xff"),
		"HalfSurrogate":     instead(`"key_id":"`, `"key_id":"\ud800`),
		"NodesString":       instead(`"max_nodes":25`, `"max_nodes":"25"`),
		"NodesNull":         instead(`"max_nodes":25`, `"max_nodes":null`),
		"NodesFraction":     instead(`"max_nodes":25`, `"max_nodes":25.5`),
		"NodesPoint":        instead(`"max_nodes":25`, `"max_nodes":25.0`),
		"NodesExponent":     instead(`"max_nodes":25`, `"max_nodes":25e0`),
		"NodesNegative":     instead(`"max_nodes":25`, `"max_nodes":-1`),
		"NodesOverExact":    instead(`"max_nodes":25`, `"max_nodes":9007199254740992`),
		"NodesOverflow":     instead(`"max_nodes":25`, `"max_nodes":99999999999999999999`),
		"ServicesNegative":  instead(`"max_services":100`, `"max_services":-1`),
		"ServicesOverExact": instead(`"max_services":100`, `"max_services":9007199254740993`),
		"LicenseIDKind":     instead(string(licenseID), string(customerID)),
		"LicenseIDUpper":    instead(string(licenseID), strings.ToUpper(string(licenseID))),
		"LicenseIDEmpty":    instead(string(licenseID), ""),
		"CustomerIDKind":    instead(string(customerID), string(licenseID)),
		"CustomerIDNumber":  instead(`"`+string(customerID)+`"`, "7"),
		"TimeOffset":        instead(from, `"2026-01-31T23:59:58+00:00"`),
		"TimeOtherZone":     instead(from, `"2026-02-01T01:59:58+02:00"`),
		"TimeFraction":      instead(from, `"2026-01-31T23:59:58.0Z"`),
		"TimeHalfSecond":    instead(from, `"2026-01-31T23:59:58.5Z"`),
		"TimeComma":         instead(from, `"2026-01-31T23:59:58,5Z"`),
		"TimeLowerT":        instead(from, `"2026-01-31t23:59:58z"`),
		"TimeSpace":         instead(from, `"2026-01-31 23:59:58Z"`),
		"TimeNoSuchDay":     instead(from, `"2026-02-31T23:59:58Z"`),
		"TimeLeapSecond":    instead(from, `"2025-12-31T23:59:60Z"`),
		"TimeOneDigit":      instead(from, `"2026-01-31T3:59:58Z"`),
		"TimeNumber":        instead(from, `1769903998`),
		"TimeNull":          instead(from, `null`),
		"TimeYear0":         instead(from, `"0000-01-31T23:59:58Z"`),
		"ExpiresAtOnce":     instead(to, from),
		"ExpiresBefore":     instead(to, `"2026-01-31T23:59:57Z"`),
		"KeyIDEmpty":        instead(vendor(t, "a").ID(), ""),
		"KeyIDNull":         instead(`"`+vendor(t, "a").ID()+`"`, "null"),
		"SignatureEmpty":    instead(sig, ""),
		"SignatureNull":     instead(`"`+sig+`"`, "null"),
		"SignatureShort":    instead(sig, sig[:84]),
		"SignatureLong":     instead(sig, sig+"AA"),
		"SignatureNewline":  instead(sig, sig[:40]+`\n`+sig[40:]),
		"SignatureBits":     instead(sig, sig[:85]+"_"),
		"SignatureHalfPad":  instead(sig, sig+"="),
		"SignatureStandard": instead(sig, sig[:84]+"+A"),
		"OverSixtyFourKiB":  good + strings.Repeat(" ", 64<<10),
		"Deep":              inside + `,"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := license.Parse([]byte(doc))
			if !errors.Is(err, license.ErrMalformed) || !l.Equal(license.License{}) {
				t.Fatalf("= %+v, %v", l, err)
			}
			if len(err.Error()) > 400 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
	if l, err := license.Parse([]byte(good + strings.Repeat(" ", 64<<10-len(good)))); err != nil {
		t.Errorf("exactly 64 KiB: %+v, %v", l, err)
	}
}

func TestParse_WantsEveryMember(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"license_id", "customer_id", "issued_at", "expires_at", "max_nodes", "max_services", "signature"} {
		var m map[string]any
		if err := json.Unmarshal([]byte(text(t, issue(t, "a", plain()))), &m); err != nil {
			t.Fatal(err)
		}
		delete(m, name)
		if _, err := license.Parse([]byte(text(t, m))); !errors.Is(err, license.ErrMalformed) || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

func TestParse_TakesAnyLayoutAndPadding(t *testing.T) {
	t.Parallel()
	want := issue(t, "a", plain())
	var m map[string]any
	if err := json.Unmarshal([]byte(text(t, want)), &m); err != nil {
		t.Fatal(err)
	}
	m["signature"] = m["signature"].(string) + "=="
	indented, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	got, err := license.Parse(append(indented, '\n'))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLicense_IsAMemberOfOtherJSON(t *testing.T) {
	t.Parallel()
	type doc struct {
		License license.License `json:"license"`
	}
	want := doc{issue(t, "a", plain())}
	var got doc
	if err := json.Unmarshal([]byte(text(t, want)), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := json.Unmarshal([]byte(`{"license":{}}`), &got); !errors.Is(err, license.ErrMalformed) {
		t.Errorf("an empty license: %v", err)
	}
}

// The canonical form comes from the library as it is, so the library is held to the standard: RFC 8785 §3.2.2 and
// §3.2.3, and rows of appendix B.
func TestCanonicalForm_StandardVectors(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{
		  "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
		  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
		  "literals": [null, true, false]
		}`: `{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		`{
		  "\u20ac": "Euro Sign",
		  "\r": "Carriage Return",
		  "\ufb33": "Hebrew Letter Dalet With Dagesh",
		  "1": "One",
		  "\ud83d\ude00": "Emoji: Grinning Face",
		  "\u0080": "Control",
		  "\u00f6": "Latin Small Letter O With Diaeresis"
		}`: `{"\r":"Carriage Return","1":"One","` + "\u0080" + `":"Control","ö":"Latin Small Letter O With Diaeresis",` +
			`"€":"Euro Sign","😀":"Emoji: Grinning Face","` + "\ufb33" + `":"Hebrew Letter Dalet With Dagesh"}`,
		`[-0, 5e-324, 1.7976931348623157e308, 9007199254740992, -9007199254740992, 295147905179352830000, 1e23, 0.000001]`: `[0,5e-324,1.7976931348623157e+308,9007199254740992,-9007199254740992,295147905179352830000,1e+23,0.000001]`,
	} {
		if got, err := jcs.Transform([]byte(in)); err != nil || string(got) != want {
			t.Errorf("%s\nis  %s, %v\nnot %s", in, got, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	good := text(f, issue(f, "a", plain()))
	f.Add([]byte(good))
	f.Add([]byte(strings.Replace(good, `"max_nodes":25`, `"max_nodes":25e0`, 1)))
	f.Add([]byte(strings.Replace(good, `58Z"`, `58+00:00"`, 1)))
	f.Add([]byte(`{"license_id":null}`))
	vendors := []jwk.Key{vendor(f, "a")}
	signed := issue(f, "a", plain())
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := license.Parse(b)
		if err != nil {
			if !errors.Is(err, license.ErrMalformed) || !l.Equal(license.License{}) {
				t.Fatalf("= %+v, %v", l, err)
			}
			return
		}
		if again, err := license.Parse([]byte(text(t, l))); err != nil || !again.Equal(l) {
			t.Fatalf("it does not read back: %v", err)
		}
		switch err := l.Verify(vendors); {
		case err == nil && !l.Equal(signed):
			t.Fatalf("nobody signed %s", b)
		case err != nil && !errors.Is(err, license.ErrUntrusted):
			t.Fatalf("Verify = %v", err)
		}
	})
}
