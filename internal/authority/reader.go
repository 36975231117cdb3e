package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/peer"
)

// Reader joins subjects from the entries in a Store: the same answers on an authority and over a copy of its ledgers. It may
// be used from many goroutines.
type Reader struct {
	store Store
	check func(data []byte) (*ledger.Record, error)
	known *memory[*credential.Credential] // nil: nothing is remembered
	peers *memory[*peer.Peer]
}

// NewReader returns a Reader over a store, with the check that each record has to pass. Where nobody but the caller writes to
// the store, it can remember what it has joined; then each write has to be announced, see Writing.
func NewReader(store Store, check func(data []byte) (*ledger.Record, error), remember bool) *Reader {
	r := &Reader{store: store, check: check}
	if remember {
		r.known, r.peers = newMemory[*credential.Credential](), newMemory[*peer.Peer]()
	}
	return r
}

// Writing announces that these subjects are about to change in the store. Nothing is remembered of them until done is
// called, whatever came of the write.
func (r *Reader) Writing(subjects map[string]bool) (done func()) {
	r.known.begin(subjects)
	r.peers.begin(subjects)
	return func() {
		r.known.end()
		r.peers.end()
	}
}

// Credential implements access.View: one strongly consistent read, or what is remembered of it.
func (r *Reader) Credential(ctx context.Context, at time.Time, subject id.ID) (*credential.Credential, error) {
	if c, ok := r.known.get(subject, at); ok {
		return c, nil
	}
	turn := r.known.turn()
	entries, err := r.entries(ctx, subject.String())
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, access.ErrUnknown
	case err != nil:
		return nil, unavailable("read "+subject.String(), err)
	}
	entries, span := alive(entries, at)
	c, err := r.join(subject, entries)
	if err != nil {
		return nil, err
	}
	r.known.put(subject, remembered[*credential.Credential]{c, span}, turn)
	return c, nil
}

// Peer implements access.View, with one strongly consistent read, or what is remembered of it.
func (r *Reader) Peer(ctx context.Context, at time.Time, subject id.ID) (*peer.Peer, error) {
	if p, ok := r.peers.get(subject, at); ok {
		return p, nil
	}
	turn := r.peers.turn()
	records, span, err := r.subjectRecords(ctx, at, subject)
	if err != nil {
		return nil, err
	}
	p := ledger.JoinPeer(records)
	if p == nil {
		return nil, access.ErrUnknown // the record that says so has not arrived yet
	}
	r.peers.put(subject, remembered[*peer.Peer]{p, span}, turn)
	return p, nil
}

// subjectRecords reads and checks the records of a subject that has no secrets.
func (r *Reader) subjectRecords(ctx context.Context, at time.Time, subject id.ID) ([]*ledger.Record, span, error) {
	entries, err := r.entries(ctx, subject.String())
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, span{}, access.ErrUnknown
	case err != nil:
		return nil, span{}, unavailable("read "+subject.String(), err)
	}
	entries, span := alive(entries, at)
	records, err := r.open(subject, entries)
	return records, span, err
}

// join checks the entries of one credential and joins them.
func (r *Reader) join(subject id.ID, entries []Entry) (*credential.Credential, error) {
	records, err := r.open(subject, entries)
	if err != nil {
		return nil, err
	}
	c := ledger.JoinCredential(records)
	if c == nil || len(c.Versions) == 0 && c.RevokedAt.IsZero() {
		return nil, access.ErrUnknown // the rest of the transaction that made it has not arrived yet
	}
	for _, e := range entries {
		if e.Secret != nil {
			ledger.AttachHash(c, e.Region, e.Seq, e.Secret)
		}
	}
	return c, nil
}

// open checks the entries of one subject. A record that no trusted key signed, or that lies where it does not belong, is an
// error: somebody wrote to the store, and an answer made from the rest could be what they want. The store's word for the
// subject does not count: with it, a record of the writer's own credential would get them into this one.
func (r *Reader) open(subject id.ID, entries []Entry) ([]*ledger.Record, error) {
	records := make([]*ledger.Record, 0, len(entries))
	for _, e := range entries {
		rec, err := r.check(e.Data)
		if err != nil {
			return nil, fmt.Errorf("%w: record %s:%d of %s: %w", access.ErrUnavailable, e.Region, e.Seq, e.Subject, err)
		}
		if rec.Subject != subject || rec.Seq != e.Seq || rec.Region != e.Region {
			return nil, fmt.Errorf("%w: record %s:%d of %s lies at %s:%d of %s",
				access.ErrUnavailable, rec.Region, rec.Seq, rec.Subject, e.Region, e.Seq, subject)
		}
		records = append(records, rec)
	}
	return records, nil
}

// alive leaves out what the clock has ended, whether or not the store has deleted it: the answer does not depend on when a
// store gets round to it. The span says when the clock would leave out the same.
func alive(entries []Entry, at time.Time) ([]Entry, span) {
	kept := entries[:0]
	var s span
	for _, e := range entries {
		if s.over(e.CopyExpires, at) {
			continue
		}
		if s.over(e.SecretExpires, at) {
			e.Secret = nil
		}
		kept = append(kept, e)
	}
	return kept, s
}

// span is the time in which no date passes: from is in it, until is not. A zero end is open.
type span struct{ from, until time.Time }

// over reports whether a date has passed at instant at, and narrows the span to the side of it on which at is. Zero never
// passes.
func (s *span) over(date, at time.Time) bool {
	switch {
	case date.IsZero():
		return false
	case at.Before(date):
		if s.until.IsZero() || date.Before(s.until) {
			s.until = date
		}
		return false
	}
	if date.After(s.from) {
		s.from = date
	}
	return true
}

func (s span) holds(at time.Time) bool {
	return !at.Before(s.from) && (s.until.IsZero() || at.Before(s.until))
}
