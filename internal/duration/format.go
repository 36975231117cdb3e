package duration

import (
	"fmt"
	"strings"
	"time"
)

// Format returns the canonical text of d in hours, minutes and seconds, without those that are 0: 24h, 1h30m, 45s, 0s.
// For whole seconds that are not negative, Parse gives d back.
func Format(d time.Duration) string {
	s := d.String() // 24h0m0s
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	return strings.Replace(s, "h0m", "h", 1)
}

// Human returns d for a sentence, in its largest unit and the one below, cut and not rounded, so that it never promises
// more than there is: 3 days 2 h, 23 h 59 min, 45 s. Less than a second, and less than nothing, is 0 s. Parse reads it.
func Human(d time.Duration) string {
	switch {
	case d >= day:
		return pair(d, day, plural(d/day, "day"), time.Hour, "h")
	case d >= time.Hour:
		return pair(d, time.Hour, "h", time.Minute, "min")
	case d >= time.Minute:
		return pair(d, time.Minute, "min", time.Second, "s")
	}
	return fmt.Sprintf("%d s", max(d, 0)/time.Second)
}

func pair(d, one time.Duration, name string, lesser time.Duration, lesserName string) string {
	s := fmt.Sprintf("%d %s", d/one, name)
	if n := d % one / lesser; n > 0 {
		s += fmt.Sprintf(" %d %s", n, lesserName)
	}
	return s
}

func plural(n time.Duration, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
