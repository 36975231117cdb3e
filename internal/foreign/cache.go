package foreign

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fetchBudget is how long it may take to fill a folder.
const fetchBudget = 10 * time.Minute

// Cached returns a folder in the user's cache directory that fill has filled, now or earlier; test processes wait for each
// other. Its path does not change while it is filled: a virtual environment knows where it lies. What was not filled to its
// end is filled again.
//
// what names it to people, with its version; tools are the programs that filling or using it takes. Where one is not
// installed, the test is skipped by name; with CI=true it fails, as it does where fill fails.
func Cached(t testing.TB, what string, tools []string, fill func(ctx context.Context, dir string) error) string {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s: %s is not installed", what, tool)
			}
			t.Skipf("skipped, needs %s: %s is not installed", what, tool)
		}
	}
	dir, err := fillOnce(what, fill)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return dir
}

func fillOnce(what string, fill func(ctx context.Context, dir string) error) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	name := strings.NewReplacer("=", "-", " ", "+", "/", "-").Replace(what)
	dir := filepath.Join(cache, "keyturn", name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	complete := dir + ".complete"
	if _, err := os.Stat(complete); err == nil {
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchBudget)
	defer cancel()
	if err := fill(ctx, dir); err != nil {
		return "", err
	}
	return dir, os.WriteFile(complete, nil, 0o600)
}

// Run runs a program to its end. The error holds what it said.
func Run(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, strings.TrimSpace(string(out)))
	}
	return nil
}
