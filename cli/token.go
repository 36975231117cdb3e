package main

import (
	"strings"

	"github.com/keyturn/keyturn/internal/credential"
)

// TokenCmd prints an access token.
type TokenCmd struct {
	Scope    []string `help:"What the token may do; all that the credential may where nothing is said." placeholder:"SCOPE,…"`
	Audience string   `help:"Who the token is for; the cluster's own API where nothing is said." placeholder:"AUD"`
	Header   bool     `help:"Print it as a header: Authorization: Bearer …"`
}

// Run gets a token and prints it.
func (c *TokenCmd) Run(a *App) error {
	var scopes []string
	for _, s := range c.Scope {
		scopes = append(scopes, strings.Fields(s)...)
	}
	if _, err := credential.ParseScopes(scopes); err != nil {
		return usage("--scope: " + plain(err.Error()))
	}
	s, err := a.open(false)
	if err != nil {
		return err
	}
	t, raw, err := s.token(strings.Join(scopes, " "), c.Audience)
	switch {
	case err != nil:
		return err
	case a.flags.JSON:
		return a.wire(raw)
	case c.Header:
		return a.data("Authorization: Bearer " + t.AccessToken + "\n")
	}
	return a.data(t.AccessToken + "\n")
}
