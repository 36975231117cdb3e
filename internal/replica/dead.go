package replica

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
)

// Dead says whose tokens are refused for ever: a credential's, all of them or those of some versions, or those that a removed
// peer has issued.
type Dead struct {
	ID       id.ID // of a credential or a peer
	Versions []int // nil: all
}

// longWalk is how many records after a cursor are looked through; beyond that all that is dead is listed.
const longWalk = 10_000

// Dead returns what has died after a cursor, maybe more than that, and the next cursor; from the beginning, "", all that is
// dead. A cursor names the copy that gave it, and is no cursor of one that was opened or put in its place later: the same
// numbers may stand for other records there, and what was dead may not be. Whoever has one has to begin anew, and to forget what
// was told before. Dead returns access.ErrRequest for such a cursor, and access.ErrUnavailable.
func (r *Replica) Dead(ctx context.Context, after string) (list []Dead, next string, err error) {
	b, done := r.reading()
	defer done()
	now := b.cursors() // before anything is read: what comes meanwhile is told again
	from, err := b.place(after, now)
	if err != nil {
		return nil, "", err
	}
	names, err := b.candidates(ctx, from, now)
	if err != nil {
		return nil, "", fmt.Errorf("%w: look for what has died: %w", access.ErrUnavailable, err)
	}
	for _, name := range names {
		d, dead, err := b.dead(ctx, name)
		if err != nil {
			return nil, "", fmt.Errorf("%w: %s: %w", access.ErrUnavailable, name, err)
		}
		if dead {
			list = append(list, d)
		}
	}
	return list, b.epoch + epochMark + now.String(), nil
}

// epochMark stands between the two parts of Dead's cursor: whose it is, and how far the ledgers have been looked through.
const epochMark = "/"

// place reads one of Dead's cursors.
func (b *book) place(text string, now authority.Cursor) (authority.Cursor, error) {
	if text == "" {
		return nil, nil
	}
	epoch, read, _ := strings.Cut(text, epochMark)
	c, err := authority.ParseCursor(read)
	if err != nil || epoch != b.epoch || !reached(now, c) {
		return nil, fmt.Errorf("%w: %.128q is no cursor of this copy of the ledgers: begin without one", access.ErrRequest, text)
	}
	return c, nil
}

// candidates are the subjects that may have died after a cursor.
func (b *book) candidates(ctx context.Context, after, now authority.Cursor) ([]string, error) {
	distance := uint64(0)
	for region, seq := range now {
		distance += seq - after[region]
	}
	if len(after) == 0 || distance > longWalk {
		return b.all(ctx, listDead)
	}
	subjects := map[string]bool{}
	for region, end := range now {
		for seq := after[region]; seq < end; {
			entries, err := b.store.Ledger(ctx, region, seq, 500)
			if err != nil {
				return nil, err
			}
			if len(entries) == 0 {
				return nil, fmt.Errorf("the ledger of %s ends at %d", region, seq)
			}
			for _, e := range entries {
				r, err := ledger.Read(e.Data)
				if err != nil {
					return nil, err
				}
				if kills(r) {
					subjects[e.Subject] = true
				}
				seq = e.Seq
			}
		}
	}
	return slices.Sorted(maps.Keys(subjects)), nil
}

// kills reports whether a record may be, or bring, the end of something. A version that another region made beside an
// emergency is born dead, so every rotation counts.
func kills(r *ledger.Record) bool {
	if !mayDie(r.Subject) {
		return false
	}
	switch r.Decoded().(type) {
	case *ledger.RevokedBody, *ledger.VersionBody:
		return true
	}
	return false
}

// all reads a whole list.
func (b *book) all(ctx context.Context, list string) ([]string, error) {
	var names []string
	for after := ""; ; after = names[len(names)-1] {
		page, err := b.store.Page(ctx, list, after, 1000)
		if err != nil || len(page) == 0 {
			return names, err
		}
		names = append(names, page...)
	}
}

// dead says what of a subject is dead.
func (b *book) dead(ctx context.Context, name string) (d Dead, dead bool, err error) {
	records, err := b.records(ctx, name)
	if errors.Is(err, authority.ErrNotFound) {
		return Dead{}, false, nil // its records have expired, and its tokens long before
	}
	if err != nil {
		return Dead{}, false, err
	}
	d.ID = id.ID(name)
	numbers := map[int]bool{}
	for _, r := range records {
		if body, ok := r.Decoded().(*ledger.RevokedBody); ok {
			if body.Version == 0 || d.ID.Kind() == id.Peer {
				return d, true, nil
			}
			numbers[body.Version] = true
		}
	}
	if c := ledger.JoinCredential(records); c != nil {
		if !slices.ContainsFunc(c.Versions, func(v credential.Version) bool { return !c.TokenDead(v.Number) }) && len(c.Versions) > 0 {
			return d, true, nil
		}
		for _, v := range c.Versions {
			if c.TokenDead(v.Number) {
				numbers[v.Number] = true
			}
		}
	}
	d.Versions = slices.Sorted(maps.Keys(numbers))
	return d, len(d.Versions) > 0, nil
}
