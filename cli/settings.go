package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/keyturn/keyturn/cli/internal/config"
	"github.com/keyturn/keyturn/internal/credential"
)

// settings is what flags, environment and config say together: which server, and as whom. A flag beats the environment,
// which beats the config.
type settings struct {
	path    string // of the config; "" where no place for one is known
	file    config.File
	name    string // of the context; "": none
	context config.Context
	known   bool // the context is in the config
	server  string

	clientID string
	secret   string
	fromEnv  bool // client id or secret is the environment's
}

// settings reads them. A context that was named has to be there, unless missing is true.
func (a *App) settings(missing bool) (settings, error) {
	s := settings{}
	var err error
	if s.path, err = a.configPath(); err == nil {
		if s.file, err = config.Read(s.path); err != nil {
			return s, err
		}
	}
	named := cmp.Or(a.flags.Context, a.Env("KEYTURN_CONTEXT"))
	s.name = cmp.Or(named, s.file.Current)
	s.context, s.known = s.file.Context(s.name)
	if named != "" && !s.known && !missing {
		return s, usage(fmt.Sprintf("there is no context %q in %s; make it with: keyturn config set %s --server URL", named, s.path, shellWord(named)))
	}
	s.server = strings.TrimRight(cmp.Or(a.flags.Server, a.Env("KEYTURN_SERVER"), s.context.Server), "/")
	s.clientID = cmp.Or(a.Env("KEYTURN_CLIENT_ID"), s.context.ClientID)
	s.secret = cmp.Or(a.Env("KEYTURN_CLIENT_SECRET"), s.context.ClientSecret)
	s.fromEnv = a.Env("KEYTURN_CLIENT_ID") != "" || a.Env("KEYTURN_CLIENT_SECRET") != ""
	return s, nil
}

// configPath is where the config is, or would be.
func (a *App) configPath() (string, error) {
	if path := cmp.Or(a.flags.Config, a.Env("KEYTURN_CONFIG")); path != "" {
		return path, nil
	}
	// The XDG specification has relative paths ignored.
	if dir := a.Env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "keyturn", "config.json"), nil
	}
	if home := a.Env("HOME"); home != "" {
		return filepath.Join(home, ".config", "keyturn", "config.json"), nil
	}
	return "", usage("no place for the config is known; set HOME, or give --config F")
}

// pendingFolder is where requests are written down whose answers must not be lost: next to the config.
func (s settings) pendingFolder() (string, error) {
	if s.path == "" {
		return "", usage("no place to write the request down is known; set HOME, or give --config F")
	}
	return filepath.Join(filepath.Dir(s.path), "pending"), nil
}

// reveal returns the secret, from the command that knows it where there is one.
func (s settings) reveal(ctx context.Context, a *App) (string, error) {
	secret := s.secret
	if secret == "" && s.context.ClientSecretCommand != "" {
		var err error
		if secret, err = a.firstLine(ctx, s.context.ClientSecretCommand); err != nil {
			return "", &failure{what: "client_secret_command", why: err}
		}
	}
	if secret == "" {
		return "", usage("no client secret is configured; set KEYTURN_CLIENT_SECRET, or run: keyturn config set NAME --client-id ID --secret-stdin")
	}
	if _, err := credential.ParseSecret(secret); err != nil {
		return "", &failure{what: "the configured client secret", why: err}
	}
	return secret, nil
}

// firstLine runs a shell line and returns the first line that it prints. What it complains about is seen.
func (a *App) firstLine(ctx context.Context, line string) (string, error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, a.Stderr
	if err := cmd.Run(); err != nil {
		return "", err
	}
	first := bufio.NewScanner(&out)
	if !first.Scan() || strings.TrimSpace(first.Text()) == "" {
		return "", errors.New("it printed nothing")
	}
	return strings.TrimSpace(first.Text()), nil
}
