// Package config is the file of contexts: which server, and as whom. It keeps what it does not know, because a newer
// keyturn may have written it, and never prints a secret. It decides nothing about who authenticates.
//
// Its errors name the file and what is wrong with it, and never repeat a value from it.
package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/keyturn/keyturn/cli/internal/safefile"
)

// redacted stands for a secret wherever a config is shown.
const redacted = "[redacted]"

// Context is one server and the client that calls it. ClientSecret and ClientSecretCommand exclude each other.
type Context struct {
	Server              string
	ClientID            string
	ClientSecret        string
	ClientSecretCommand string // a shell line whose first line of output is the secret

	others map[string]json.RawMessage
}

// Format implements fmt.Formatter without the secret.
func (c Context) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "{%s %s}", c.Server, c.ClientID)
}

// File is what a config file holds. The zero File is an empty one.
type File struct {
	Current  string // the name of the context that is used where none is named
	contexts map[string]Context
	others   map[string]json.RawMessage
}

// Read returns the config at path. A file that is not there is an empty one. Permissions wider than 0600 are refused
// (safefile.ErrMode), and so is a file of another user (safefile.ErrOwner).
func Read(path string) (File, error) {
	b, err := safefile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return File{}, nil
	}
	if err != nil {
		return File{}, fmt.Errorf("config: %w", err)
	}
	f, err := parse(b)
	if err != nil {
		return File{}, fmt.Errorf("config %s: %w", path, err)
	}
	return f, nil
}

// Change reads the config at path, lets change have its way with it, and writes it as a whole; two processes take turns.
// Where path is a symbolic link, the file that it leads to is written and the link stays. When change fails, nothing is
// written.
func Change(ctx context.Context, path string, change func(*File) error) error {
	target, err := safefile.Resolve(path)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	lock, err := safefile.Acquire(ctx, target, nil)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	defer lock.Release()
	f, err := Read(target)
	if err != nil {
		return err
	}
	if err := change(&f); err != nil {
		return err
	}
	if err := safefile.Write(target, f.encode(false)); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	return nil
}

// Names returns the names of the contexts in order.
func (f File) Names() []string { return slices.Sorted(maps.Keys(f.contexts)) }

// Context returns a context by its name.
func (f File) Context(name string) (Context, bool) {
	c, ok := f.contexts[name]
	return c, ok
}

// Set puts a context into f, in the place of one of the same name. The first one becomes the current one.
func (f *File) Set(name string, c Context) {
	if f.contexts == nil {
		f.contexts = map[string]Context{}
	}
	if f.Current == "" {
		f.Current = name
	}
	f.contexts[name] = c
}

// Redacted returns f as it is in the file, but for the secrets.
func (f File) Redacted() []byte { return f.encode(true) }

func parse(b []byte) (File, error) {
	var f File
	if len(bytes.TrimSpace(b)) == 0 {
		return f, nil
	}
	if err := object(b, &f.others); err != nil {
		return f, err
	}
	if err := take(f.others, "current_context", &f.Current); err != nil {
		return f, err
	}
	var contexts map[string]json.RawMessage
	if err := take(f.others, "contexts", &contexts); err != nil {
		return f, err
	}
	for name, raw := range contexts {
		c, err := parseContext(raw)
		if err != nil {
			return f, fmt.Errorf("context %q: %w", name, err)
		}
		if f.contexts == nil {
			f.contexts = map[string]Context{}
		}
		f.contexts[name] = c
	}
	return f, nil
}

func parseContext(raw []byte) (Context, error) {
	var c Context
	if err := object(raw, &c.others); err != nil {
		return c, err
	}
	for name, field := range c.fields() {
		if err := take(c.others, name, field); err != nil {
			return c, err
		}
	}
	if c.ClientSecret != "" && c.ClientSecretCommand != "" {
		return c, errors.New("it has both client_secret and client_secret_command; remove one")
	}
	return c, nil
}

func (c *Context) fields() map[string]*string {
	return map[string]*string{
		"server": &c.Server, "client_id": &c.ClientID,
		"client_secret": &c.ClientSecret, "client_secret_command": &c.ClientSecretCommand,
	}
}

func object(b []byte, members *map[string]json.RawMessage) error {
	if json.Unmarshal(b, members) != nil || *members == nil {
		return errors.New("not a JSON object")
	}
	return nil
}

// take moves one member out of members. The decoder's own error could quote the value.
func take(members map[string]json.RawMessage, name string, v any) error {
	raw, ok := members[name]
	if !ok {
		return nil
	}
	delete(members, name)
	if json.Unmarshal(raw, v) != nil {
		return fmt.Errorf("%s has a value of the wrong type", name)
	}
	return nil
}

func (f File) encode(redact bool) []byte {
	contexts := map[string]map[string]any{}
	for name, c := range f.contexts {
		contexts[name] = c.encode(redact)
	}
	all := map[string]any{"current_context": f.Current, "contexts": contexts}
	for name, raw := range f.others {
		all[name] = raw
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	_ = enc.Encode(all) // strings, and JSON that was read as such: it cannot fail
	return b.Bytes()
}

func (c Context) encode(redact bool) map[string]any {
	all := map[string]any{}
	for name, raw := range c.others {
		all[name] = raw
	}
	for name, field := range c.fields() {
		if *field != "" {
			all[name] = *field
		}
	}
	if redact && c.ClientSecret != "" {
		all["client_secret"] = redacted
	}
	return all
}
