package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/cli/internal/journal"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/duration"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// RotateCmd makes the next version of a credential.
type RotateCmd struct {
	ID           string          `arg:"" optional:"" help:"Any client id of the credential; the shared one where none is given."`
	UpdateConfig bool            `help:"Save the new secret in the context that authenticates, and prove that it works."`
	Window       *duration.Value `help:"How long the old secret is still accepted, up to 168h (24h where nothing is said)." placeholder:"D"`
	Emergency    bool            `help:"The old versions are dead at once, for ever, and their tokens with them."`
	Reason       string          `help:"Why, for the audit trail." placeholder:"TEXT"`
	PublicKey    string          `help:"The file with the client's new public JWK, where it authenticates with a key." placeholder:"F"`
	Exec         string          `help:"A shell line that gets the answer as JSON on standard input." placeholder:"CMD"`
	DryRun       bool            `help:"Show what would happen, and stop."`
	Yes          bool            `short:"y" help:"Do not ask."`
}

// Run rotates, or finishes a rotation that was cut off.
func (c *RotateCmd) Run(a *App) error {
	if err := c.check(a); err != nil {
		return err
	}
	s, err := a.open(false)
	if err != nil {
		return err
	}
	if c.UpdateConfig {
		if err := s.checkConfigAuthenticates(); err != nil {
			return err
		}
	}
	if c.DryRun {
		return c.dryRun(s)
	}
	entry, err := c.entry(a)
	if err != nil {
		return err
	}
	return s.settle(owed{
		what: c.what(), command: "credentials rotate", target: bare(c.ID), entry: entry,
		prepare: func() error { return c.prepare(s) },
		deliver: func(e journal.Entry, answer []byte) error { return c.deliver(s, e, answer) },
	})
}

func (c *RotateCmd) check(a *App) error {
	if c.ID != "" {
		if err := checkClientID(c.ID); err != nil {
			return err
		}
	}
	if c.Window != nil {
		if err := credential.CheckWindow(time.Duration(*c.Window)); err != nil {
			return usage("--window: " + err.Error())
		}
		if c.Emergency && *c.Window > 0 {
			return usage("--emergency leaves no window; give one of the two")
		}
	}
	if c.PublicKey != "" && c.UpdateConfig {
		return usage("--update-config saves a secret, and with --public-key there is none")
	}
	if err := credential.CheckReason(c.Reason); err != nil {
		return usage("--reason: " + err.Error())
	}
	if c.Emergency && !c.Yes && !c.DryRun && !a.interactive() {
		return usage("--emergency kills every older secret at once, and nobody is here to be asked; add --yes if that is meant")
	}
	return nil
}

func (c *RotateCmd) what() string {
	if c.ID == "" {
		return "rotate the shared credential"
	}
	return "rotate " + c.ID
}

// entry is the request that the flags stand for.
func (c *RotateCmd) entry(a *App) (journal.Entry, error) {
	r := httpapi.RotateRequest{Emergency: c.Emergency, Reason: c.Reason}
	var err error
	if r.PublicKey, err = a.publicKey(c.PublicKey); err != nil {
		return journal.Entry{}, err
	}
	if c.Window != nil {
		seconds := int64(time.Duration(*c.Window) / time.Second)
		r.WindowSeconds = &seconds
	}
	body, err := json.Marshal(r)
	path := "/v1/cluster/credentials/rotate"
	if c.ID != "" {
		path = "/v1/credentials/" + c.ID + "/rotate"
	}
	return journal.Entry{Method: "POST", Path: path, Body: body, UpdateConfig: c.UpdateConfig}, err
}

// checkConfigAuthenticates refuses to update a config that is not what authenticates.
func (s *session) checkConfigAuthenticates() error {
	switch {
	case s.fromEnv:
		return usage("--update-config: the environment authenticates, not the config; unset KEYTURN_CLIENT_ID and KEYTURN_CLIENT_SECRET, or leave the flag out")
	case s.context.ClientSecretCommand != "":
		return usage(fmt.Sprintf("--update-config: context %q gets its secret from a command; leave the flag out, and store the new secret with --exec", s.name))
	case s.context.ClientSecret == "":
		return usage("--update-config: no context with a secret is in use; make one with: keyturn config set NAME --client-id ID --secret-stdin")
	}
	return nil
}

