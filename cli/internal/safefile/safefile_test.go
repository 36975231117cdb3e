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
	"syscall"
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
	for _, left := range []string{".f.keyturn-123", ".f.tmp", ".f.20241122"} { // the last is a backup of somebody's
		if err := os.WriteFile(filepath.Join(dir, left), []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := safefile.Write(path, []byte("whole")); err != nil {
		t.Fatal(err)
	}
	mode(t, path, 0o600)
	only(t, dir, ".f.20241122", "f")
}

func TestWrite_AFolderIsInNobodysWay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, name := range []string{".f.7", ".f.keyturn-7", ".f.tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, name, "full"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, ".f.8"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := safefile.Write(path, []byte("x")); err != nil {
		t.Fatal(err)
	}
	only(t, dir, ".f.7", ".f.8", ".f.keyturn-7", ".f.tmp", "f")
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

// A config that somebody planted could name a command, and would be handed what we write.
func TestRead_RefusesAnotherOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's here")
	path, pipe := filepath.Join(dir, "f"), filepath.Join(dir, "pipe")
	if err := safefile.Write(path, []byte("x")); err != nil {
		t.Fatal(err)
	}
	give(t, path)
	t.Setenv("SUDO_UID", "1")
	_, err := safefile.Read(path)
	if !errors.Is(err, safefile.ErrOwner) || !strings.Contains(err.Error(), "4711") {
		t.Fatal(err)
	}
	t.Setenv("SUDO_UID", "4711")
	if b, err := safefile.Read(path); err != nil || string(b) != "x" {
		t.Errorf("of who called sudo: %q, %v", b, err)
	}
	t.Setenv("SUDO_UID", "")
	_, mend, _ := strings.Cut(err.Error(), "run: ")
	if out, err := exec.Command("sh", "-c", mend).CombinedOutput(); err != nil {
		t.Fatalf("%s: %s", mend, out)
	}
	if _, err := safefile.Read(path); err != nil {
		t.Errorf("after %q: %v", mend, err)
	}
	// A pipe is planted as easily, and nobody may ever write to it.
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	give(t, pipe)
	err = ends(t, func() error { _, err := safefile.Read(pipe); return err })
	if !errors.Is(err, safefile.ErrOwner) {
		t.Errorf("a pipe: %v", err)
	}
}

// The same, where no file can be given away: whoever is not root finds one that is not theirs.
func TestRead_RefusesRootsToAUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root reads it as its own")
	}
	if _, err := safefile.Read("/etc/passwd"); !errors.Is(err, safefile.ErrOwner) {
		t.Error(err)
	}
}

func TestRead_NothingFromADevice(t *testing.T) {
	t.Parallel()
	if b, err := safefile.Read(os.DevNull); err != nil || len(b) != 0 {
		t.Errorf("%q, %v", b, err)
	}
}

// give makes a file somebody else's.
func give(t *testing.T, path string) {
	t.Helper()
	if err := os.Chown(path, 4711, 4712); err != nil {
		if os.Getenv("CI") == "true" && os.Geteuid() == 0 {
			t.Fatal(err)
		}
		t.Skip("giving a file away takes root")
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

func TestLock_FollowsNoLink(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "it's here")
	path, target := filepath.Join(dir, "f"), filepath.Join(dir, "made")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Symlink(target, filepath.Join(dir, ".f.lock"))); err != nil {
		t.Fatal(err)
	}
	for _, there := range []bool{false, true} {
		if there {
			if err := os.WriteFile(target, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := acquire(t, t.Context(), path)
		if err == nil || !strings.Contains(err.Error(), "symbolic link") {
			t.Fatal(err)
		}
		if _, missing := os.Lstat(target); !there && !errors.Is(missing, fs.ErrNotExist) {
			t.Error("the link's target was made")
		}
		if there {
			_, mend, _ := strings.Cut(err.Error(), "run: ")
			if out, err := exec.Command("sh", "-c", mend).CombinedOutput(); err != nil {
				t.Fatalf("%s: %s", mend, out)
			}
		}
	}
	if err := acquire(t, t.Context(), path); err != nil {
		t.Error(err)
	}
	only(t, dir, "made")
}

// In such a folder a lock is gone as often as it is made.
func TestLock_NeverSpins(t *testing.T) {
	t.Parallel()
	const folder = "/proc/self/fd"
	if _, err := os.Stat(folder); err != nil {
		t.Skip("no folder here that takes no file: ", err)
	}
	if err := acquire(t, t.Context(), folder+"/f"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := acquire(t, ctx, folder+"/f"); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context: %v", err)
	}
}

// Who interrupts keyturn in the middle of a rotation still has the new secret saved.
func TestLock_AFreeOneIsTakenAtTheEnd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := acquire(t, ctx, filepath.Join(t.TempDir(), "f")); err != nil {
		t.Error(err)
	}
}

// acquire takes a lock and releases it.
func acquire(t *testing.T, ctx context.Context, path string) error {
	t.Helper()
	return ends(t, func() error {
		l, err := safefile.Acquire(ctx, path, nil)
		if err == nil {
			l.Release()
		}
		return err
	})
}

// ends returns what f returns, and fails the test where f does not.
func ends(t *testing.T, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
		return nil
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
