package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
)

// peers are the verbs of the noun.
type peers struct {
	List   PeersListCmd   `cmd:"" help:"List the hosts that check and issue tokens by themselves."`
	Get    PeersGetCmd    `cmd:"" help:"Print one."`
	Set    PeersSetCmd    `cmd:"" help:"Change a peer's name, or what it may put into tokens."`
	Remove PeersRemoveCmd `cmd:"" help:"Remove one for ever, with all tokens that it issued."`
}

// PeersListCmd lists peers.
type PeersListCmd struct{}

// Run lists all, removed ones too.
func (c *PeersListCmd) Run(a *App) error {
	return show(a, "list the peers", httpapi.Request{Path: "/v1/peers"}, func(list httpapi.Peers) string {
		now := a.Now()
		rows := [][]string{{"PEER", "NAME", "ROLE", "REGION", "STATUS", "MAX SCOPES", "JOINED"}}
		for _, p := range list.Peers {
			rows = append(rows, []string{
				plain(p.PeerID), or(plain(deref(p.Name))), plain(p.Role), or(plain(p.Region)), plain(p.Status), granted(p), moment(p.JoinedAt.Time, now),
			})
		}
		return table(rows)
	})
}

// granted is what a peer may put into tokens.
func granted(p httpapi.Peer) string {
	if p.Role == "authority" {
		return "all"
	}
	return or(plain(strings.Join(p.MaxScopes, " ")))
}

// PeersGetCmd prints one peer.
type PeersGetCmd struct {
	ID string `arg:"" help:"peer_…"`
}

// Run prints it.
func (c *PeersGetCmd) Run(a *App) error {
	if err := checkPeerID(c.ID); err != nil {
		return err
	}
	return a.peer("get "+c.ID, httpapi.Request{Path: "/v1/peers/" + c.ID})
}

func checkPeerID(text string) error {
	if _, err := id.Parse(id.Peer, text); err != nil {
		return usage(plain(err.Error()))
	}
	return nil
}

// peer prints the peer that a call answers with.
func (a *App) peer(what string, r httpapi.Request) error {
	return show(a, what, r, func(p httpapi.Peer) string { return table(peerDetails(p, a.Now())) })
}

// peerDetails is a peer in rows for a person.
func peerDetails(p httpapi.Peer, now time.Time) [][]string {
	rows := [][]string{
		{"peer_id", plain(p.PeerID)},
		{"name", or(plain(deref(p.Name)))},
		{"role", plain(p.Role)},
		{"region", or(plain(p.Region))},
		{"status", plain(p.Status)},
		{"max_scopes", granted(p)},
		{"joined", moment(p.JoinedAt.Time, now)},
	}
	if !p.LeftAt.IsZero() {
		rows = append(rows, []string{"left", moment(p.LeftAt.Time, now)})
	}
	if !p.PublicKey.IsZero() {
		rows = append(rows, []string{"public_key", p.PublicKey.ID()}, []string{"token_key", p.TokenKey.ID()})
	}
	return rows
}

// PeersSetCmd changes a peer.
type PeersSetCmd struct {
	ID        string  `arg:"" help:"peer_…"`
	Name      *string `help:"What people call it." placeholder:"TEXT"`
	MaxScopes *string `help:"What it may put into tokens, instead of what it might before; '' is nothing." placeholder:"SCOPE,…"`
	Reason    string  `help:"Why, for the audit trail." placeholder:"TEXT"`
}

// Run changes what is given, and prints the peer as it is then.
func (c *PeersSetCmd) Run(a *App) error {
	r, err := c.request()
	if err != nil {
		return err
	}
	return a.peer("change "+c.ID, httpapi.Request{Method: "PATCH", Path: "/v1/peers/" + c.ID, Body: r})
}

// request is what the flags stand for. What the authority would refuse is refused here.
func (c *PeersSetCmd) request() (httpapi.PeerChangeRequest, error) {
	r := httpapi.PeerChangeRequest{Name: c.Name, Reason: c.Reason}
	if err := checkPeerID(c.ID); err != nil {
		return r, err
	}
	if c.Name == nil && c.MaxScopes == nil {
		return r, usage("give --name or --max-scopes; see: keyturn peers set --help")
	}
	if c.MaxScopes != nil {
		list := scopeList(*c.MaxScopes)
		if _, err := credential.ParseScopes(list); err != nil {
			return r, usage("--max-scopes: " + plain(err.Error()))
		}
		r.MaxScopes = &list
	}
	if err := credential.CheckName(deref(c.Name)); err != nil {
		return r, usage("--name: " + plain(err.Error()))
	}
	if err := credential.CheckReason(c.Reason); err != nil {
		return r, usage("--reason: " + plain(err.Error()))
	}
	return r, nil
}

// PeersRemoveCmd removes a peer.
type PeersRemoveCmd struct {
	ID     string `arg:"" help:"peer_…"`
	Reason string `help:"Why, for the audit trail." placeholder:"TEXT"`
	Yes    bool   `short:"y" help:"Do not ask."`
}

// Run removes it, which prints nothing but what the API answers: nothing. On a terminal it says what will happen and asks.
func (c *PeersRemoveCmd) Run(a *App) error {
	if err := checkPeerID(c.ID); err != nil {
		return err
	}
	if err := credential.CheckReason(c.Reason); err != nil {
		return usage("--reason: " + plain(err.Error()))
	}
	s, err := a.open(false)
	if err != nil {
		return err
	}
	if a.interactive() && !c.Yes {
		if err := c.ask(s); err != nil {
			return err
		}
	}
	return s.end("remove", "removed", c.ID, "/v1/peers/", c.Reason)
}

func (c *PeersRemoveCmd) ask(s *session) error {
	answer, err := s.call("look at "+c.ID, httpapi.Request{Path: "/v1/peers/" + c.ID})
	if err != nil {
		return err
	}
	var p httpapi.Peer
	if err := answer.Decode(&p); err != nil {
		return failed("look at "+c.ID, err)
	}
	rows := append([][]string{{"server", s.server}}, peerDetails(p, s.Now())...)
	rows = append(rows, []string{"what ends", "every token that it issued, and its copy of the ledger gets no news; for ever"})
	s.screen.print(fmt.Sprintf("This will remove a peer:\n%s", indent(table(rows))))
	return s.confirm("Remove?")
}

// scopeList reads a,b or 'a b'. What is empty is [] and not null: nothing is something else than nothing said.
func scopeList(text string) []string {
	return append([]string{}, strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })...)
}
