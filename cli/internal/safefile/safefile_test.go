package safefile_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/cli/internal/safefile"
)

func TestWrite_IsPrivateAndLeavesNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "f.json")
	for _, text := range []string{"one", "two"} {
		if err := safefile.Write(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if b, err := safefile.Read(path); err != nil || string(b) != text {
			t.Fatalf("%q, %v", b, err)
		}
	}
	mode(t, path, 0o600)
	mode(t, filepath.Dir(path), 0o700)
	only(t, filepath.Dir(path), "f.json")
}

func TestWrite_HealsWhatACrashLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(filepath.Join(dir, ".f.123"), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := safefile.Write(path, []byte("whole")); err != nil {
		t.Fatal(err)
	}
	mode(t, path, 0o600)
	only(t, dir, "f")
}

func TestWrite_FailureKeepsTheOld(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.Mkdir(path, 0o700); err != nil { // nothing can be renamed onto a folder
		t.Fatal(err)
	}
	if err := safefile.Write(path, []byte("x")); err == nil {
		t.Fatal("a folder was replaced")
	}
	only(t, dir, "f")
}

func TestRead_RefusesWiderPermissions(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "it's here")
	path := filepath.Join(dir, "f")
	if err := safefile.Write(path, []byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, m := range []fs.FileMode{0o640, 0o604, 0o620, 0o602, 0o644} {
		if err := os.Chmod(path, m); err != nil {
			t.Fatal(err)
		}
		_, err := safefile.Read(path)
		if !errors.Is(err, safefile.ErrMode) {
			t.Fatalf("%o: %v", m, err)
		}
		_, mend, _ := strings.Cut(err.Error(), "run: ")
		if out, err := exec.Command("sh", "-c", mend).CombinedOutput(); err != nil {
			t.Fatalf("%s: %s", mend, out)
		}
		if _, err := safefile.Read(path); err != nil {
			t.Errorf("%o: after %q: %v", m, mend, err)
		}
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := safefile.Read(path); err != nil {
		t.Errorf("0400: %v", err)
	}
}

func TestRead_Missing(t *testing.T) {
	t.Parallel()
	if _, err := safefile.Read(filepath.Join(t.TempDir(), "f")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestRead_RefusesHugeFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := safefile.Read(path); err == nil {
		t.Error("taken")
	}
}

func TestResolve_FollowsLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(s string) string { return filepath.Join(dir, s) }
	for from, to := range map[string]string{"a": "b", "b": path("c"), "loop": "loop"} {
		if err := os.Symlink(to, path(from)); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []string{"a", "b", "c"} {
		if got, err := safefile.Resolve(path(from)); err != nil || got != path("c") {
			t.Errorf("%s: %s, %v", from, got, err)
		}
	}
	if _, err := safefile.Resolve(path("loop")); err == nil {
		t.Error("a loop was resolved")
	}
}

func TestLock_OneHolderAtATime(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "d", "f")
	var inside, most, entered atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				l, err := safefile.Acquire(t.Context(), path, nil)
				if err != nil {
					t.Error(err)
					return
				}
				most.Store(max(most.Load(), inside.Add(1)))
				entered.Add(1)
				inside.Add(-1)
				l.Release()
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 || entered.Load() != 160 {
		t.Errorf("%d at once, %d in all", most.Load(), entered.Load())
	}
	only(t, filepath.Dir(path))
}

func TestLock_WaitsAndGivesUp(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	l, err := safefile.Acquire(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	told := 0
	if _, err := safefile.Acquire(ctx, path, func() { told++ }); !errors.Is(err, context.DeadlineExceeded) || told != 1 {
		t.Errorf("%v, told %d times", err, told)
	}
	l.Release()
	if _, err := safefile.Acquire(t.Context(), path, func() { t.Error("waited for nobody") }); err != nil {
		t.Error(err)
	}
}

func mode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != want {
		t.Errorf("%s: %v, %v, want %o", path, info.Mode(), err, want)
	}
}

func only(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s holds %v, want %v", dir, got, want)
	}
}
