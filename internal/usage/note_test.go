package usage_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/usage"
)

func report(id string, minutes int, seq uint64, uses ...usage.Use) usage.Report {
	return usage.Report{ID: id, At: at(minutes), Cursor: map[string]uint64{"local": seq}, Uses: uses}
}

func TestNote_Merge(t *testing.T) {
	t.Parallel()
	first := report("r1", 0, 5, use("cli_a-1", 1, "x", 0, 0, 2))
	n := usage.Note{}.Merge(first, at(0), usage.Sources)
	if d := cmp.Diff(n, n.Merge(first, at(7), usage.Sources)); d != "" {
		t.Error("the same report again:", d)
	}
	before := n
	n = n.Merge(report("r2", 1, 5, use("cli_a-1", 1, "x", 1, 1, 3), use("cli_a-2", 2, "x", 1, 1, 1)), at(1), usage.Sources)
	want := []usage.Use{use("cli_a-1", 1, "x", 0, 1, 5), use("cli_a-2", 2, "x", 1, 1, 1)}
	if d := cmp.Diff(want, n.Uses); d != "" || !n.At.Equal(at(1)) {
		t.Error(n.At, d)
	}
	if len(before.Uses) != 1 || before.Uses[0].Count != 2 {
		t.Error("the note before has changed")
	}
	thirty := 30 * 24 * 60
	n = n.Merge(report("r3", thirty+1, 5), at(thirty+1), usage.Sources)
	if len(n.Uses) != 2 {
		t.Errorf("after exactly 30 days: %+v", n.Uses)
	}
	n = n.Merge(report("r4", thirty+2, 5), at(thirty+2), usage.Sources)
	if len(n.Uses) != 0 {
		t.Errorf("after more than 30 days: %+v", n.Uses)
	}
}

// A report that may have arrived is made again under its id, with what came since: nothing counts twice, and the note says what
// was until the newest one was made.
func TestNote_AReportThatIsMadeAgain(t *testing.T) {
	t.Parallel()
	n := usage.Note{}.Merge(report("r1", 0, 5, use("cli_a-1", 1, "x", 0, 0, 2), use("cli_a-1", 1, "z", 0, 0, 1)), at(0), usage.Sources)
	grown := report("r1", 3, 6, use("cli_a-1", 1, "x", 0, 2, 5), use("cli_a-1", 1, "y", 2, 2, 1))
	if !n.Holds(report("r1", 0, 5, use("cli_a-1", 1, "x", 0, 0, 2))) || n.Holds(grown) || n.Holds(report("r1", 0, 5, grown.Uses...)) || n.Holds(report("r2", 0, 5)) {
		t.Error("what is held")
	}
	b, err := n.Merge(grown, at(3), usage.Sources).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if n, err = usage.DecodeNote(b); err != nil {
		t.Fatal(err)
	}
	want := []usage.Use{use("cli_a-1", 1, "x", 0, 2, 5), use("cli_a-1", 1, "y", 2, 2, 1), use("cli_a-1", 1, "z", 0, 0, 1)}
	if d := cmp.Diff(want, n.Uses); d != "" || !n.At.Equal(at(3)) {
		t.Error(n.At, d)
	}
	grown.At, grown.Uses = at(4), append(grown.Uses, use("cli_a-1", 1, "z", 0, 0, 1))
	n = n.Merge(grown, at(4), usage.Sources)
	if d := cmp.Diff(want, n.Uses); d != "" {
		t.Error("a third time:", d)
	}
	n = n.Merge(report("r2", 5, 6, use("cli_a-1", 1, "x", 5, 5, 1)), at(5), usage.Sources)
	if n.Uses[0].Count != 6 || len(n.Told) != 1 {
		t.Errorf("the next one: %+v", n)
	}
}

func TestNote_AClockAheadMovesNothingIntoTheFuture(t *testing.T) {
	t.Parallel()
	r := report("r1", 60, 5, use("cli_a-1", 1, "x", 59, 60, 2))
	n := usage.Note{}.Merge(r, at(1), usage.Sources)
	if !n.At.Equal(at(1)) || !n.Uses[0].Last.Equal(at(1)) || !n.Uses[0].First.Equal(at(1)) {
		t.Errorf("%+v", n)
	}
	if !r.Uses[0].Last.Equal(at(60)) {
		t.Error("the report was changed")
	}
	late := usage.Note{}.Merge(report("r1", 1, 5), at(9), usage.Sources) // made before, sent again
	if !late.At.Equal(at(1)) {
		t.Errorf("a report of 12:01 says what was until %s", late.At)
	}
}

func TestNote_KeepsTheSourcesThatWereSeenLast(t *testing.T) {
	t.Parallel()
	n := usage.Note{}
	for i := range 20 {
		n = n.Merge(report(fmt.Sprint(i), i, 5, use("cli_a-1", 1, fmt.Sprint(i), i, i, 1)), at(i), 4)
	}
	got := map[string]uint64{}
	for _, u := range n.Uses {
		got[u.Source] = u.Count
	}
	if d := cmp.Diff(map[string]uint64{"16": 1, "17": 1, "18": 1, "19": 1, usage.Others: 16}, got); d != "" {
		t.Error(d)
	}
}

