package archtest_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/archtest"
)

// module writes a small module, with a library beside it and an import that does not exist, and returns its folder.
func module(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":        "module " + archtest.Module + "\n\ngo 1.26\n\nrequire x.org/y v1.0.0\n\nreplace x.org/y => ./y\n",
		"a/a.go":        "package a\n\nimport (\n\t_ \"os\"\n\n\t_ \"" + archtest.Module + "/b\"\n)\n",
		"a/a_test.go":   "package a\n\nimport _ \"testing\"\n",
		"b/b.go":        "package b\n\nimport (\n\t_ \"absent.org/q\"\n\t_ \"x.org/y/z\"\n)\n",
		"y/go.mod":      "module x.org/y\n\ngo 1.26\n",
		"y/z/z.go":      "package z\n\nimport _ \"net/http\"\n",
		"b/ignored.txt": "",
		".gitignore":    "ignored.txt\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestGoList_GoesAsFarAsItCan(t *testing.T) {
	t.Parallel()
	g, err := archtest.GoList(t.Context(), module(t))
	if err != nil {
		t.Fatal(err)
	}
	want := archtest.Graph{"./a": {"./b", "os"}, "./b": {"absent.org/q", "x.org/y/z"}, "x.org/y/z": {"net/http"}}
	if diff := cmp.Diff(want, g); diff != "" {
		t.Errorf("graph (-want +got):\n%s", diff)
	}
}

func TestGoMod(t *testing.T) {
	t.Parallel()
	name, requires, err := archtest.GoMod(t.Context(), module(t))
	if err != nil {
		t.Fatal(err)
	}
	if name != archtest.Module || !slices.Equal(requires, []string{"x.org/y"}) {
		t.Errorf("got %s requiring %v", name, requires)
	}
}

func TestRoot(t *testing.T) {
	t.Parallel()
	dir := module(t)
	got, err := archtest.Root(filepath.Join(dir, "a"))
	if err != nil || got != dir {
		t.Errorf("got %s and %v, want %s", got, err, dir)
	}
	if _, err := archtest.Root(filepath.VolumeName(dir) + string(filepath.Separator)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("above everything: got %v, want %v", err, fs.ErrNotExist)
	}
}

func TestTracked(t *testing.T) {
	t.Parallel()
	dir := module(t)
	git := exec.CommandContext(t.Context(), "git", "init", "-q")
	git.Dir = dir
	if out, err := git.CombinedOutput(); err != nil {
		needs(t, "git", err, out)
	}
	got, err := archtest.Tracked(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	want := []string{".gitignore", "a/a.go", "a/a_test.go", "b/b.go", "go.mod", "y/go.mod", "y/z/z.go"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
