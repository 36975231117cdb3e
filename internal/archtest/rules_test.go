package archtest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/archtest"
)

func rulesNamed(name string) []archtest.Rule {
	var out []archtest.Rule
	for _, r := range archtest.Rules() {
		if r.Name == name {
			out = append(out, r)
		}
	}
	return out
}

// Each import rule is proven by the fixture that is named for it: that tree breaks this rule, and this rule alone is
// applied to it.
func TestRules_FindWhatBreaksThem(t *testing.T) {
	t.Parallel()
	each(t, "imports", func(t *testing.T, fx fixture) {
		name := strings.TrimPrefix(t.Name(), "TestRules_FindWhatBreaksThem/")
		rules := rulesNamed(name)
		if len(rules) != 1 {
			t.Fatalf("%d rules are named %s, want 1", len(rules), name)
		}
		if len(fx.want) == 0 {
			t.Fatal("the fixture breaks nothing")
		}
		g := fx.tree.Imports()
		g.Merge(fx.deps)
		fx.check(t, g.Check(rules...))
	})
}

func TestRules_AreProvenAndExplained(t *testing.T) {
	t.Parallel()
	for _, r := range archtest.Rules() {
		if _, err := os.Stat(filepath.Join("testdata", "imports", r.Name+".txtar")); err != nil {
			t.Errorf("rule %s has no fixture that breaks it: %v", r.Name, err)
		}
		if len(r.Why) < 40 {
			t.Errorf("rule %s does not say why: %q", r.Name, r.Why)
		}
	}
}

// Every package that a rule binds, with everything that it forbids: no pattern of the table is dead.
func TestRules_EveryPatternBites(t *testing.T) {
	t.Parallel()
	for _, r := range archtest.Rules() {
		for _, from := range r.From {
			for _, not := range r.Not {
				from, not := strings.TrimSuffix(from, "/..."), strings.TrimSuffix(not, "/...")
				if from == "." {
					from = "./internal/other"
				}
				g := archtest.Graph{from + "/below": {not + "/below"}, from: {not}}
				if found := g.Check(r); len(found) != len(g) {
					t.Errorf("rule %s, %s imports %s: %v", r.Name, from, not, found)
				}
			}
		}
	}
}

func TestGraph_Check(t *testing.T) {
	t.Parallel()
	g := archtest.Graph{
		"./a":       {"./b", "./c", "ext/a"},
		"./b":       {"./c"},
		"./c":       {"./a", "bad/x", "bad/y"},
		"ext/a":     {"worse"},
		"bad/x":     {"worse"},
		"unrelated": {"bad/x"},
	}
	for _, c := range []struct {
		name  string
		reach archtest.Reach
		from  []string
		not   string
		want  []string
	}{
		{"DirectSeesNoDetour", archtest.Direct, []string{"./a"}, "bad/...", nil},
		{"OwnTakesTheShortestWay", archtest.Own, []string{"./a"}, "bad/...", []string{"./a: imports bad/x (./a > ./c > bad/x): why"}},
		{"OwnStopsAtLibraries", archtest.Own, []string{"./a"}, "worse", nil},
		{"LinkGoesThroughLibraries", archtest.Link, []string{"./a"}, "worse", []string{"./a: links worse (./a > ext/a > worse): why"}},
		{"OnlyTheNearestIsBlamed", archtest.Link, []string{"./..."}, "bad/...", []string{"./c: links bad/x: why"}},
		{"ACircleEnds", archtest.Link, []string{"./b"}, "absent", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, f := range g.Check(archtest.Rule{From: c.from, Not: []string{c.not}, Reach: c.reach, Why: "why"}) {
				got = append(got, f.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGraph_MergeKeepsEachEdgeOnce(t *testing.T) {
	t.Parallel()
	g := archtest.Graph{"./a": {"os"}}
	g.Merge(archtest.Graph{"./a": {"os", "io"}, "./b": {"fmt"}})
	want := archtest.Graph{"./a": {"io", "os"}, "./b": {"fmt"}}
	if diff := cmp.Diff(want, g); diff != "" {
		t.Errorf("graph (-want +got):\n%s", diff)
	}
}
