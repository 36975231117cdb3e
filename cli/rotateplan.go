package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// plan is what a rotation will do.
type plan struct {
	cmd    *RotateCmd
	seen   bool // the credential could be looked at
	target httpapi.CredentialDetail
	window time.Duration
}

// plan looks at the credential that will be rotated. Who may write credentials may not always read them: then there is
// less to show, and --update-config takes the word of the client id, which names a version for the shared one only.
func (c *RotateCmd) plan(s *session) (plan, error) {
	p := plan{cmd: c, window: credential.DefaultWindow}
	if c.Emergency {
		p.window = 0
	}
	if c.Window != nil {
		p.window = time.Duration(*c.Window)
	}
	answer, err := s.call("look at the credential", detailOf(c.ID))
	var api *httpapi.Error
	switch {
	case err == nil:
		p.seen = true
		err = answer.Decode(&p.target)
	case errors.As(err, &api) && api.Code == httpapi.Forbidden:
		err = nil
	}
	if err != nil {
		return p, err
	}
	if c.UpdateConfig && !p.mine(s) {
		return p, usage(fmt.Sprintf("--update-config: context %q authenticates as %s, which is not what is rotated; leave the flag out, or name the credential: keyturn credentials rotate %s --update-config",
			s.name, s.clientID, bare(s.clientID)))
	}
	return p, nil
}

// mine reports whether what is rotated is what authenticates.
func (p plan) mine(s *session) bool {
	switch {
	case p.cmd.ID != "":
		return bare(p.cmd.ID) == bare(s.clientID)
	case p.seen:
		return p.target.ID == bare(s.clientID)
	}
	return versionOf(s.clientID) > 0
}

// text is the plan for a person.
func (p plan) text(s *session) string {
	now := s.Now()
	name := p.cmd.what()
	if n := deref(p.target.Name); n != "" {
		name += fmt.Sprintf(" (%q)", n)
	}
	rows := [][]string{{"server", s.server}}
	if p.seen {
		next := p.target.Version + 1
		rows = append(rows, []string{"credential", p.target.ID},
			[]string{"version", fmt.Sprintf("%d -> %d, with the client id %s", p.target.Version, next, versioned(p.target.ClientID, next))})
	}
	rows = append(rows, p.old(now)...)
	rows = append(rows, p.uses(now)...)
	saved := "nowhere: the new secret is printed"
	switch {
	case p.cmd.UpdateConfig:
		saved = fmt.Sprintf("context %q of %s", s.name, s.path)
	case p.cmd.Exec != "":
		saved = "nowhere: the new secret is handed to: " + p.cmd.Exec
	}
	rows = append(rows, []string{"saved in", saved})
	return "This will " + name + ":\n" + indent(table(rows))
}

// old says what becomes of the secrets that are out there.
func (p plan) old(now time.Time) [][]string {
	if p.cmd.Emergency {
		return [][]string{
			{"old secrets", "dead at once and for ever, and every token that was got with them"},
			{"who is out", "every host and person that uses one of them, until they get the new one"},
		}
	}
	until := now.Add(p.window)
	if end := p.target.ExpiresAt.Time; !end.IsZero() && end.Before(until) {
		until = end
	}
	rows := [][]string{{"old secret", "accepted until " + moment(until, now)}}
	if p.window == 0 {
		rows[0][1] = "refused at once; tokens that were got with it stay good until they expire"
	}
	for _, older := range p.target.Previous {
		rows = append(rows, []string{"also accepted", fmt.Sprintf("%s until %s", older.ClientID, moment(older.ExpiresAt.Time, now))})
	}
	who := "whoever holds it"
	if p.cmd.ID == "" {
		who = "every host and person that shares it"
	}
	return append(rows, []string{"who uses it", who + "; each has to get the new one by then"})
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ")
}

// dryRun shows the plan on standard output.
func (c *RotateCmd) dryRun(s *session) error {
	p, err := c.plan(s)
	if err != nil {
		return err
	}
	if !s.flags.JSON {
		return s.data(p.text(s) + "\nNothing was changed.\n")
	}
	out, err := json.Marshal(map[string]any{
		"dry_run": true, "client_id": or(p.target.ClientID), "version": p.target.Version + 1,
		"window_seconds": int64(p.window / time.Second), "emergency": c.Emergency, "update_config": c.UpdateConfig,
	})
	if err != nil {
		return err
	}
	return s.wire(out)
}

// confirm asks a person. Anything but yes is no.
func (a *App) confirm(question string) error {
	_, _ = fmt.Fprintf(a.Stderr, "%s [y/N] ", question)
	line, err := a.line()
	if err != nil {
		_, _ = fmt.Fprintln(a.Stderr)
		return &failure{why: err, next: "nothing was changed", exit: exitFailed}
	}
	switch strings.ToLower(line) {
	case "y", "yes":
		return nil
	}
	return &failure{why: errors.New("not confirmed, nothing was changed"), exit: exitFailed}
}
