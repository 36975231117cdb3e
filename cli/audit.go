package main

import (
	"net/url"
	"time"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// AuditCmd prints the audit trail, oldest first.
type AuditCmd struct {
	After   string `help:"Begin after this cursor of an earlier answer." placeholder:"CURSOR"`
	Limit   int    `help:"At most so many events; all where nothing is said." placeholder:"N"`
	Subject string `help:"Only what was done to this id; a bare cli_… finds its versions too." placeholder:"ID"`
	Actor   string `help:"Only what this client did." placeholder:"ID"`
}

// Run prints it.
func (c *AuditCmd) Run(a *App) error {
	if c.Limit < 0 {
		return usage("--limit has to be more than 0")
	}
	s, err := a.open(false)
	if err != nil {
		return err
	}
	query := url.Values{"limit": {"500"}}
	for name, value := range map[string]string{"after": c.After, "subject": c.Subject, "actor": c.Actor} {
		if value != "" {
			query.Set(name, value)
		}
	}
	items, answer, err := s.pages(listing{
		what: "read the audit trail", path: "/v1/audit", query: query, cursor: "after", member: "events", most: c.Limit,
	})
	if err != nil || a.flags.JSON {
		return orWire(a, answer, err)
	}
	events, err := decodeAll[httpapi.Event](items)
	if err != nil {
		return failed("read the audit trail", err)
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
