package archtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/archtest"
)

// source is a documented package with so many lines, tests beside it, and what is added.
func source(t *testing.T, code, tests int, extra fstest.MapFS) archtest.Size {
	t.Helper()
	fsys := fstest.MapFS{
		"a/a.go":      {Data: []byte("// Package a.\npackage a\n" + strings.Repeat("\n", code-2))},
		"a/a_test.go": {Data: []byte("package a_test\n" + strings.Repeat("\n", tests-1))},
	}
	for name, f := range extra {
		fsys[name] = f
	}
	return load(t, fsys).Measure(nil)
}

func function(pkg, name string, length int) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte("// Package p.\npackage " + pkg + "\n\nfunc " + name + "() {" + strings.Repeat("\n", length-1) + "}\n")}
}

func store(methods int, embeds string) *fstest.MapFile {
	src := "// Package p.\npackage p\n\n// Store stores.\ntype Store interface {\n" + embeds
	for i := range methods {
		src += fmt.Sprintf("\tm%d()\n", i)
	}
	return &fstest.MapFile{Data: []byte(src + "}\n\n// Small is small.\ntype Small interface {\n\tx()\n\ty()\n}\n")}
}

func TestSize_HardLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		code  int
		tests int
		extra fstest.MapFS
		want  string
	}{
		{"FileAtTheLimit", 500, 500, nil, ""},
		{"FileOverTheLimit", 501, 500, nil, "a/a.go: 501, at most 500 lines in a file"},
		{"TestFilesMayBeLong", 100, 900, nil, ""},
		{"FunctionAtTheLimit", 2, 900, fstest.MapFS{"p/p.go": function("p", "f", 80)}, ""},
		{"FunctionOverTheLimit", 2, 900, fstest.MapFS{"p/p.go": function("p", "f", 81)}, "p/p.go:4 f: 81, at most 80 lines in a function"},
		{"MainAtTheLimit", 2, 900, fstest.MapFS{"cli/main.go": function("main", "main", 57)}, ""},
		{"MainOverTheLimit", 2, 900, fstest.MapFS{"cli/run.go": function("main", "main", 58)}, "cli/run.go: 61, at most 60 lines in the file of func main"},
		{"CommandsHaveLongerFilesToo", 2, 900, fstest.MapFS{"cli/run.go": function("main", "run", 70)}, ""},
		{"ALibrarysMainIsNoCommand", 2, 900, fstest.MapFS{"p/p.go": function("p", "main", 70)}, ""},
		{"StoreAtTheLimit", 2, 900, fstest.MapFS{"p/p.go": store(10, "")}, ""},
		{"StoreOverTheLimit", 2, 900, fstest.MapFS{"p/p.go": store(11, "")}, "p/p.go:5 Store: 11, at most 10 methods"},
		{"StoreEmbedsOwn", 2, 900, fstest.MapFS{"p/p.go": store(9, "\tSmall\n")}, "p/p.go:5 Store: 11, at most 10 methods"},
		{"StoreEmbedsOthers", 2, 900, fstest.MapFS{"p/p.go": store(10, "\tio.Closer\n")}, "p/p.go:5 Store: 11, at most 10 methods"},
		{"EnoughTests", 100, 80, nil, ""},
		{"TooFewTests", 100, 79, nil, ".: 79 lines of tests for 100 of code are 0.79, at least 0.8"},
		{"ASuiteIsTestCode", 100, 75, fstest.MapFS{"a/suite/s.go": {Data: []byte("// Package s.\npackage s\n\nimport \"testing\"\n\nvar _ testing.TB\n")}}, ""},
		{"AScriptIsATest", 100, 75, fstest.MapFS{"cli/testdata/s.txtar": {Data: []byte("a\nb\nc\nd\ne\n")}}, ""},
		{"OtherDataIsNone", 100, 79, fstest.MapFS{"cli/testdata/s.json": {Data: []byte("a\nb\n")}, "docs/s.txtar": {Data: []byte("a\nb\n")}}, ".: 79 lines of tests"},
		{"MissingComment", 2, 900, fstest.MapFS{"p/p.go": {Data: []byte("package p\n")}}, "p: the package has no comment"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			broken := source(t, c.code, c.tests, c.extra).Broken()
			switch {
			case c.want == "" && len(broken) > 0:
				t.Errorf("got %v, want nothing", broken)
			case c.want != "" && (len(broken) != 1 || !strings.HasPrefix(broken[0].String(), c.want)):
				t.Errorf("got %v, want one that starts with %q", broken, c.want)
			}
		})
	}
}

func TestSize_StoresAreInterfaces(t *testing.T) {
	t.Parallel()
	adapter := &fstest.MapFile{Data: []byte("// Package q.\npackage q\n\n// Store stores.\ntype Store struct{}\n")}
	got := source(t, 2, 9, fstest.MapFS{"p/p.go": store(3, ""), "q/q.go": adapter}).Stores
	if diff := cmp.Diff([]archtest.Sized{{Where: "p/p.go:5 Store", Lines: 3}}, got); diff != "" {
		t.Errorf("stores (-want +got):\n%s", diff)
	}
}

func TestSize_PrintOfNothing(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := load(t, fstest.MapFS{}).Measure(nil).Print(&out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "1.00 (0 : 0)") || strings.Contains(out.String(), "over the hard limit") {
		t.Errorf("got:\n%s", &out)
	}
}

func TestSize_Print(t *testing.T) {
	t.Parallel()
	fsys := fstest.MapFS{"p/t_test.go": {Data: []byte("package p_test\n" + strings.Repeat("\n", 999))}}
	// 10 files of 10, 20 … 100 lines, each with one function 5 lines shorter.
	for i := range 10 {
		n := (i + 1) * 10
		fsys[fmt.Sprintf("p/f%d.go", i)] = function("p", fmt.Sprintf("f%d", i), n-4)
	}
	var out bytes.Buffer
	if err := load(t, fsys).Measure(nil).Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"median 49, p90 89, max 99", "median 46, p90 86, max 96", "Store methods", "1.85 (1000 : 540)",
		"99  p/f9.go\n", "96  p/f9.go:4 f9\n", "over the hard limit: 2\n", "  p/f9.go:4 f9: 96, at most 80",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "p/f0.go") {
		t.Errorf("shows more than the worst:\n%s", &out)
	}
}

type full struct{}

var errFull = errors.New("full")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestSize_PrintTellsThatItCouldNot(t *testing.T) {
	t.Parallel()
	if err := (archtest.Size{}).Print(full{}); !errors.Is(err, errFull) {
		t.Errorf("got %v, want %v", err, errFull)
	}
}

func TestTree_Dependencies(t *testing.T) {
	t.Parallel()
	tree := load(t, fstest.MapFS{
		"a/a.go":      {Data: []byte("package a\n\nimport (\n\t_ \"fmt\"\n\t_ \"x.org/lib/v2/sub/deep\"\n\t_ \"x.org/lib/v2/other\"\n\t_ \"y.org/z\"\n)\n")},
		"a/a_test.go": {Data: []byte("package a\n\nimport _ \"tests.org/only\"\n")},
		"b/b.go":      {Data: []byte("package b\n\nimport (\n\t_ \"testing\"\n\t_ \"tests.org/only\"\n)\n")}, // what tests share
	})
	got := tree.Dependencies([]string{"x.org/lib/v2/sub", "x.org/lib/v2", "y.org/z", "tests.org/only", "x.org/lib/v2/sub/de", "unused.org/u"})
	want := []string{"x.org/lib/v2", "x.org/lib/v2/sub", "y.org/z"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dependencies (-want +got):\n%s", diff)
	}
}
