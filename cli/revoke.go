package main

import (
	"encoding/json"
	"errors"
	"net/url"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
)

// RevokeCmd ends credentials for ever.
type RevokeCmd struct {
	ID        string `arg:"" optional:"" help:"cli_… for all of it, cli_…-3 for that version only."`
	CreatedBy string `help:"Revoke what that client made, and not itself; with -3 what that version made." placeholder:"ID"`
	Reason    string `help:"Why, for the audit trail." placeholder:"TEXT"`
	Yes       bool   `short:"y" help:"Do not ask before a version that is still accepted is revoked."`
}

// Run revokes one credential, or all that one made.
func (c *RevokeCmd) Run(a *App) error {
	if (c.ID == "") == (c.CreatedBy == "") {
		return usage("give the ID of a credential or --created-by ID; see: keyturn credentials revoke --help")
	}
	if err := checkClientID(c.ID + c.CreatedBy); err != nil {
		return err
	}
	if err := credential.CheckReason(c.Reason); err != nil {
		return usage("--reason: " + err.Error())
	}
	s, err := a.open(false)
	if err != nil {
		return err
	}
	if c.ID != "" {
		if err := c.warnEarly(s); err != nil {
			return err
		}
		return c.one(s, c.ID)
	}
	return c.created(s)
}

// one revokes one, which prints nothing but what the API answers: nothing.
func (c *RevokeCmd) one(s *session, target string) error {
	query := url.Values{}
	if c.Reason != "" {
		query.Set("reason", c.Reason)
	}
	_, err := s.call("revoke "+target, httpapi.Request{Method: "DELETE", Path: "/v1/credentials/" + target, Query: query})
	if err == nil {
		s.screen.note("revoked %s", target)
	}
	return err
}

// created revokes all that one client made. What is refused does not keep the rest alive; its error counts in the end.
func (c *RevokeCmd) created(s *session) error {
	items, _, err := s.pages(credentialPages(false))
	if err != nil {
		return err
	}
	list, err := decodeAll[httpapi.Credential](items)
	if err != nil {
		return failed("list the credentials", err)
	}
	done, refused := []string{}, []error{}
	for _, made := range list {
		if !madeBy(deref(made.CreatedBy), c.CreatedBy) {
			continue
		}
		if err := c.one(s, made.ID); err != nil {
			s.screen.warn("%s", err)
			refused = append(refused, err)
			continue
		}
		done = append(done, made.ID)
	}
	if err := c.report(s, done); err != nil {
		return err
	}
	if len(refused) > 0 {
		return &failure{
			what: "revoke what " + c.CreatedBy + " made", why: errors.New("some of it is left"), exit: exitStatus(refused[0]),
			next: "see above, and run it again",
		}
	}
	return nil
}

func (c *RevokeCmd) report(s *session, done []string) error {
	if s.flags.JSON {
		out, err := json.Marshal(map[string][]string{"revoked": done})
		return orWire(s.App, out, err)
	}
	for _, one := range done {
		if err := s.data(one + "\n"); err != nil {
			return err
		}
	}
	if len(done) == 0 {
		s.screen.note("%s made nothing that is not revoked", c.CreatedBy)
	}
	return nil
}

// madeBy reports whether a creator is the client that is asked for: any version of it, where none is named.
func madeBy(creator, asked string) bool {
	by, err := id.ParseClientID(creator)
	want, bad := id.ParseClientID(asked)
	return err == nil && bad == nil && by.Credential == want.Credential && (want.Bare() || by == want)
}
