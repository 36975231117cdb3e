// Package program builds keyturn's own programs and runs them, for tests of what only a process shows: signals, exit statuses,
// kill -9. Nothing but tests uses it. Its errors hold what the compiler or the program said.
package program

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Build compiles programs into dir, which is there, each named for its folder. args are those of go build: flags, then import
// paths.
func Build(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-o", dir}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as they are shipped
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// Set is programs for all tests of a package: built when a test first needs one. A package's TestMain calls Remove after all
// tests.
type Set struct {
	Args []string // as those of Build

	once sync.Once
	dir  string
	err  error
}

// Path returns the program of a folder.
func (s *Set) Path(t testing.TB, folder string) string {
	t.Helper()
	s.once.Do(func() {
		if s.dir, s.err = os.MkdirTemp("", "keyturn-test-"); s.err == nil {
			s.err = Build(context.Background(), s.dir, s.Args...)
		}
	})
	if s.err != nil {
		t.Fatal(s.err)
	}
	return filepath.Join(s.dir, folder)
}

// Remove takes the programs away, if they were built.
func (s *Set) Remove() { _ = os.RemoveAll(s.dir) }