// prepare checks and asks, before anything is sent that has an effect.
func (c *RotateCmd) prepare(s *session) error {
	if c.UpdateConfig {
		if err := s.checkWritable(); err != nil {
			return err
		}
	}
	ask := s.interactive() && !c.Yes
	if !ask && !c.UpdateConfig && !c.Yes {
		return nil
	}
	p, err := c.plan(s)
	switch {
	case err != nil && (ask || c.UpdateConfig):
		return err
	case err != nil:
		return nil // there is nobody to show it to
	case ask:
		s.screen.print(p.text(s))
		return s.confirm("Rotate?")
	case c.Yes:
		for _, row := range p.uses(s.Now()) {
			s.screen.note("%s: %s", row[0], row[1])
		}
	}
	return nil
}

// deliver saves, prints and hands on the answer. What the earlier run was to save is saved, too.
func (c *RotateCmd) deliver(s *session, e journal.Entry, answer []byte) error {
	var r httpapi.Rotation
	if err := json.Unmarshal(answer, &r); err != nil {
		return err
	}
	saved := false
	if e.UpdateConfig || c.UpdateConfig {
		err := s.save(e.Context, fresh{r.ClientID, r.ClientSecret, r.Version})
		if err != nil && !errors.Is(err, errKept) {
			return err
		}
		if saved = err == nil; saved {
			s.screen.note("the new secret is saved in context %q of %s, and works", e.Context, s.path)
		} else {
			s.screen.warn("context %q of %s holds another secret by now: it is left as it is", e.Context, s.path)
		}
	}
	if err := c.print(s, r, answer, saved); err != nil {
		return err
	}
	if !saved && bare(r.ClientID) == bare(s.clientID) && c.Exec == "" {
		s.screen.note("what authenticates here is still the old secret; %s", s.mend(r.Version))
	}
	return c.run(s, answer)
}

// print shows the answer. A secret that was saved, or is handed on, is not shown to whoever looks over a shoulder.
func (c *RotateCmd) print(s *session, r httpapi.Rotation, answer []byte, saved bool) error {
	if s.flags.JSON {
		return s.wire(answer)
	}
	rows := rotationRows(r, s.Now(), !saved && c.Exec == "")
	if c.Exec != "" { // standard output is the command's
		s.screen.print(strings.TrimSuffix(table(rows), "\n"))
		return nil
	}
	return s.data(table(rows))
}

// rotationRows is a rotation for a person, with the new secret or without.
func rotationRows(r httpapi.Rotation, now time.Time, secret bool) [][]string {
	rows := [][]string{{"client_id", r.ClientID}}
	if secret && r.ClientSecret != "" {
		rows = append(rows, []string{"client_secret", r.ClientSecret})
	}
	rows = append(rows, []string{"version", strconv.Itoa(r.Version)})
	for _, p := range r.Previous {
		rows = append(rows, []string{"still accepted", fmt.Sprintf("%s until %s", p.ClientID, moment(p.ExpiresAt.Time, now))})
	}
	if r.Killed != nil {
		rows = append(rows, []string{"killed", or(strings.Join(*r.Killed, " "))})
	}
	if r.CreatedByKilled != nil {
		rows = append(rows, []string{"made by killed", or(strings.Join(*r.CreatedByKilled, " "))})
	}
	return rows
}

// run hands the answer to the shell line of --exec.
func (c *RotateCmd) run(s *session, answer []byte) error {
	if c.Exec == "" {
		return nil
	}
	cmd := exec.CommandContext(s.Context, "sh", "-c", c.Exec)
	cmd.Stdin = bytes.NewReader(append(bytes.TrimRight(answer, "\n"), '\n'))
	cmd.Stdout, cmd.Stderr = s.Stdout, s.Stderr
	if s.flags.JSON {
		cmd.Stdout = s.Stderr
	}
	if err := cmd.Run(); err != nil {
		return &failure{what: "--exec", why: err, exit: exitFailed}
	}
	s.step("executed")
	return nil
}
