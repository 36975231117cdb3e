package authority

import (
	"context"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
)

// scanned is how many records one page of the audit trail looks at, at most: with a filter a page may be empty and still
// have a next one.
const scanned = 5000

// Event is one line of the audit trail.
type Event struct {
	At        time.Time
	Actor     string // "" for the authority itself
	Action    string // one of Actions
	Subject   string
	Reason    string
	RequestID string
	Source    string
	Region    string
	Seq       uint64
}

// AuditFilter narrows the audit trail. A bare cli_<26> finds its versions too.
type AuditFilter struct {
	Subject string
	Actor   string
}

// Audit returns up to limit events after a cursor, oldest first per region, and the next cursor; "" at the end of what
// there is.
func (a *Authority) Audit(ctx context.Context, caller access.Caller, after string, limit int, f AuditFilter) ([]Event, string, error) {
	if err := caller.Require(credential.CredentialsRead); err != nil {
		return nil, "", err
	}
	cursor, err := ParseCursor(after)
	if err != nil {
		return nil, "", err
	}
	var events []Event
	end, err := a.read(ctx, cursor, scanned, func(e Entry, r *ledger.Record) bool {
		event, ok := eventOf(r)
		if !ok || !matches(event.Subject, f.Subject) || !matches(event.Actor, f.Actor) {
			return true
		}
		if len(events) == limit {
			return false
		}
		events = append(events, event)
		return true
	})
	if err != nil || end {
		return events, "", err
	}
	return events, cursor.String(), nil
}

// eventOf is the event that a record stands for; false for one that only completes another.
func eventOf(r *ledger.Record) (Event, bool) {
	action, subject := describe(r)
	return Event{
		At: r.At, Actor: r.Actor, Action: action, Subject: subject, Reason: r.Reason,
		RequestID: r.RequestID, Source: r.Source, Region: r.Region, Seq: r.Seq,
	}, action != ""
}

// Actions are all that an Event's Action may be, sorted.
func Actions() []string {
	return []string{
		"cluster.bootstrap", "cluster.home", "cluster.recover", "credential.create", "credential.revoke", "credential.rotate",
		"join_key.create", "join_key.revoke", "key.publish", "key.retire", "license.apply", "peer.change", "peer.join", "peer.remove",
	}
}

func describe(r *ledger.Record) (action, subject string) {
	subject = r.Subject.String()
	switch b := r.Decoded().(type) {
	case *ledger.ClusterBody:
		return "cluster.bootstrap", subject
	case *ledger.LicenseBody:
		return "license.apply", subject
	case *ledger.HomeBody:
		return "cluster.home", subject
	case *ledger.KeyBody:
		return "key.publish", b.Key.ID()
	case *ledger.KeyRetiredBody:
		return "key.retire", b.KeyID
	case *ledger.CredentialBody:
		if b.Recovery {
			return "cluster.recover", subject
		}
		return "credential.create", subject
	case *ledger.VersionBody:
		return describeVersion(r.Subject, b)
	case *ledger.RevokedBody:
		return describeRevoked(r.Subject, b)
	case *ledger.PeerBody:
		return "peer.join", subject
	case *ledger.PeerChangeBody:
		return "peer.change", subject
	case *ledger.JoinKeyBody:
		return "join_key.create", subject
	}
	return "", subject
}

func describeVersion(subject id.ID, b *ledger.VersionBody) (action, name string) {
	name = id.ClientID{Credential: subject, Version: b.Version}.String()
	switch {
	case b.Parent == "":
		return "", name // a credential's first secret: credential.create tells
	case b.Recovery:
		return "cluster.recover", name
	}
	return "credential.rotate", name
}

func describeRevoked(subject id.ID, b *ledger.RevokedBody) (action, name string) {
	switch subject.Kind() {
	case id.JoinKey:
		return "join_key.revoke", subject.String()
	case id.Peer:
		return "peer.remove", subject.String()
	}
	return "credential.revoke", id.ClientID{Credential: subject, Version: b.Version}.String()
}

// matches: exactly, or a version of the bare client id that was asked for.
func matches(name, wanted string) bool {
	return wanted == "" || name == wanted || strings.HasPrefix(name, wanted+"-")
}
