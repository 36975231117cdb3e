package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
)

var claimFacts = []fact{
	{"UnknownIsNotFound", func(t *testing.T, u *user) {
		if _, err := u.Claimed(u.ctx, "k"); !errors.Is(err, authority.ErrNotFound) {
			t.Errorf("unknown claim: %v, want ErrNotFound", err)
		}
	}},
	{"IsTakenOnce", func(t *testing.T, u *user) {
		if err := u.claim(t, "k", past, future); err != nil {
			t.Error(err)
		}
		conflict(t, "second claim", u.claim(t, "k", past, future))
		if err := u.claim(t, "k2", past, future); err != nil {
			t.Errorf("another key: %v", err)
		}
	}},
	{"CanBeRead", func(t *testing.T, u *user) {
		want := authority.Claim{Key: "k", Value: []byte{0, 1, 0xff}, At: past, ExpiresAt: future}
		if err := u.Claim(u.ctx, want); err != nil {
			t.Fatal(err)
		}
		sameClaim(t, u, want)
		conflict(t, "second claim", u.claim(t, "k", past, future.Add(time.Hour)))
		sameClaim(t, u, want) // the loser changed nothing
	}},
	{"OfABatchIsTheSame", func(t *testing.T, u *user) {
		b := batch("local", authority.Head{}, "a")
		b.Claims = []authority.Claim{
			{Key: "k", Value: []byte("v"), At: past, ExpiresAt: future},
			{Key: "k2", At: past, ExpiresAt: future},
		}
		head := u.append(t, b)
		sameClaim(t, u, b.Claims[0])
		conflict(t, "claim alone after a batch's", u.claim(t, "k", past, future))
		if err := u.claim(t, "k3", past, future); err != nil {
			t.Error(err)
		}
		b = batch("local", head, "a")
		b.Claims = []authority.Claim{{Key: "k3", At: past, ExpiresAt: future}}
		conflict(t, "a batch's claim after one alone", u.Append(u.ctx, b))
	}},
}

func sameClaim(t *testing.T, u *user, want authority.Claim) {
	t.Helper()
	got, err := u.Claimed(u.ctx, want.Key)
	if err != nil {
		t.Fatal(err)
	}
	if got.Key != want.Key || string(got.Value) != string(want.Value) ||
		!got.ExpiresAt.Equal(want.ExpiresAt) || !got.Yields.Equal(want.Yields) {
		t.Errorf("claim:\n got %+v\nwant %+v", got, want)
	}
}

// No clock but the one in the arguments decides. The claims here have all expired long ago, or will long hence.
var timeFacts = []fact{
	{"ClaimHoldsUntilItExpires", func(t *testing.T, u *user) {
		until := past.Add(time.Hour)
		if err := u.claim(t, "k", past, until); err != nil {
			t.Error(err)
		}
		conflict(t, "a second before", u.claim(t, "k", until.Add(-time.Second), future))
		if err := u.claim(t, "k", until, until.Add(time.Hour)); err != nil {
			t.Errorf("at the very instant: %v", err)
		}
		conflict(t, "the new holder, at the same instant", u.claim(t, "k", until, future))
	}},
	{"ClaimOfTheFutureExpiresToo", func(t *testing.T, u *user) {
		if err := u.claim(t, "k", future, future.Add(time.Hour)); err != nil {
			t.Error(err)
		}
		conflict(t, "before it expires", u.claim(t, "k", past, future))
		if err := u.claim(t, "k", future.Add(2*time.Hour), future.Add(3*time.Hour)); err != nil {
			t.Errorf("after it has expired: %v", err)
		}
	}},
	{"ClaimYieldsBeforeItExpires", func(t *testing.T, u *user) {
		note := authority.Claim{Key: "k", Value: []byte("old"), At: past, ExpiresAt: future, Yields: past.Add(time.Hour)}
		if err := u.Claim(u.ctx, note); err != nil {
			t.Fatal(err)
		}
		sameClaim(t, u, note)
		late := note
		late.Value, late.At = []byte("too soon"), note.Yields.Add(-time.Second)
		conflict(t, "a second before it yields", u.Claim(u.ctx, late))
		sameClaim(t, u, note)
		late.Value, late.At, late.Yields = []byte("new"), note.Yields, time.Time{}
		if err := u.Claim(u.ctx, late); err != nil {
			t.Errorf("at the very instant: %v", err)
		}
		sameClaim(t, u, late)
		conflict(t, "the new holder does not yield", u.claim(t, "k", future.Add(-time.Second), future))
	}},
	{"BatchTakesAClaimThatYields", func(t *testing.T, u *user) {
		note := authority.Claim{Key: "k", At: past, ExpiresAt: future, Yields: past.Add(time.Hour)}
		b := batch("local", authority.Head{}, "a")
		b.Claims = []authority.Claim{note}
		head := u.append(t, b)
		sameClaim(t, u, note)
		b = batch("local", head, "a")
		b.Claims = []authority.Claim{{Key: "k", Value: []byte("new"), At: note.Yields.Add(-time.Second), ExpiresAt: future}}
		conflict(t, "a second before it yields", u.Append(u.ctx, b))
		b.Claims[0].At = note.Yields
		u.append(t, b)
		sameClaim(t, u, b.Claims[0])
	}},
	{"BatchTakesAnExpiredClaim", func(t *testing.T, u *user) {
		until := past.Add(time.Hour)
		if err := u.claim(t, "k", past, until); err != nil {
			t.Error(err)
		}
		b := batch("local", authority.Head{}, "a")
		b.Claims = []authority.Claim{{Key: "k", Value: []byte("new"), At: until.Add(-time.Second), ExpiresAt: future}}
		conflict(t, "a second before", u.Append(u.ctx, b))
		b.Claims[0].At = until
		u.append(t, b)
		sameClaim(t, u, b.Claims[0])
	}},
	{"EarliestExpiryWins", func(t *testing.T, u *user) {
		early, late := future, future.Add(1000*time.Hour)
		for _, order := range [][]time.Time{{early, late}, {late, early}, {late, early, late}} {
			name := u.dated(t, time.Time{}, order...)
			u.checkDates(t, name, early)
		}
	}},
	{"ExpiryOfTheEntryItselfCounts", func(t *testing.T, u *user) {
		early, late := future, future.Add(1000*time.Hour)
		u.checkDates(t, u.dated(t, early, late), early)
		u.checkDates(t, u.dated(t, late, early), early)
	}},
	{"ZeroLeavesADate", func(t *testing.T, u *user) {
		u.checkDates(t, u.dated(t, future, time.Time{}), future)
		u.checkDates(t, u.dated(t, time.Time{}, future, time.Time{}), future)
		u.checkDates(t, u.dated(t, time.Time{}, time.Time{}), time.Time{})
	}},
	{"DatesMoveOneByOne", func(t *testing.T, u *user) {
		name := u.dated(t, time.Time{})
		b := batch("local", u.heads(t)["local"], "other")
		b.Expiries = []authority.Expiry{{Subject: name, Region: name, Seq: 1, Secret: future}}
		u.append(t, b)
		if e := u.subject(t, name)[0]; !e.SecretExpires.Equal(future) || !e.CopyExpires.IsZero() {
			t.Errorf("secret expires %v, copy %v", e.SecretExpires, e.CopyExpires)
		}
	}},
	{"LedgerKeepsWhatHasExpired", func(t *testing.T, u *user) {
		b := batch("local", authority.Head{}, "a", "a")
		b.Entries[0].Secret, b.Entries[0].SecretExpires, b.Entries[0].CopyExpires = []byte("hash"), past, past
		u.append(t, b)
		es := u.ledger(t, "local")
		if len(es) != 2 || string(es[0].Data) != string(b.Entries[0].Data) {
			t.Fatalf("ledger: %+v", es)
		}
		if s := es[0].Secret; s != nil && string(s) != "hash" {
			t.Errorf("secret: %q", s)
		}
		for _, e := range u.subject(t, "a") {
			if e.Secret != nil && string(e.Secret) != "hash" {
				t.Errorf("secret: %q", e.Secret)
			}
		}
	}},
}

