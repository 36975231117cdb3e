package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/cli/internal/journal"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/duration"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/jwk"
)

// credentials are the verbs of the noun.
type credentials struct {
	List   ListCmd   `cmd:"" help:"List them."`
	Get    GetCmd    `cmd:"" help:"Print one."`
	Create CreateCmd `cmd:"" help:"Make one and print its secret, this once."`
	Revoke RevokeCmd `cmd:"" help:"End one, or one version, for ever."`
	Rotate RotateCmd `cmd:"" help:"Give one a new secret, and let the old one work for a while."`
	Status StatusCmd `cmd:"" help:"Say who uses which version of one, and whether an old one can be closed."`
}

// ListCmd lists credentials.
type ListCmd struct {
	IncludeRevoked bool `help:"Also those that are revoked."`
}

// Run lists all pages.
func (c *ListCmd) Run(a *App) error {
	s, err := a.open(false)
	if err != nil {
		return err
	}
	items, answer, err := s.pages(credentialPages(c.IncludeRevoked))
	if err != nil || a.flags.JSON {
		return orWire(a, answer, err)
	}
	list, err := decodeAll[httpapi.Credential](items)
	if err != nil {
		return failed("list the credentials", err)
	}
	now := a.Now()
	rows := [][]string{{"CLIENT ID", "NAME", "KIND", "STATUS", "SCOPES", "EXPIRES"}}
	for _, one := range list {
		rows = append(rows, []string{
			one.ClientID, or(plain(deref(one.Name))), one.Kind, one.Status, or(strings.Join(one.Scopes, " ")), moment(one.ExpiresAt.Time, now),
		})
	}
	return a.data(table(rows))
}

func credentialPages(revoked bool) listing {
	l := listing{
		what: "list the credentials", path: "/v1/credentials", query: url.Values{"limit": {"500"}}, cursor: "cursor", member: "credentials",
	}
	if revoked {
		l.query.Set("include", "revoked")
	}
	return l
}

// orWire prints an answer unchanged, unless there was an error.
func orWire(a *App, answer []byte, err error) error {
	if err != nil {
		return err
	}
	return a.wire(answer)
}

// GetCmd prints one credential.
type GetCmd struct {
	ID string `arg:"" help:"Any of its client ids."`
}

// Run prints it, never with a secret.
func (c *GetCmd) Run(a *App) error {
	if err := checkClientID(c.ID); err != nil {
		return err
	}
	return show(a, "get "+c.ID, httpapi.Request{Path: "/v1/credentials/" + c.ID}, func(one httpapi.Credential) string {
		return table(details(one, a.Now()))
	})
}

// details is a credential in rows for a person.
func details(c httpapi.Credential, now time.Time) [][]string {
	rows := [][]string{
		{"client_id", c.ClientID},
		{"id", c.ID},
		{"name", or(plain(deref(c.Name)))},
		{"kind", c.Kind},
		{"status", c.Status},
		{"version", strconv.Itoa(c.Version)},
		{"scopes", or(strings.Join(c.Scopes, " "))},
		{"created", moment(c.CreatedAt.Time, now)},
		{"created_by", or(deref(c.CreatedBy))},
		{"rotated", moment(c.RotatedAt.Time, now)},
		{"expires", moment(c.ExpiresAt.Time, now)},
	}
	if !c.RevokedAt.IsZero() {
		rows = append(rows, []string{"revoked", moment(c.RevokedAt.Time, now)})
	}
	for _, key := range slices.Sorted(maps.Keys(c.Labels)) {
		rows = append(rows, []string{"label", plain(key + "=" + c.Labels[key])})
	}
	for _, p := range c.Previous {
		rows = append(rows, []string{"still accepted", fmt.Sprintf("%s until %s", p.ClientID, moment(p.ExpiresAt.Time, now))})
	}
	return rows
}

// CreateCmd makes a credential.
type CreateCmd struct {
	Name      string            `help:"What people call it." placeholder:"TEXT"`
	Scopes    []string          `help:"What it may do; what the creator may where nothing is said." placeholder:"SCOPE,…"`
	ExpiresIn *duration.Value   `help:"After which time it is refused; never where nothing is said." placeholder:"D"`
	Label     map[string]string `help:"A label; may be given again." placeholder:"K=V" mapsep:"none"`
	PublicKey string            `help:"The file with the client's public JWK, which then authenticates instead of a secret." placeholder:"F"`
	Reason    string            `help:"Why, for the audit trail." placeholder:"TEXT"`
}

// Run creates it, or finishes a creation that was cut off.
func (c *CreateCmd) Run(a *App) error {
	body, err := c.body(a)
	if err != nil {
		return err
	}
	s, err := a.open(false)
	if err != nil {
		return err
	}
	return s.settle(owed{
		what: "create the credential", command: "credentials create", target: c.Name,
		entry:   journal.Entry{Method: "POST", Path: "/v1/credentials", Body: body},
		prepare: func() error { return nil },
		deliver: func(_ journal.Entry, answer []byte) error { return c.deliver(a, answer) },
	})
}

// body is the request that the flags stand for. What the authority would refuse is refused here.
func (c *CreateCmd) body(a *App) ([]byte, error) {
	r := httpapi.CreateRequest{Name: c.Name, Scopes: c.Scopes, Labels: c.Label, Reason: c.Reason}
	_, badScope := credential.ParseScopes(c.Scopes)
	for flag, err := range map[string]error{
		"--name": credential.CheckName(c.Name), "--scopes": badScope,
		"--label": credential.CheckLabels(c.Label), "--reason": credential.CheckReason(c.Reason),
	} {
		if err != nil {
			return nil, usage(flag + ": " + plain(err.Error()))
		}
	}
	if c.ExpiresIn != nil {
		seconds := int64(time.Duration(*c.ExpiresIn) / time.Second)
		if seconds == 0 {
			return nil, usage("--expires-in has to be at least a second")
		}
		r.ExpiresInSeconds = &seconds
	}
	var err error
	if r.PublicKey, err = a.publicKey(c.PublicKey); err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

// publicKey reads the JWK in a file. A private one is refused: it must not leave its host.
func (a *App) publicKey(name string) (json.RawMessage, error) {
	if name == "" {
		return nil, nil
	}
	text, err := a.input(name)
	if err == nil {
		_, err = jwk.Parse(text)
	}
	if err != nil {
		return nil, &failure{what: "--public-key", why: err}
	}
	return text, nil
}

func (c *CreateCmd) deliver(a *App, answer []byte) error {
	if a.flags.JSON {
		return a.wire(answer)
	}
	var made httpapi.Created
	if err := json.Unmarshal(answer, &made); err != nil {
		return err
	}
	return a.data(createdTable(made, a.Now()))
}

// createdTable shows a new credential with its secret.
func createdTable(made httpapi.Created, now time.Time) string {
	rows := [][]string{{"client_id", made.ClientID}}
	if made.ClientSecret != "" {
		rows = append(rows, []string{"client_secret", made.ClientSecret})
	}
	return table(append(rows,
		[]string{"name", or(plain(deref(made.Name)))},
		[]string{"scopes", or(strings.Join(made.Scopes, " "))},
		[]string{"expires", moment(made.ExpiresAt.Time, now)},
	))
}
