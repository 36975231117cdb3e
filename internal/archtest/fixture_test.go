package archtest_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyturn/keyturn/internal/archtest"
)

// A fixture is a small source tree. Its file "want" has the start of each finding, in order; its file "deps" has the
// imports of packages that are not ours, one package a line.
type fixture struct {
	tree *archtest.Tree
	deps archtest.Graph
	want []string
}

func open(t *testing.T, file string) fixture {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	fx := fixture{deps: archtest.Graph{}}
	source := fstest.MapFS{}
	for name, data := range unpack(string(text)) {
		switch name {
		case "want":
			fx.want = lines(data)
		case "deps":
			for _, line := range lines(data) {
				words := strings.Fields(line)
				fx.deps[words[0]] = words[1:]
			}
		default:
			source[name] = &fstest.MapFile{Data: []byte(data)}
		}
	}
	fx.tree = load(t, source)
	return fx
}

// unpack reads the txtar format: a comment, then files, each below a line "-- name --".
func unpack(text string) map[string]string {
	files := map[string]string{}
	for _, part := range strings.Split("\n"+text, "\n-- ")[1:] {
		name, data, _ := strings.Cut(part, " --\n")
		files[name] = data + "\n"
	}
	return files
}

func load(t *testing.T, source fs.FS) *archtest.Tree {
	t.Helper()
	tree, err := archtest.Load(source)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func lines(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == '\n' })
}

// check compares findings with the starts that are wanted.
func (fx fixture) check(t *testing.T, found []archtest.Finding) {
	t.Helper()
	var got []string
	for i, f := range found {
		s := f.String()
		// Cut to the length of what is wanted, but never in the middle of a word.
		if i < len(fx.want) && (strings.HasPrefix(s, fx.want[i]+" ") || strings.HasPrefix(s, fx.want[i]+":")) {
			s = fx.want[i]
		}
		got = append(got, s)
	}
	if diff := cmp.Diff(fx.want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// each runs a sub-test for every fixture of a folder.
func each(t *testing.T, folder string, check func(t *testing.T, fx fixture)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures in %s (%v)", folder, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			check(t, open(t, file))
		})
	}
}

func TestTree_ReadsTheClock(t *testing.T) {
	t.Parallel()
	each(t, "clock", func(t *testing.T, fx fixture) { fx.check(t, fx.tree.Clock()) })
}

func TestTree_HasState(t *testing.T) {
	t.Parallel()
	each(t, "state", func(t *testing.T, fx fixture) { fx.check(t, fx.tree.State()) })
}

func TestTree_LacksComments(t *testing.T) {
	t.Parallel()
	each(t, "docs", func(t *testing.T, fx fixture) { fx.check(t, fx.tree.Undocumented()) })
}

// A tree that says nothing wrong must not depend on which folders exist.
func TestTree_EmptyBreaksNothing(t *testing.T) {
	t.Parallel()
	tree := load(t, fstest.MapFS{})
	if found := tree.Imports().Check(archtest.Rules()...); len(found) > 0 {
		t.Errorf("imports: %v", found)
	}
	if found := append(tree.Clock(), tree.State()...); len(found) > 0 {
		t.Errorf("clock and state: %v", found)
	}
	if found := tree.Measure(nil).Broken(); len(found) > 0 {
		t.Errorf("sizes: %v", found)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()

	t.Run("SkipsWhatTheGoToolSkips", func(t *testing.T) {
		t.Parallel()
		tree := load(t, fstest.MapFS{
			"a/a.go":          {Data: []byte("package a\n")},
			"a/testdata/x.go": {Data: []byte("not Go")},
			"vendor/v/v.go":   {Data: []byte("not Go")},
			".git/x.go":       {Data: []byte("not Go")},
			"_old/x.go":       {Data: []byte("not Go")},
			"a/README.md":     {Data: []byte("not Go")},
		})
		var dirs []string
		for _, p := range tree.Packages {
			dirs = append(dirs, p.Dir)
		}
		if diff := cmp.Diff([]string{"a"}, dirs); diff != "" {
			t.Errorf("folders (-want +got):\n%s", diff)
		}
	})

	t.Run("NamesTheFileThatDoesNotParse", func(t *testing.T) {
		t.Parallel()
		_, err := archtest.Load(fstest.MapFS{"a/broken.go": {Data: []byte("package")}})
		if err == nil || !strings.Contains(err.Error(), "a/broken.go") {
			t.Errorf("got %v, want an error that names a/broken.go", err)
		}
	})

	t.Run("CountsALastLineWithoutNewline", func(t *testing.T) {
		t.Parallel()
		tree := load(t, fstest.MapFS{"a.go": {Data: []byte("package a\n\nvar x int")}})
		if got := tree.Packages[0].Files[0].Lines; got != 3 {
			t.Errorf("got %d lines, want 3", got)
		}
	})
}
