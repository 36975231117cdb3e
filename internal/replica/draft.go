package replica

import (
	"context"
	"errors"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
)

// draft makes the entries of a batch, and the dates that its records set on earlier ones.
func (b *book) draft(ctx context.Context, batch batch) ([]authority.Entry, []authority.Expiry, error) {
	entries := make([]authority.Entry, len(batch.items))
	bySubject := map[string][]int{}
	for i, it := range batch.items {
		subject := it.Record.Subject.String()
		entries[i] = authority.Entry{
			Region: batch.after.Region, Seq: it.Record.Seq, Subject: subject, Data: it.data, Sum: it.Sum,
			Lists: listsOf(it.Record), Secret: it.hash,
		}
		if it.Record.Subject.Kind() == id.Client {
			bySubject[subject] = append(bySubject[subject], i)
		}
	}
	var expiries []authority.Expiry
	for subject, own := range bySubject {
		moved, err := b.date(ctx, subject, entries, batch.items, own)
		if err != nil {
			return nil, nil, err
		}
		expiries = append(expiries, moved...)
	}
	return entries, expiries, nil
}

// listsOf says which lists a record puts its subject into.
func listsOf(r *ledger.Record) []string {
	switch body := r.Decoded().(type) {
	case *ledger.ClusterBody:
		return []string{listClusters}
	case *ledger.PeerBody:
		return []string{listPeers}
	case *ledger.RevokedBody:
		if mayDie(r.Subject) {
			return []string{listDead}
		}
	case *ledger.VersionBody:
		if body.Emergency {
			return []string{listDead}
		}
	}
	return nil
}

// mayDie: credentials and peers are what tokens rest on.
func mayDie(subject id.ID) bool { return subject.Kind() == id.Client || subject.Kind() == id.Peer }

// date gives the entries of one credential their ends, from the join of all that is known of it, and returns the ends of
// those that are in the store already.
func (b *book) date(ctx context.Context, subject string, entries []authority.Entry, items []item, own []int) ([]authority.Expiry, error) {
	before, err := b.store.Subject(ctx, subject)
	if err != nil && !errors.Is(err, authority.ErrNotFound) {
		return nil, err
	}
	if len(before) == 0 && endless(items, own) {
		return nil, nil
	}
	var records []*ledger.Record
	known := map[place]authority.Entry{}
	for _, e := range before {
		r, err := ledger.Read(e.Data)
		if err != nil {
			return nil, err
		}
		records, known[place{e.Region, e.Seq}] = append(records, r), e
	}
	here := map[place]*authority.Entry{}
	for _, i := range own {
		records, here[place{entries[i].Region, entries[i].Seq}] = append(records, items[i].Record), &entries[i]
	}
	c := ledger.JoinCredential(records)
	if c == nil {
		return nil, nil // its creation is still to come, and dates all that is here then
	}
	var moved []authority.Expiry
	for _, x := range authority.Ends(c) {
		at := place{x.Region, x.Seq}
		if e := here[at]; e != nil {
			e.CopyExpires = x.Copy
			if e.Secret != nil {
				e.SecretExpires = x.Secret
			}
			continue
		}
		e := known[at]
		if e.Secret == nil || !sooner(x.Secret, e.SecretExpires) {
			x.Secret = time.Time{}
		}
		if !sooner(x.Copy, e.CopyExpires) {
			x.Copy = time.Time{}
		}
		if !x.Secret.IsZero() || !x.Copy.IsZero() {
			moved = append(moved, x)
		}
	}
	return moved, nil
}

// endless reports whether none of the records can end anything: a credential that never expires and its first version.
func endless(items []item, own []int) bool {
	versions := 0
	for _, i := range own {
		switch body := items[i].Record.Decoded().(type) {
		case *ledger.CredentialBody:
			if body.ExpiresAt != nil {
				return false
			}
		case *ledger.VersionBody:
			versions++
		default:
			return false
		}
	}
	return versions <= 1
}

// sooner reports whether a date moves forward another one. Zero is no date.
func sooner(to, from time.Time) bool {
	return !to.IsZero() && (from.IsZero() || to.Before(from))
}
