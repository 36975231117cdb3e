package archtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Root returns the nearest folder, from dir upwards, that has a go.mod. The error is fs.ErrNotExist where none has.
func Root(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at := abs; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("go.mod above %s: %w", dir, fs.ErrNotExist)
		}
	}
}

// GoMod returns the path of the module at root and the paths of the modules that it requires.
func GoMod(ctx context.Context, root string) (module string, requires []string, err error) {
	out, err := run(ctx, root, "go", "mod", "edit", "-json")
	if err != nil {
		return "", nil, err
	}
	var mod struct {
		Module  struct{ Path string }
		Require []struct{ Path string }
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		return "", nil, fmt.Errorf("read the answer of go mod edit: %w", err)
	}
	for _, r := range mod.Require {
		requires = append(requires, r.Path)
	}
	return mod.Module.Path, requires, nil
}

// Tracked returns the files below root that git tracks or would add, slash-separated. Without git, or outside a
// checkout, it returns an error.
func Tracked(ctx context.Context, root string) ([]string, error) {
	out, err := run(ctx, root, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return nil, err
	}
	names := strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
	return slices.DeleteFunc(names, func(n string) bool { return n == "" }), nil
}

// Local returns words that give this machine away and have no place in a commit: where the checkout and the user's
// home are, and the hosts that modules are fetched from where those are not the public ones.
func Local(ctx context.Context, root string) ([]string, error) {
	out, err := run(ctx, root, "go", "env", "GOPROXY")
	if err != nil {
		return nil, err
	}
	words := ProxyHosts(strings.TrimSpace(string(out)))
	home, err := os.UserHomeDir()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		home = "" // a user without a home gives none away
	}
	for _, dir := range []string{filepath.ToSlash(root), filepath.ToSlash(home)} {
		// A short path ("/src") is a word that may stand anywhere.
		if strings.Count(strings.Trim(dir, "/"), "/") > 0 {
			words = append(words, dir)
		}
	}
	return words, nil
}

// ProxyHosts returns the hosts of a GOPROXY setting, without this machine itself.
func ProxyHosts(goproxy string) []string {
	var hosts []string
	for _, entry := range strings.FieldsFunc(goproxy, func(r rune) bool { return r == ',' || r == '|' }) {
		u, err := url.Parse(entry)
		if err != nil || slices.Contains([]string{"", "localhost", "127.0.0.1", "::1"}, u.Hostname()) {
			continue
		}
		hosts = append(hosts, u.Hostname())
	}
	return hosts
}
