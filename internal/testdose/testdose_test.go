package testdose_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/testdose"
)

// done counts the rounds of a dose each of which takes so long.
func done(t *testing.T, d testdose.Dose, each time.Duration) (rounds []int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		for n := range d.Rounds(t) {
			rounds = append(rounds, n)
			time.Sleep(each)
		}
	})
	return rounds
}

func TestRounds(t *testing.T) {
	if testing.Short() {
		t.Skip("-short does the least everywhere")
	}
	t.Setenv(testdose.Factor, "")
	d := testdose.Dose{Least: 2, Most: 5, Within: 10 * time.Second}
	for name, c := range map[string]struct {
		each   time.Duration
		factor string
		want   int
	}{
		"FastDoesAll":           {each: time.Millisecond, want: 5},
		"SlowDoesWhatFits":      {each: 4 * time.Second, want: 3},
		"VerySlowDoesTheLeast":  {each: time.Minute, want: 2},
		"AFactorMultipliesBoth": {each: 4 * time.Second, factor: "3", want: 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(testdose.Factor, c.factor)
			got := done(t, d, c.each)
			if len(got) != c.want || !slices.IsSorted(got) || got[0] != 0 {
				t.Errorf("rounds %v, want %d", got, c.want)
			}
		})
	}
}

func TestRounds_CanBeLeft(t *testing.T) {
	n := 0
	for range (testdose.Dose{Least: 3, Most: 3}).Rounds(t) {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("%d rounds, want 2", n)
	}
}
