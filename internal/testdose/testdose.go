// Package testdose says how much a test does of what has no natural end: random histories, killed processes, damaged files. A
// fast machine does all of it; a slow one does what fits, so that the tests end in time there too. Nothing but tests uses it.
package testdose

import (
	"iter"
	"os"
	"strconv"
	"testing"
	"time"
)

// Factor is the environment variable that multiplies every dose, in rounds and in time. KEYTURN_DOSE=10 is a long night.
const Factor = "KEYTURN_DOSE"

// Dose is how often something is done.
type Dose struct {
	// Least is done however long it takes: with fewer rounds the test would prove nothing. With -short it is all that is done.
	Least int
	// Most is done where Within suffices for it.
	Most int
	// Within is when no further round begins. It is not a limit on the test: nothing fails by it.
	Within time.Duration
}

// Rounds yields 0, 1, 2, …: as many as the dose says. It logs where that are fewer than Most.
func (d Dose) Rounds(t testing.TB) iter.Seq[int] {
	t.Helper()
	factor := 1
	if text := os.Getenv(Factor); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s is %q, want a whole number from 1", Factor, text)
		}
		factor = n
	}
	most, within := d.Most*factor, d.Within*time.Duration(factor)
	if testing.Short() {
		most = d.Least
	}
	return func(yield func(int) bool) {
		until := time.Now().Add(within)
		for n := range max(most, d.Least) {
			if n >= d.Least && time.Now().After(until) {
				t.Logf("%d rounds of %d: %v were over", n, most, within)
				return
			}
			if !yield(n) {
				return
			}
		}
	}
}
