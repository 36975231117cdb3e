package backoff_test

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/backoff"
)

func TestGrown_DoublesUpToMost(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		failures          int
		first, most, want time.Duration
	}{
		{-1, time.Second, time.Minute, time.Second},
		{0, time.Second, time.Minute, time.Second},
		{1, time.Second, time.Minute, time.Second},
		{2, time.Second, time.Minute, 2 * time.Second},
		{6, time.Second, time.Minute, 32 * time.Second},
		{7, time.Second, time.Minute, time.Minute},
		{8, time.Second, time.Minute, time.Minute},
		{math.MaxInt, time.Second, time.Minute, time.Minute},
		{math.MaxInt, time.Second, math.MaxInt64, math.MaxInt64},
		{1, time.Hour, time.Minute, time.Minute},
		{math.MaxInt, 0, time.Minute, 0},
	} {
		if got := backoff.Grown(row.failures, row.first, row.most); got != row.want {
			t.Errorf("%d failures, from %s to %s: %s, want %s", row.failures, row.first, row.most, got, row.want)
		}
	}
}

func TestJitter_SpreadsOverTheLastPart(t *testing.T) {
	t.Parallel()
	for part, least := range map[backoff.Part]time.Duration{backoff.Half: 500, backoff.Fifth: 800} {
		low, high := time.Duration(1000), time.Duration(0)
		for range 20_000 {
			d := backoff.Jitter(1000, part)
			low, high = min(low, d), max(high, d)
		}
		if low < least || low > least+10 || high > 1000 || high < 990 {
			t.Errorf("1/%d: from %d to %d of 1000", part, low, high)
		}
	}
}

func TestJitter_OfAnything(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64().Draw(t, "d"))
		for _, part := range []backoff.Part{backoff.Half, backoff.Fifth} {
			if got := backoff.Jitter(d, part); got < 0 || got > max(d, 0) || got < d-d/time.Duration(part)-1 {
				t.Fatalf("%d of %d", got, d)
			}
		}
	})
}

func TestWait_IsOverWithItsContextOrItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for _, row := range []struct {
			d, want time.Duration
			over    bool
		}{{time.Second, time.Second, true}, {time.Hour, 59 * time.Second, false}} {
			began := time.Now()
			if over := backoff.Wait(ctx, row.d); over != row.over || time.Since(began) != row.want {
				t.Errorf("%s: %v after %s", row.d, over, time.Since(began))
			}
		}
	})
}
