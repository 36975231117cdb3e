package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
)

// StatusCmd says who uses which version of a credential.
type StatusCmd struct {
	ID string `arg:"" optional:"" help:"Any client id of the credential; the shared one where none is given."`
}

// Run prints it.
func (c *StatusCmd) Run(a *App) error {
	if c.ID != "" {
		if err := checkClientID(c.ID); err != nil {
			return err
		}
	}
	s, err := a.open(false)
	if err != nil {
		return err
	}
	answer, err := s.call("see who uses it", detailOf(c.ID))
	if err != nil || a.flags.JSON {
		return orWire(a, answer.Body, err)
	}
	var one httpapi.CredentialDetail
	if err := answer.Decode(&one); err != nil {
		return failed("see who uses it", err)
	}
	return a.data(statusText(one, a.Now()))
}

// detailOf asks for a credential with its versions; the shared one for "".
func detailOf(name string) httpapi.Request {
	if name == "" {
		return httpapi.Request{Path: "/v1/cluster/credentials"}
	}
	return httpapi.Request{Path: "/v1/credentials/" + name, Query: url.Values{"include": {"versions"}}}
}

// statusText is a block of lines for each version.
func statusText(c httpapi.CredentialDetail, now time.Time) string {
	name := c.ID
	if n := deref(c.Name); n != "" {
		name += fmt.Sprintf(" (%q)", plain(n))
	}
	text := name + "\n"
	for _, v := range c.Versions {
		head := fmt.Sprintf("version %d: %s", v.Version, v.Status)
		switch end := v.ExpiresAt.Time; {
		case v.Status == "superseded" && !end.IsZero():
			head += ", accepted until " + moment(end, now)
		case v.Status == "retired":
			head += " since " + moment(end, now)
		}
		text += head + "\n"
		if rows := usageRows(v, now); len(rows) > 0 {
			text += indent(table(rows)) + "\n"
		}
	}
	return text
}

// mostLines is how many peers or places are listed for a person; --json has them all.
const mostLines = 20

// usageRows are who accepts a version, who has used it, of whom that is not known, and what follows.
func usageRows(v httpapi.Version, now time.Time) [][]string {
	var rows [][]string
	add := func(label string, n int, line func(i int) string) {
		for i := range min(n, mostLines) {
			rows = append(rows, []string{label, line(i)})
			label = ""
		}
		if n > mostLines {
			rows = append(rows, []string{"", fmt.Sprintf("and %d more: see --json", n-mostLines)})
		}
	}
	add("accepted by", len(v.AcceptedBy), func(i int) string {
		return plain(v.AcceptedBy[i].Name) + " since " + moment(v.AcceptedBy[i].Since.Time, now)
	})
	add("last used", len(v.LastUsed), func(i int) string {
		u := v.LastUsed[i]
		return usedWhen(u, now) + ", " + times(u.Count)
	})
	live, since := v.Status == "current" || v.Status == "superseded", v.KnownSince.Time
	switch {
	case live && !since.IsZero() && len(v.LastUsed) == 0:
		rows = append(rows, []string{"last used", fmt.Sprintf("not since %s; of before nothing is known", moment(since, now))})
	case live && !since.IsZero():
		rows = append(rows, []string{"", fmt.Sprintf("of before %s nothing is known", moment(since, now))})
	case live && len(v.LastUsed) == 0:
		rows = append(rows, []string{"last used", "never, for all that is known of 30 days"})
	}
	add("not reported", len(v.Unreported), func(i int) string { return plain(v.Unreported[i].Name) + `: unknown, not "no use"` })
	add("not certain", len(v.Unsettled), func(i int) string {
		u := v.Unsettled[i]
		return whereUsed(u.Name, u.Source) + " at " + moment(u.At.Time, now) + ", and a newer one since: wait until " + settles(u.Until.Time, now)
	})
	if v.Verdict != nil {
		rows = append(rows, []string{"verdict", plain(v.Verdict.Text)})
	}
	return rows
}

// settles is from when on the next use of a newer version tells whether all at a place have moved on.
func settles(until, now time.Time) string {
	if now.After(until) {
		return "a newer one is used there again"
	}
	return moment(until, now)
}

// whereUsed is a host, and the address there.
func whereUsed(name, source string) string {
	if source == "" {
		return plain(name)
	}
	return plain(name + " (" + source + ")")
}

// usedWhen names a user, when it was seen, and what has become of its host.
func usedWhen(u httpapi.Sighting, now time.Time) string {
	text := whereUsed(u.Name, u.Source) + " at " + moment(u.At.Time, now)
	if u.Removed {
		text += " (that host is removed)"
	}
	return text
}

func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// warnEarly shows what revoking a version that is still accepted would do, and asks where somebody is there to be asked. Who
// may not read that is not kept from revoking.
func (c *RevokeCmd) warnEarly(s *session) error {
	target, err := id.ParseClientID(c.ID)
	if err != nil || target.Bare() {
		return nil
	}
	answer, err := s.call("see who uses it", detailOf(c.ID))
	var api *httpapi.Error
	if errors.As(err, &api) {
		return nil // the revocation itself says what is wrong
	}
	var one httpapi.CredentialDetail
	if err == nil {
		err = answer.Decode(&one)
	}
	if err != nil {
		return err
	}
	for _, v := range one.Versions {
		if v.Version != target.Version || v.Verdict == nil {
			continue
		}
		tell := s.screen.warn
		if v.Verdict.Safe {
			tell = s.screen.note
		}
		tell("%s is accepted until %s; %s", v.ClientID, moment(v.ExpiresAt.Time, s.Now()), plain(v.Verdict.Text))
		if s.interactive() && !c.Yes {
			return s.confirm("Revoke it now?")
		}
		return nil
	}
	return nil
}

// uses says who would need the new secret, and what is known of versions that were superseded before.
func (p plan) uses(now time.Time) [][]string {
	var rows [][]string
	for _, v := range p.target.Versions {
		switch {
		case v.Status == "current":
			for i, u := range v.LastUsed {
				if i == 5 {
					rows = append(rows, []string{"last used", fmt.Sprintf("%d more: see keyturn credentials status", len(v.LastUsed)-i)})
					break
				}
				rows = append(rows, []string{"last used", usedWhen(u, now)})
			}
		case v.Verdict != nil:
			rows = append(rows, []string{fmt.Sprintf("version %d", v.Version), "closing it " + closing(v.Verdict)})
		}
	}
	return rows
}

// closing is a verdict behind "closing it".
func closing(v *httpapi.Verdict) string {
	if v.Safe {
		return "is safe: " + plain(strings.TrimPrefix(v.Text, "safe to close: "))
	}
	if len(v.WouldLockOut) == 0 {
		return "is not known to be safe: " + plain(v.Text)
	}
	return plain(v.Text)
}
