// Package duration reads and prints spans of time as people type them: 24h, 1h30m, 45minutes, 2 weeks 3 days. Spans are
// whole seconds and never negative; a day is 24 hours, a month 30 days. It knows no clock and no calendar.
package duration

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

const (
	day   = 24 * time.Hour
	week  = 7 * day
	month = 30 * day
)

// Value is a time.Duration that reads itself from a command line or from JSON text with Parse.
type Value time.Duration

// UnmarshalText reads what Parse reads, with its errors.
func (v *Value) UnmarshalText(b []byte) error {
	d, err := Parse(string(b))
	if err != nil {
		return err
	}
	*v = Value(d)
	return nil
}

// String returns what Format returns.
func (v Value) String() string { return Format(time.Duration(v)) }

// Parse reads one or more parts, each a whole number and a unit, next to each other or with spaces between: 24h, 1h30m,
// 600seconds, 2 weeks 3 days. The units are s, m, h, d, w, the words second, minute, hour, day, week and month with or
// without an s, and min. 0 needs no unit. Anything else is an error that quotes the text and names the forms, and so is
// a sum beyond what time.Duration holds (some 292 years).
func Parse(s string) (time.Duration, error) {
	d, err := sum(strings.Trim(s, " "))
	if err != nil {
		return 0, fmt.Errorf("duration %s: %w; write 45s, 90m, 24h, 1h30m, 3days, 2weeks or 6months", quote(s), err)
	}
	return d, nil
}

func sum(s string) (total time.Duration, err error) {
	switch {
	case s == "":
		return 0, errors.New("it is empty")
	case s == "0":
		return 0, nil
	case strings.HasPrefix(s, "-"):
		return 0, errors.New("it cannot be negative")
	}
	for s != "" {
		var d time.Duration
		if d, s, err = part(s); err != nil {
			return 0, err
		}
		if d > math.MaxInt64-total {
			return 0, errTooLong
		}
		total += d
	}
	return total, nil
}

var errTooLong = errors.New("it is too long to count")

// part takes the first number and unit off s, and the spaces after them.
func part(s string) (d time.Duration, rest string, err error) {
	number, rest := span(s, isDigit)
	if number == "" {
		return 0, "", errors.New("a part does not begin with a whole number")
	}
	name, rest := span(strings.TrimLeft(rest, " "), isLetter)
	one, ok := unit(name)
	switch {
	case name == "" && strings.HasPrefix(rest, "."):
		return 0, "", errors.New("only whole numbers count")
	case name == "":
		return 0, "", errors.New("a number has no unit")
	case !ok:
		return 0, "", errors.New("a unit is unknown")
	}
	d, err = times(number, one)
	return d, strings.TrimLeft(rest, " "), err
}

// times multiplies the decimal number by one unit.
func times(number string, one time.Duration) (time.Duration, error) {
	var n time.Duration
	for _, c := range []byte(number) {
		if n = n*10 + time.Duration(c-'0'); n > math.MaxInt64/one {
			return 0, errTooLong
		}
	}
	return n * one, nil
}

// unit has no word for months shorter than month: m is minutes.
func unit(name string) (time.Duration, bool) {
	switch name {
	case "s", "second", "seconds":
		return time.Second, true
	case "m", "min", "minute", "minutes":
		return time.Minute, true
	case "h", "hour", "hours":
		return time.Hour, true
	case "d", "day", "days":
		return day, true
	case "w", "week", "weeks":
		return week, true
	case "month", "months":
		return month, true
	}
	return 0, false
}

// span cuts s after its longest beginning for which every byte is in.
func span(s string, in func(byte) bool) (head, tail string) {
	n := 0
	for n < len(s) && in(s[n]) {
		n++
	}
	return s[:n], s[n:]
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func quote(s string) string {
	const most = 64 // bytes of input in an error
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
