// Package storetest is the suite that every authority.Store passes, and a store that fails on purpose.
//
// The suite knows the contract and nothing else: not how a store keeps things, not when it deletes what has expired. Its
// batches stay small (at most eight entries, a few claims and limits) and its names printable, so that any store can take
// them. Dates are either before 2002 or after 2080, so that no store's own clock comes near them by accident.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
)

// Run checks everything that the Store contract promises. open returns a new, empty store that is closed when its t
// ends; it is called from parallel tests.
func Run(t *testing.T, open func(t *testing.T) authority.Store) {
	for _, part := range []struct {
		name  string
		facts []fact
	}{
		{"Append", appendFacts},
		{"Atomic", atomicFacts},
		{"Subject", subjectFacts},
		{"Ledger", ledgerFacts},
		{"Page", pageFacts},
		{"Claim", claimFacts},
		{"Limit", limitFacts},
		{"Time", timeFacts},
		{"Context", contextFacts},
		{"Races", raceFacts},
		{"Faults", faultFacts},
	} {
		t.Run(part.name, func(t *testing.T) {
			for _, f := range part.facts {
				t.Run(f.name, func(t *testing.T) {
					t.Parallel()
					f.check(t, &user{Store: open(t), ctx: t.Context()})
				})
			}
		})
	}
}

// A fact is one thing that the contract says, and how to see it in a new store.
type fact struct {
	name  string
	check func(t *testing.T, u *user)
}

// Instants far from the clock of any machine that runs this.
var (
	past   = time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	future = time.Date(2081, 2, 3, 4, 5, 6, 0, time.UTC)
)

// A user of a store, with the questions that tests ask again and again.
type user struct {
	authority.Store
	ctx context.Context
}

// batch is the next batch of a ledger: one entry for each subject.
func batch(region string, after authority.Head, names ...string) authority.Batch {
	b := authority.Batch{Region: region, After: after}
	for i, name := range names {
		seq := after.Seq + uint64(i) + 1
		data := fmt.Appendf(nil, "%s:%d\x00\xff %s", region, seq, name)
		sum := sha256.Sum256(data)
		b.Entries = append(b.Entries, authority.Entry{Region: region, Seq: seq, Subject: name, Data: data, Sum: sum[:]})
	}
	return b
}

// headAfter is the head that b leaves behind.
func headAfter(b authority.Batch) authority.Head {
	last := b.Entries[len(b.Entries)-1]
	return authority.Head{Seq: last.Seq, Sum: last.Sum}
}

// append commits b and returns the head that it leaves behind.
func (u *user) append(t *testing.T, b authority.Batch) authority.Head {
	t.Helper()
	if err := u.Append(u.ctx, b); err != nil {
		t.Fatalf("append: %v", err)
	}
	return headAfter(b)
}

// grow appends one batch of entries to the end of a ledger, whatever that is.
func (u *user) grow(t *testing.T, region string, names ...string) authority.Batch {
	t.Helper()
	b := batch(region, u.heads(t)[region], names...)
	u.append(t, b)
	return b
}

func (u *user) heads(t *testing.T) map[string]authority.Head {
	t.Helper()
	h, err := u.Heads(u.ctx)
	if err != nil {
		t.Fatalf("heads: %v", err)
	}
	return h
}

// subject returns the entries of a subject; there are none when it is not found.
func (u *user) subject(t *testing.T, name string) []authority.Entry {
	t.Helper()
	es, err := u.Subject(u.ctx, name)
	switch {
	case errors.Is(err, authority.ErrNotFound):
		if len(es) != 0 {
			t.Errorf("subject %s: not found, yet %d entries", name, len(es))
		}
	case err != nil:
		t.Fatalf("subject %s: %v", name, err)
	case len(es) == 0:
		t.Errorf("subject %s: no entries, yet not ErrNotFound", name)
	}
	return es
}

// ledger reads a whole ledger in pages of three.
func (u *user) ledger(t *testing.T, region string) []authority.Entry {
	t.Helper()
	var all []authority.Entry
	for after := uint64(0); ; after = all[len(all)-1].Seq {
		es, err := u.Ledger(u.ctx, region, after, 3)
		if err != nil {
			t.Fatalf("ledger of %s after %d: %v", region, after, err)
		}
		if len(es) > 3 {
			t.Fatalf("ledger of %s: %d entries where 3 were asked", region, len(es))
		}
		if len(es) == 0 {
			return all
		}
		all = append(all, es...)
	}
}

func (u *user) page(t *testing.T, list, after string, limit int) []string {
	t.Helper()
	names, err := u.Page(u.ctx, list, after, limit)
	if err != nil {
		t.Fatalf("page of %s after %q: %v", list, after, err)
	}
	return names
}

// room counts how often the counter can still be moved up by one before it passes limit. It moves it, and grows the
// ledger of the region "room".
func (u *user) room(t *testing.T, counter string, limit int) int {
	t.Helper()
	for n := 0; ; n++ {
		b := batch("room", u.heads(t)["room"], "room")
		b.Limits = []authority.Limit{{Name: counter, Delta: 1, Max: limit}}
		err := u.Append(u.ctx, b)
		if errors.Is(err, authority.ErrConflict) {
			return n
		}
		if err != nil {
			t.Fatalf("append: %v", err)
		}
	}
}

// claim returns what Claim says: nil or ErrConflict.
func (u *user) claim(t *testing.T, key string, at, expires time.Time) error {
	t.Helper()
	err := u.Claim(u.ctx, authority.Claim{Key: key, Value: []byte("of " + key), At: at, ExpiresAt: expires})
	if err != nil && !errors.Is(err, authority.ErrConflict) {
		t.Fatalf("claim %s: %v", key, err)
	}
	return err
}

// conflict checks that err is ErrConflict.
func conflict(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, authority.ErrConflict) {
		t.Errorf("%s: %v, want ErrConflict", what, err)
	}
}

// sameEntries compares what came back with what went in. Lists and Sum do not come back.
func sameEntries(t *testing.T, got, want []authority.Entry) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d entries, want %d", len(got), len(want))
		return
	}
	for i := range got {
		if !sameEntry(got[i], want[i]) {
			t.Errorf("entry %d:\n got %+v\nwant %+v", i, got[i], want[i])
		}
	}
}

func sameEntry(got, want authority.Entry) bool {
	return got.Region == want.Region && got.Seq == want.Seq && got.Subject == want.Subject &&
		bytes.Equal(got.Data, want.Data) && bytes.Equal(got.Secret, want.Secret) &&
		(got.Secret == nil) == (want.Secret == nil) &&
		got.SecretExpires.Equal(want.SecretExpires) && got.CopyExpires.Equal(want.CopyExpires) &&
		got.Lists == nil && got.Sum == nil
}

func sameHead(t *testing.T, got, want authority.Head) {
	t.Helper()
	if got.Seq != want.Seq || !bytes.Equal(got.Sum, want.Sum) {
		t.Errorf("head %d %x, want %d %x", got.Seq, got.Sum, want.Seq, want.Sum)
	}
}
