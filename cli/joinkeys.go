package main

import (
	"net/url"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/duration"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/peer"
)

// joinKeys are the verbs of the noun.
type joinKeys struct {
	Create JoinKeysCreateCmd `cmd:"" help:"Make a key with which one host can join, and print it, this once."`
	List   JoinKeysListCmd   `cmd:"" help:"List those that can be used."`
	Revoke JoinKeysRevokeCmd `cmd:"" help:"Make sure that nobody joins with one."`
}

// JoinKeysCreateCmd makes a join key. A call whose answer was lost can be repeated: the key that nobody saw expires.
type JoinKeysCreateCmd struct {
	Name      string          `help:"What people call it." placeholder:"TEXT"`
	TTL       *duration.Value `name:"ttl" help:"How long it can be used, at most 24h; 10 minutes where nothing is said." placeholder:"D"`
	MaxScopes *string         `help:"What the peer may put into tokens; what you may read where nothing is said, and '' is nothing." placeholder:"SCOPE,…"`
	Region    string          `help:"Where the peer belongs; where it asks to join where nothing is said." placeholder:"R"`
	Reason    string          `help:"Why, for the audit trail." placeholder:"TEXT"`
}

// Run makes it, and prints nothing but the key on standard output.
func (c *JoinKeysCreateCmd) Run(a *App) error {
	r, err := c.request()
	if err != nil {
		return err
	}
	asked := httpapi.Request{Method: "POST", Path: "/v1/join-keys", Body: r}
	return show(a, "create the join key", asked, func(made httpapi.CreatedJoinKey) string {
		a.screen.note("%s lets one host in, until %s", plain(made.JoinKeyID), moment(made.ExpiresAt.Time, a.Now()))
		return made.JoinKey + "\n"
	})
}

// request is what the flags stand for. What the authority would refuse is refused here.
func (c *JoinKeysCreateCmd) request() (httpapi.JoinKeyRequest, error) {
	r := httpapi.JoinKeyRequest{Name: c.Name, Region: c.Region, Reason: c.Reason}
	var badTTL error
	if c.TTL != nil {
		ttl := time.Duration(*c.TTL)
		seconds := int64(ttl / time.Second)
		r.TTLSeconds, badTTL = &seconds, peer.CheckTTL(ttl)
	}
	var badScope error
	if c.MaxScopes != nil {
		r.MaxScopes = scopeList(*c.MaxScopes)
		_, badScope = credential.ParseScopes(r.MaxScopes)
	}
	for _, checked := range []struct {
		flag string
		err  error
	}{
		{"--name", credential.CheckName(c.Name)}, {"--max-scopes", badScope}, {"--ttl", badTTL}, {"--reason", credential.CheckReason(c.Reason)},
	} {
		if checked.err != nil {
			return r, usage(checked.flag + ": " + plain(checked.err.Error()))
		}
	}
	return r, nil
}

// JoinKeysListCmd lists join keys.
type JoinKeysListCmd struct {
	IncludeTerminal bool `help:"Also those that are used, revoked or expired."`
}

// Run lists them, never a key itself.
func (c *JoinKeysListCmd) Run(a *App) error {
	query := url.Values{}
	if c.IncludeTerminal {
		query.Set("include", "terminal")
	}
	return show(a, "list the join keys", httpapi.Request{Path: "/v1/join-keys", Query: query}, func(list httpapi.JoinKeys) string {
		now := a.Now()
		rows := [][]string{{"JOIN KEY", "NAME", "STATUS", "MAX SCOPES", "EXPIRES", "USED BY"}}
		for _, k := range list.JoinKeys {
			rows = append(rows, []string{
				plain(k.JoinKeyID), or(plain(deref(k.Name))), plain(k.Status), or(plain(strings.Join(k.MaxScopes, " "))),
				moment(k.ExpiresAt.Time, now), or(plain(deref(k.UsedBy))),
			})
		}
		return table(rows)
	})
}

// JoinKeysRevokeCmd revokes a join key.
type JoinKeysRevokeCmd struct {
	ID     string `arg:"" help:"jk_…"`
	Reason string `help:"Why, for the audit trail." placeholder:"TEXT"`
}

// Run revokes it, which prints nothing but what the API answers: nothing.
func (c *JoinKeysRevokeCmd) Run(a *App) error {
	if _, err := id.Parse(id.JoinKey, c.ID); err != nil {
		return usage(plain(err.Error()))
	}
	if err := credential.CheckReason(c.Reason); err != nil {
		return usage("--reason: " + plain(err.Error()))
	}
	s, err := a.open(false)
	if err != nil {
		return err
	}
	return s.end("revoke", "revoked", c.ID, "/v1/join-keys/", c.Reason)
}

// end sends the DELETE of one thing that goes for ever.
func (s *session) end(verb, done, target, path, reason string) error {
	query := url.Values{}
	if reason != "" {
		query.Set("reason", reason)
	}
	_, err := s.call(verb+" "+target, httpapi.Request{Method: "DELETE", Path: path + target, Query: query})
	if err == nil {
		s.screen.note("%s %s", done, target)
	}
	return err
}
