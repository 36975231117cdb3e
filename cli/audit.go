package main

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// AuditCmd prints the audit trail, oldest first.
type AuditCmd struct {
	Last    int    `help:"Only the newest N events, the newest at the end." placeholder:"N"`
	After   string `help:"Begin after this cursor of an earlier answer." placeholder:"CURSOR"`
	Limit   int    `help:"At most so many events, the oldest; all where nothing is said." placeholder:"N"`
	Subject string `help:"Only what was done to this id; a bare cli_… finds its versions too." placeholder:"ID"`
	Actor   string `help:"Only what this client did." placeholder:"ID"`
	Action  string `help:"Only what is called so, as in credential.revoke or cluster.recover." placeholder:"ACTION"`
}

// Run prints it.
func (c *AuditCmd) Run(a *App) error {
	if err := c.check(); err != nil {
		return err
	}
	s, err := a.open(false)
	if err != nil {
		return err
	}
	items, answer, err := c.read(s)
	if err != nil || a.flags.JSON {
		return orWire(a, answer, err)
	}
	events, err := decodeAll[httpapi.Event](items)
	if err != nil {
		return failed(readTrail, err)
	}
	rows := [][]string{{"AT", "ACTOR", "ACTION", "SUBJECT", "SOURCE", "REASON"}}
	for _, e := range events {
		rows = append(rows, []string{
			e.At.UTC().Format(time.RFC3339), or(plain(deref(e.Actor))), plain(e.Action), plain(e.Subject),
			or(plain(deref(e.Source))), or(plain(deref(e.Reason))),
		})
	}
	return a.data(table(rows))
}

// check refuses what cannot be meant. An action that does not exist would look like one that has not happened.
func (c *AuditCmd) check() error {
	switch {
	case c.Limit < 0 || c.Last < 0:
		return usage("--limit and --last have to be more than 0")
	case c.Last > 0 && (c.Limit > 0 || c.After != ""):
		return usage("--last counts from the end, --limit and --after from the beginning: one of them")
	case c.Action != "" && !slices.Contains(authority.Actions(), c.Action):
		return usage("there is no action " + plain(c.Action) + "; there are " + strings.Join(authority.Actions(), ", "))
	}
	return nil
}

// read gets the events that are asked for, and the answer as JSON.
func (c *AuditCmd) read(s *session) (items []json.RawMessage, answer []byte, err error) {
	t := trail{session: s, filter: url.Values{}, action: c.Action}
	for name, value := range map[string]string{"subject": c.Subject, "actor": c.Actor} {
		if value != "" {
			t.filter.Set(name, value)
		}
	}
	all := listing{
		what: readTrail, path: "/v1/audit", query: t.query(c.After, trailPage, true), cursor: "after", member: "events", page: trailPage,
	}
	if c.Last > 0 {
		items, err = t.last(c.Last)
		return items, all.merged(items, nil), err
	}
	if c.Action == "" { // nothing to leave out: the answer stays as it is
		all.most = c.Limit
		return s.pages(all)
	}
	items, _, err = s.pages(all)
	if err == nil {
		items, err = t.wanted(items)
	}
	if c.Limit > 0 && len(items) > c.Limit {
		items = items[:c.Limit]
	}
	return items, all.merged(items, nil), err
}