// dated appends an entry with a secret that expires at first, then dates it again with each of more. The entry has the
// subject and the region that dated returns.
func (u *user) dated(t *testing.T, first time.Time, more ...time.Time) string {
	t.Helper()
	name := "dated-" + string(rune('a'+len(u.heads(t))))
	b := batch(name, authority.Head{}, name)
	b.Entries[0].Secret, b.Entries[0].SecretExpires, b.Entries[0].CopyExpires = []byte("hash"), first, first
	u.append(t, b)
	for _, at := range more {
		b := batch("local", u.heads(t)["local"], "other")
		b.Expiries = []authority.Expiry{{Subject: name, Region: name, Seq: 1, Secret: at, Copy: at}}
		u.append(t, b)
	}
	return name
}

func (u *user) checkDates(t *testing.T, name string, want time.Time) {
	t.Helper()
	es := u.subject(t, name)
	if len(es) != 1 {
		t.Fatalf("%d entries, want 1", len(es))
	}
	if e := es[0]; !e.SecretExpires.Equal(want) || !e.CopyExpires.Equal(want) || string(e.Secret) != "hash" {
		t.Errorf("secret %q expires %v, copy %v, want %v", e.Secret, e.SecretExpires, e.CopyExpires, want)
	}
	if e := u.ledger(t, name)[0]; !e.SecretExpires.Equal(want) || string(e.Secret) != "hash" {
		t.Errorf("in the ledger: secret %q expires %v, want %v", e.Secret, e.SecretExpires, want)
	}
}

var contextFacts = []fact{
	{"EveryMethodGivesUp", func(t *testing.T, u *user) {
		b := u.grow(t, "local", "a")
		ended, end := context.WithCancel(u.ctx)
		end()
		_, err1 := u.Subject(ended, "a")
		_, err2 := u.Page(ended, "list", "", 1)
		_, err3 := u.Ledger(ended, "local", 0, 1)
		_, err4 := u.Heads(ended)
		_, err5 := u.Claimed(ended, "k")
		for method, err := range map[string]error{
			"Subject": err1, "Page": err2, "Ledger": err3, "Heads": err4, "Claimed": err5,
			"Append": u.Append(ended, batch("local", headAfter(b), "b")),
			"Claim":  u.Claim(ended, authority.Claim{Key: "k", At: past, ExpiresAt: future}),
		} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v, want context.Canceled", method, err)
			}
		}
		sameHead(t, u.heads(t)["local"], headAfter(b))
		if _, err := u.Claimed(u.ctx, "k"); !errors.Is(err, authority.ErrNotFound) {
			t.Errorf("claim of an ended context: %v", err)
		}
	}},
	{"DeadlineIsTheContextsError", func(t *testing.T, u *user) {
		late, end := context.WithDeadline(u.ctx, past)
		defer end()
		if _, err := u.Heads(late); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("heads: %v, want context.DeadlineExceeded", err)
		}
	}},
}