func TestNote_IsBounded(t *testing.T) {
	t.Parallel()
	r := report("r", 0, 5, use("cli_z-1", 1, "x", 0, 0, 1))
	for i := range 9000 {
		r.Uses = append(r.Uses, use(fmt.Sprintf("cli_%026d", i), 1, "x", 1+i, 1+i, 1))
	}
	n := usage.Note{}.Merge(r, at(9001), usage.Sources)
	if len(n.Uses) != 4000 || !n.Partial.Equal(n.At) {
		t.Errorf("%d uses, partial %s", len(n.Uses), n.Partial)
	}
	found := map[string]bool{}
	for _, u := range n.Uses {
		found[u.ClientID] = true
	}
	if !found["cli_z-1"] || !found[fmt.Sprintf("cli_%026d", 8999)] || found[fmt.Sprintf("cli_%026d", 0)] {
		t.Error("the shared credential's use and the newest have to stay")
	}
	b, err := n.Encode()
	if err != nil || len(b) > 200<<10 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestNote_PartialReports(t *testing.T) {
	t.Parallel()
	r := report("r1", 1, 5)
	r.Partial = true
	n := usage.Note{}.Merge(r, at(1), usage.Sources).Merge(report("r2", 2, 5), at(2), usage.Sources)
	if !n.Partial.Equal(at(1)) {
		t.Errorf("partial: %s", n.Partial)
	}
}

func TestNote_Covers(t *testing.T) {
	t.Parallel()
	n := usage.Note{}
	if _, ok := n.Covers("local", 1); ok {
		t.Error("an empty note covers something")
	}
	for i, seq := range []uint64{5, 5, 9, 9, 12} {
		n = n.Merge(report(fmt.Sprint(i), i, seq), at(i), usage.Sources)
	}
	for _, c := range []struct {
		seq  uint64
		want int // minutes; -1: not
	}{{1, 0}, {5, 0}, {6, 2}, {9, 2}, {10, 4}, {12, 4}, {13, -1}} {
		since, ok := n.Covers("local", c.seq)
		if ok != (c.want >= 0) || ok && !since.Equal(at(c.want)) {
			t.Errorf("record %d: %s, %v", c.seq, since, ok)
		}
	}
	if _, ok := n.Covers("elsewhere", 1); ok {
		t.Error("another region's record")
	}
	back := n.Merge(report("r", 9, 7), at(9), usage.Sources) // its copy was replaced by a restored authority's
	if since, ok := back.Covers("local", 5); !ok || !since.Equal(at(9)) {
		t.Errorf("after a copy went back: %s %v", since, ok)
	}
	if _, ok := back.Covers("local", 9); ok {
		t.Error("what it lost is still covered")
	}
}

// However many steps there are: an instant is never told before it was, and what was heard stays heard.
func TestNote_StepsAreBounded(t *testing.T) {
	t.Parallel()
	n := usage.Note{}
	for i := range 500 {
		n = n.Merge(report(fmt.Sprint(i), i, uint64(i+1)), at(i), usage.Sources)
		if len(n.Steps) > 64 {
			t.Fatalf("%d steps", len(n.Steps))
		}
	}
	for i := range 500 {
		since, ok := n.Covers("local", uint64(i+1))
		if !ok || since.Before(at(i)) {
			t.Fatalf("record %d: %s %v, heard at %s", i+1, since, ok, at(i))
		}
		if i > 470 && !since.Equal(at(i)) {
			t.Errorf("a late record %d: %s, heard at %s", i+1, since, at(i))
		}
	}
}

func TestNote_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := usage.Note{}
		for i := range rapid.IntRange(0, 4).Draw(t, "reports") {
			r := report(fmt.Sprint(i), i, rapid.Uint64Range(1, 5).Draw(t, "seq"), anyUses().Draw(t, "uses")...)
			r.Partial = rapid.Bool().Draw(t, "partial")
			n = n.Merge(r, at(i), usage.Sources)
		}
		b, err := n.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := usage.DecodeNote(b)
		if d := cmp.Diff(n, got); err != nil || d != "" && len(n.Uses) > 0 {
			t.Fatal(err, d)
		}
	})
}

func TestNote_Early(t *testing.T) {
	t.Parallel()
	final := report("f", 0, 5)
	final.Final = true
	n := usage.Note{}
	if n.Early(report("a", 0, 5), at(0)) != 0 {
		t.Error("the first report is too early")
	}
	n = n.Merge(report("a", 0, 5), at(0), usage.Sources)
	if d := n.Early(report("b", 0, 5), at(0)); d != usage.Every {
		t.Errorf("%s, want a minute", d)
	}
	if n.Early(report("b", 1, 5), at(1)) != 0 || n.Early(final, at(0)) != 0 {
		t.Error("after a minute, and a final one at once")
	}
	n = n.Merge(final, at(0), usage.Sources)
	if n.Early(final, at(0)) != usage.Every || n.Early(report("b", 0, 5), at(0)) != usage.Every {
		t.Error("after a final one, too soon")
	}
}

func FuzzDecodeNote(f *testing.F) {
	b, err := usage.Note{At: start, Uses: []usage.Use{use("cli_a", 1, "x", 0, 1, 2)}}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := usage.DecodeNote(b)
		if err != nil {
			return
		}
		n = n.Merge(report("r", 5, 1), at(5), usage.Sources)
		if _, err := n.Encode(); err != nil {
			t.Error(err)
		}
	})
}
