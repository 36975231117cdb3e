package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/keyturn/keyturn/cli/internal/config"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// configs are the verbs of the noun.
type configs struct {
	Path ConfigPathCmd `cmd:"" help:"Print where the config is."`
	Show ConfigShowCmd `cmd:"" help:"Print it, without the secrets."`
	Use  ConfigUseCmd  `cmd:"" help:"Make a context the current one."`
	Set  ConfigSetCmd  `cmd:"" help:"Make or change a context."`
}

// ConfigPathCmd prints the path of the config.
type ConfigPathCmd struct{}

// Run prints it, whether the file is there or not.
func (c *ConfigPathCmd) Run(a *App) error {
	path, err := a.configPath()
	if err != nil {
		return err
	}
	return a.data(path + "\n")
}

// ConfigShowCmd prints the config.
type ConfigShowCmd struct{}

// Run prints the contexts as a table, or the file with --json; secrets are left out.
func (c *ConfigShowCmd) Run(a *App) error {
	s, err := a.settings(false)
	if err != nil {
		return err
	}
	if a.flags.JSON {
		return a.data(string(s.file.Redacted()))
	}
	rows := [][]string{{"", "CONTEXT", "SERVER", "CLIENT ID", "SECRET"}}
	for _, name := range s.file.Names() {
		one, _ := s.file.Context(name)
		mark, secret := "", "-"
		if name == s.name {
			mark = "*"
		}
		switch {
		case one.ClientSecret != "":
			secret = "saved"
		case one.ClientSecretCommand != "":
			secret = "from a command"
		}
		rows = append(rows, []string{mark, name, or(one.Server), or(one.ClientID), secret})
	}
	return a.data(table(rows))
}

// ConfigUseCmd makes a context the current one.
type ConfigUseCmd struct {
	Name string `arg:"" help:"The context."`
}

// Run changes the config.
func (c *ConfigUseCmd) Run(a *App) error {
	return a.changeConfig(func(f *config.File) error {
		if _, ok := f.Context(c.Name); !ok {
			return usage(fmt.Sprintf("there is no context %q; there are: %s", c.Name, or(strings.Join(f.Names(), ", "))))
		}
		f.Current = c.Name
		return nil
	})
}

// ConfigSetCmd makes or changes a context. The server is the global flag.
type ConfigSetCmd struct {
	Name          string `arg:"" help:"The context."`
	ClientID      string `help:"Who calls." placeholder:"ID"`
	SecretStdin   bool   `xor:"secret" help:"Read the secret from standard input."`
	SecretCommand string `xor:"secret" help:"A shell line whose first line of output is the secret; it runs whenever the secret is needed." placeholder:"CMD"`
}

// Run changes what the flags name, and nothing else.
func (c *ConfigSetCmd) Run(a *App) error {
	if strings.TrimSpace(c.Name) == "" || plain(c.Name) != c.Name {
		return usage("a context needs a name that can be printed")
	}
	server := strings.TrimRight(a.flags.Server, "/")
	if server != "" {
		if _, err := httpapi.NewClient(server, httpapi.ClientOptions{}); err != nil {
			return usage("--server: " + err.Error())
		}
	}
	if c.ClientID != "" {
		if err := checkClientID(c.ClientID); err != nil {
			return err
		}
	}
	secret, err := c.secret(a)
	if err != nil {
		return err
	}
	return a.changeConfig(func(f *config.File) error { return c.change(f, server, secret) })
}

func (c *ConfigSetCmd) secret(a *App) (string, error) {
	if !c.SecretStdin {
		return "", nil
	}
	text, err := a.secretLine("client secret")
	if err != nil {
		return "", &failure{what: "--secret-stdin", why: err}
	}
	if _, err := credential.ParseSecret(text); err != nil {
		return "", usage("--secret-stdin: " + err.Error())
	}
	return text, nil
}

func (c *ConfigSetCmd) change(f *config.File, server, secret string) error {
	one, _ := f.Context(c.Name)
	moved := c.ClientID != "" && one.ClientID != "" && bare(c.ClientID) != bare(one.ClientID)
	if moved && secret == "" && c.SecretCommand == "" {
		return usage("another credential has another secret; add --secret-stdin or --secret-command")
	}
	one.Server, one.ClientID = cmp.Or(server, one.Server), cmp.Or(c.ClientID, one.ClientID)
	if secret != "" || c.SecretCommand != "" {
		one.ClientSecret, one.ClientSecretCommand = secret, c.SecretCommand
	}
	if one.Server == "" {
		return usage("a context needs a server; add --server URL")
	}
	f.Set(c.Name, one)
	return nil
}

// changeConfig changes the config file.
func (a *App) changeConfig(change func(*config.File) error) error {
	path, err := a.configPath()
	if err != nil {
		return err
	}
	err = config.Change(a.Context, path, change)
	var f *failure
	if err == nil || errors.As(err, &f) {
		return err
	}
	return &failure{what: "change the config", why: err}
}
