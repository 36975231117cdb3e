package usage_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/usage"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }

func use(client string, version int, source string, first, last, count int) usage.Use {
	return usage.Use{
		Key:   usage.Key{ClientID: client, Version: version, Source: source},
		First: at(first), Last: at(last), Count: uint64(count),
	}
}

func TestTally_CountsByVersionAndSource(t *testing.T) {
	t.Parallel()
	tally := usage.NewTally(0)
	if !tally.Empty() {
		t.Error("a new tally is not empty")
	}
	for i, u := range []usage.Use{use("cli_a-1", 1, "x", 0, 0, 1), use("cli_a-1", 1, "x", 0, 3, 1), use("cli_a-2", 2, "x", 0, 1, 1), use("cli_a-1", 1, "y", 0, 2, 1)} {
		tally.Count(u.Key, u.Last)
		if i == 1 {
			tally.Count(u.Key, at(1)) // a clock that jumps back
		}
	}
	want := []usage.Use{use("cli_a-1", 1, "x", 0, 3, 3), use("cli_a-1", 1, "y", 2, 2, 1), use("cli_a-2", 2, "x", 1, 1, 1)}
	if d := cmp.Diff(want, tally.Pending()); d != "" {
		t.Error(d)
	}
	got, partial := tally.Take()
	if d := cmp.Diff(want, got); d != "" || partial {
		t.Error(partial, d)
	}
	if !tally.Empty() {
		t.Error("what was taken is still there")
	}
	tally.Count(want[0].Key, at(9))
	tally.Return(got, false)
	want[0] = use("cli_a-1", 1, "x", 0, 9, 4)
	if d := cmp.Diff(want, tally.Pending()); d != "" {
		t.Error("returned:", d)
	}
}

func TestTally_SourcesBeyondTheLimitAreOthers(t *testing.T) {
	t.Parallel()
	tally := usage.NewTally(0)
	for i := range 40 {
		tally.Count(usage.Key{ClientID: "cli_a-1", Version: 1, Source: fmt.Sprint(i)}, at(i))
		tally.Count(usage.Key{ClientID: "cli_b", Version: 1, Source: "x"}, at(i))
	}
	sources, others, all := 0, uint64(0), uint64(0)
	for _, u := range tally.Pending() {
		all += u.Count
		switch {
		case u.ClientID == "cli_b":
		case u.Source == usage.Others:
			others = u.Count
		default:
			sources++
		}
	}
	if sources != 16 || others != 24 || all != 80 {
		t.Errorf("%d sources, %d others, %d in all", sources, others, all)
	}
}

func TestTally_TooManyVersionsArePartialButTheSharedOneIsThere(t *testing.T) {
	t.Parallel()
	tally := usage.NewTally(0)
	for i := range 5000 {
		tally.Count(usage.Key{ClientID: fmt.Sprintf("cli_%d", i), Version: 1}, start)
	}
	tally.Count(usage.Key{ClientID: "cli_shared-3", Version: 3}, start)
	uses, partial := tally.Take()
	if len(uses) != 4097 || !partial || !slices.ContainsFunc(uses, func(u usage.Use) bool { return u.Version == 3 }) {
		t.Errorf("%d uses, partial %v", len(uses), partial)
	}
	if _, partial := tally.Take(); partial {
		t.Error("partial was told already")
	}
	tally.Return(uses, true)
	if _, partial := tally.Take(); !partial {
		t.Error("partial got lost")
	}
}

func TestTally_LosesNothingBetweenGoroutines(t *testing.T) {
	t.Parallel()
	tally := usage.NewTally(0)
	var all sync.WaitGroup
	sum := make(chan uint64, 64)
	for range 8 {
		all.Go(func() {
			for i := range 500 {
				tally.Count(usage.Key{ClientID: "cli_a", Version: 1 + i%3, Source: "x"}, at(i))
				if i%100 == 0 {
					uses, _ := tally.Take()
					if i%200 == 0 {
						tally.Return(uses, false)
						continue
					}
					for _, u := range uses {
						sum <- u.Count
					}
				}
			}
		})
	}
	go func() { all.Wait(); close(sum) }()
	var n uint64
	for c := range sum {
		n += c
	}
	for _, u := range tally.Pending() {
		n += u.Count
	}
	if n != 4000 {
		t.Errorf("%d of 4000 uses", n)
	}
}

func anyUses() *rapid.Generator[[]usage.Use] {
	one := rapid.Custom(func(t *rapid.T) usage.Use {
		first := rapid.IntRange(0, 50).Draw(t, "first")
		return use(
			rapid.SampledFrom([]string{"cli_a-1", "cli_a-2", "cli_b"}).Draw(t, "client"), rapid.IntRange(1, 3).Draw(t, "version"),
			rapid.SampledFrom([]string{"x", "y", usage.Others}).Draw(t, "source"),
			first, first+rapid.IntRange(0, 50).Draw(t, "more"), rapid.IntRange(1, 9).Draw(t, "count"),
		)
	})
	return rapid.SliceOfN(one, 0, 12)
}

func TestMerge_Laws(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := anyUses().Draw(t, "a"), anyUses().Draw(t, "b"), anyUses().Draw(t, "c")
		same := func(what string, x, y []usage.Use) {
			if d := cmp.Diff(x, y); d != "" {
				t.Fatalf("%s: %s", what, d)
			}
		}
		same("commutative", usage.Merge(a, b), usage.Merge(b, a))
		same("associative", usage.Merge(usage.Merge(a, b), c), usage.Merge(a, usage.Merge(b, c)))
		same("nothing", usage.Merge(usage.Merge(a, nil), nil), usage.Merge(a, nil))
		var before, after uint64
		for _, u := range append(slices.Clone(a), b...) {
			before += u.Count
		}
		for _, u := range usage.Merge(a, b) {
			after += u.Count
			if u.Last.Before(u.First) {
				t.Fatalf("%+v", u)
			}
		}
		if before != after {
			t.Fatalf("%d uses became %d", before, after)
		}
	})
}

func TestPack_UrgentOnesFirst(t *testing.T) {
	t.Parallel()
	var uses []usage.Use
	for i := range 100 {
		uses = append(uses, use(fmt.Sprintf("cli_%02d", i), 1, "x", 0, 100-i, 1))
	}
	uses = append(uses, use("cli_z-1", 1, "x", 0, 99, 1))
	fit, rest := usage.Pack(uses, 1<<20, func(usage.Key) bool { return false })
	if len(fit) != 101 || len(rest) != 0 {
		t.Errorf("%d and %d, where all fit", len(fit), len(rest))
	}
	fit, rest = usage.Pack(uses, 10*200, func(k usage.Key) bool { return k.ClientID == "cli_50" || k.ClientID == "cli_00" })
	if len(fit)+len(rest) != 101 || len(fit) < 5 || len(fit) > 12 {
		t.Fatalf("%d and %d", len(fit), len(rest))
	}
	var names []string
	for _, u := range fit[:4] {
		names = append(names, u.ClientID)
	}
	if d := cmp.Diff([]string{"cli_z-1", "cli_50", "cli_00", "cli_99"}, names); d != "" {
		t.Error(d)
	}
}
