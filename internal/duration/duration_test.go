package duration_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/duration"
)

const day = 24 * time.Hour

func TestParse_Forms(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"24h": day, "90m": 90 * time.Minute, "1h30m": 90 * time.Minute, "2s": 2 * time.Second,
		"600seconds": 10 * time.Minute, "1second": time.Second,
		"45minutes": 45 * time.Minute, "1minute": time.Minute, "5min": 5 * time.Minute,
		"7hour": 7 * time.Hour, "7hours": 7 * time.Hour,
		"3days": 3 * day, "1day": day, "3d": 3 * day,
		"2weeks": 14 * day, "1week": 7 * day, "2w": 14 * day,
		"6months": 180 * day, "1month": 30 * day,
		"3 days": 3 * day, "2   weeks": 14 * day, " 24h ": day,
		"2 weeks 3 days": 17 * day, "2weeks3days": 17 * day, "1h 30m": 90 * time.Minute, "1 h 30 min": 90 * time.Minute,
		"30m1h": 90 * time.Minute, "1h1h": 2 * time.Hour,
		"0": 0, "0s": 0, "0h0m0s": 0, "007h": 7 * time.Hour,
		"9223372036s": 9223372036 * time.Second, "2562047h47m16s": 9223372036 * time.Second,
	} {
		if got, err := duration.Parse(in); err != nil || got != want {
			t.Errorf("Parse(%q) = %s, %v; want %s", in, got, err, want)
		}
	}
}

func TestParse_Refuses(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"Empty": "", "Blank": "  ", "NoUnit": "24", "ZeroWithMore": "0 1", "UnitOnly": "h", "UnitFirst": "h24",
		"Negative": "-1h", "NegativeZero": "-0s", "Plus": "+1h", "NegativePart": "1h-30m",
		"Fraction": "1.5h", "LeadingPoint": ".5h", "Comma": "1h,30m", "And": "1h and 30m",
		"Milliseconds": "500ms", "WholeMilliseconds": "1000ms", "Nanoseconds": "1000000000ns", "Microseconds": "1us",
		"UpperCase": "24H", "UpperMonth": "1M", "Unknown": "3fortnights", "Years": "1y", "PluralShort": "3hs",
		"TrailingNumber": "1h30", "TrailingText": "1h!", "Tab": "1\th", "Newline": "1h\n", "ArabicDigit": "٣h", "NUL": "1h\x00",
		"OneUnitOver": "9223372037s", "MonthsOver": "3559months", "SumOver": "2562047h 47m 17s",
		"Overflow": "99999999999999999999999999h", "Wraps": "18446744073709551617s",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := duration.Parse(in)
			if err == nil || got != 0 {
				t.Fatalf("Parse(%q) = %s, %v", in, got, err)
			}
		})
	}
}

func TestParse_ErrorNamesInputAndForms(t *testing.T) {
	t.Parallel()
	_, err := duration.Parse("3 fortnights")
	for _, want := range []string{`"3 fortnights"`, "unit", "24h", "3days", "6months"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	for in, want := range map[string]string{
		"": "empty", "-1h": "negative", "1.5h": "whole numbers", "24": "no unit", "9223372037s": "too long", "h": "whole number",
	} {
		if _, err := duration.Parse(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): %v, want a word on %q", in, err, want)
		}
	}
	if _, err := duration.Parse(strings.Repeat("x", 5000)); len(err.Error()) > 250 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

func TestParse_AgreesWithGo(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`([0-9]{1,6}[hms]){1,4}`).Draw(t, "s")
		want, wantErr := time.ParseDuration(s)
		if got, err := duration.Parse(s); err != nil || wantErr != nil || got != want {
			t.Fatalf("Parse(%q) = %s, %v; want %s, %v", s, got, err, want, wantErr)
		}
	})
}

func TestFormat_IsCanonical(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 45 * time.Second: "45s", 60 * time.Second: "1m", 600 * time.Second: "10m",
		90 * time.Second: "1m30s", time.Hour: "1h", 90 * time.Minute: "1h30m", day: "24h", 30 * day: "720h",
		time.Hour + time.Second: "1h1s", 10*time.Hour + 10*time.Second: "10h10s", 20 * time.Hour: "20h",
		time.Hour + time.Minute + time.Second: "1h1m1s", 100 * time.Minute: "1h40m",
	} {
		if got := duration.Format(d); got != want {
			t.Errorf("Format(%s) = %q, want %q", d, got, want)
		}
	}
}

func wholeSeconds(t *rapid.T) time.Duration {
	return time.Duration(rapid.Int64Range(0, math.MaxInt64/int64(time.Second)).Draw(t, "seconds")) * time.Second
}

func TestFormat_ParsesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := wholeSeconds(t)
		if got, err := duration.Parse(duration.Format(d)); err != nil || got != d {
			t.Fatalf("%q parses as %s, %v", duration.Format(d), got, err)
		}
	})
}

func TestHuman_HasAtMostTwoUnits(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		day - time.Minute: "23 h 59 min", day - time.Second: "23 h 59 min",
		3*day + 2*time.Hour: "3 days 2 h", 3*day + 2*time.Hour + 59*time.Minute: "3 days 2 h", 3*day + 5*time.Minute: "3 days",
		45 * time.Second: "45 s", 90 * time.Second: "1 min 30 s", time.Minute: "1 min", time.Hour: "1 h",
		time.Hour + 59*time.Second: "1 h", day: "1 day", day + time.Hour: "1 day 1 h", 400 * day: "400 days",
		0: "0 s", 999 * time.Millisecond: "0 s", -time.Hour: "0 s",
	} {
		if got := duration.Human(d); got != want {
			t.Errorf("Human(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestHuman_NeverPromisesMore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := wholeSeconds(t)
		got, err := duration.Parse(duration.Human(d))
		if err != nil || got > d || got < d-d/20 {
			t.Fatalf("%s reads %q, which is %s, %v", d, duration.Human(d), got, err)
		}
	})
}

func TestValue_ReadsText(t *testing.T) {
	t.Parallel()
	v := duration.Value(time.Minute)
	if err := v.UnmarshalText([]byte("2 days")); err != nil || time.Duration(v) != 2*day || v.String() != "48h" {
		t.Errorf("= %s, %v", v, err)
	}
	if err := v.UnmarshalText([]byte("soon")); err == nil || time.Duration(v) != 2*day {
		t.Errorf("a bad text leaves %s, %v", v, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"24h", "1h30m", "2 weeks 3 days", "6months", "0", "-1h", "1.5h", "9223372037s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := duration.Parse(s)
		if err != nil {
			if d != 0 || len(err.Error()) > 500 {
				t.Fatalf("Parse(%q) = %s with an error of %d bytes", s, d, len(err.Error()))
			}
			return
		}
		if d < 0 || d%time.Second != 0 {
			t.Fatalf("Parse(%q) = %s", s, d)
		}
		if again, err := duration.Parse(duration.Format(d)); err != nil || again != d {
			t.Fatalf("%q formats as %q, which is %s, %v", s, duration.Format(d), again, err)
		}
		if _, err := duration.Parse(duration.Human(d)); err != nil {
			t.Fatalf("%q reads %q: %v", s, duration.Human(d), err)
		}
	})
}
