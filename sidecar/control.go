package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
)

// directory says which sidecar is meant.
type directory struct {
	DataDir string `help:"The data directory of the sidecar; KEYTURN_DATA_DIR where nothing is said." placeholder:"D"`
}

// path is the directory that was named.
func (d directory) path(a *App) (string, error) {
	dir := d.DataDir
	if dir == "" {
		dir = a.Env("KEYTURN_DATA_DIR")
	}
	if dir == "" {
		return "", usage{"which sidecar? Name its data directory with --data-dir"}
	}
	return dir, nil
}

// ask finds the running sidecar, asks it, and prints its answer unchanged.
func (d directory) ask(a *App, call func(context.Context, *agent.Remote) ([]byte, error)) error {
	dir, err := d.path(a)
	if err != nil {
		return err
	}
	r, err := agent.Find(dir)
	if err != nil {
		return err
	}
	body, err := call(a.Context, r)
	if body == nil {
		return err
	}
	_, failed := fmt.Fprintf(a.Stdout, "%s\n", body)
	return cmp.Or(err, failed)
}

// StatusCmd prints the status.
type StatusCmd struct {
	directory
	Ready bool `xor:"probe" help:"Ask /readyz instead, whether it may say yes to anybody: exit status 5 where its copy is too old, or the clock is wrong."`
	Live  bool `xor:"probe" help:"Ask /livez instead, whether it answers at all."`
}

// Run prints it.
func (c *StatusCmd) Run(a *App) error {
	for path, asked := range map[string]bool{"/readyz": c.Ready, "/livez": c.Live} {
		if asked {
			return c.ask(a, func(ctx context.Context, r *agent.Remote) ([]byte, error) { return r.Probe(ctx, path) })
		}
	}
	return c.ask(a, func(ctx context.Context, r *agent.Remote) ([]byte, error) { return r.Status(ctx) })
}

// DenyCmd refuses an id on this host.
type DenyCmd struct {
	directory
	ID string `arg:"" help:"A client id, of a credential or of a version, or a peer id."`
}

// Run denies it, and prints the status.
func (c *DenyCmd) Run(a *App) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	return c.ask(a, func(ctx context.Context, r *agent.Remote) ([]byte, error) { return r.Deny(ctx, c.ID) })
}

func checkID(name string) error {
	if agent.Deniable(name) {
		return nil
	}
	return usage{fmt.Sprintf("%.64q is neither a client id (cli_…) nor a peer id (peer_…)", name)}
}

// AllowCmd takes a deny back.
type AllowCmd struct {
	directory
	ID string `arg:"" help:"What was denied."`
}

// Run allows it, and prints the status.
func (c *AllowCmd) Run(a *App) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	return c.ask(a, func(ctx context.Context, r *agent.Remote) ([]byte, error) {
		body, err := r.Allow(ctx, c.ID)
		if err == nil {
			c.warn(a, body)
		}
		return body, err
	})
}

// warn says what keeps refusing some of what was allowed.
func (c *AllowCmd) warn(a *App, status []byte) {
	var s httpapi.SidecarStatus
	allowed, err := id.ParseClientID(c.ID)
	if err != nil || json.Unmarshal(status, &s) != nil {
		return
	}
	for _, name := range s.Denied {
		denied, err := id.ParseClientID(name)
		if err != nil || denied.Credential != allowed.Credential || allowed.Version != 0 && denied.Version != 0 {
			continue
		}
		what := "that version is refused as before"
		if denied.Version == 0 {
			what = "every version of it is refused as before"
		}
		_, _ = fmt.Fprintf(a.Stderr, "keyturn-sidecar: %s is still denied, so %s; to take that back: keyturn-sidecar allow %s\n", name, what, name)
	}
}

// ResyncCmd accepts another ledger.
type ResyncCmd struct {
	directory
}

// Run has the copy pulled anew, and prints the status.
func (c *ResyncCmd) Run(a *App) error {
	err := c.ask(a, func(ctx context.Context, r *agent.Remote) ([]byte, error) { return r.Resync(ctx) })
	if err == nil || errors.Is(err, agent.ErrNotRunning) || errors.Is(err, agent.ErrNoAnswer) {
		return err
	}
	return fmt.Errorf("resync: %w; the copy of before stays in use", err)
}
