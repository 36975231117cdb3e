package archtest_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/keyturn/keyturn/internal/archtest"
)

// The tests of this file hold keyturn itself to the rules.

func root(t *testing.T) string {
	t.Helper()
	dir, err := archtest.Root(".")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func keyturn(t *testing.T) *archtest.Tree {
	t.Helper()
	return load(t, os.DirFS(root(t)))
}

// needs ends a test that cannot run here: a skip on a developer's machine, a failure in CI.
func needs(t *testing.T, what string, err error, out []byte) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s: %v %s", what, err, out)
	}
	t.Skipf("skipped, needs %s: %v %s", what, err, out)
}

func report(t *testing.T, found []archtest.Finding) {
	t.Helper()
	for _, f := range found {
		t.Error(f)
	}
}

func TestKeyturn_ModulePath(t *testing.T) {
	t.Parallel()
	name, _, err := archtest.GoMod(t.Context(), root(t))
	if err != nil {
		t.Fatal(err)
	}
	if name != archtest.Module {
		t.Errorf("go.mod declares %s, want %s: import paths and installation instructions depend on it", name, archtest.Module)
	}
}

func TestKeyturn_Imports(t *testing.T) {
	t.Parallel()
	g, err := archtest.GoList(t.Context(), root(t))
	if err != nil {
		t.Fatal(err)
	}
	// What go list leaves out for this system's sake is still in the source.
	g.Merge(keyturn(t).Imports())
	report(t, g.Check(archtest.Rules()...))
}

func TestKeyturn_Clock(t *testing.T) {
	t.Parallel()
	report(t, keyturn(t).Clock())
}

func TestKeyturn_State(t *testing.T) {
	t.Parallel()
	report(t, keyturn(t).State())
}

func TestKeyturn_HardLimits(t *testing.T) {
	t.Parallel()
	report(t, keyturn(t).Measure(nil).Broken())
}

func TestKeyturn_DependenciesHaveReasons(t *testing.T) {
	t.Parallel()
	_, requires, err := archtest.GoMod(t.Context(), root(t))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root(t), "CONTRIBUTING.md"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, m := range archtest.Unnamed(keyturn(t).Dependencies(requires), string(text)) {
		t.Errorf("CONTRIBUTING.md does not name %s: a dependency comes in only with a reason, written down there by its module path", m)
	}
}

func TestKeyturn_NoTraces(t *testing.T) {
	t.Parallel()
	dir := root(t)
	names, err := archtest.Tracked(t.Context(), dir)
	if err != nil {
		needs(t, "a git checkout", err, nil)
	}
	local, err := archtest.Local(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		info, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			continue // deleted and not yet committed, or a link
		}
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		report(t, archtest.Traces(name, text, local))
	}
}
