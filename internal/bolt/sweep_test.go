package bolt_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
)

func TestSweep_RemovesWhatHasExpired(t *testing.T) {
	t.Parallel()
	ctx, path := t.Context(), newPath(t)
	s := open(t, path)
	b := authority.Batch{Region: "local", Entries: []authority.Entry{
		{Region: "local", Seq: 1, Subject: "a", Data: []byte("one"), Secret: []byte("h1"), SecretExpires: day},
		{Region: "local", Seq: 2, Subject: "a", Data: []byte("two"), Secret: []byte("h2"), CopyExpires: day.Add(time.Hour)},
		{Region: "local", Seq: 3, Subject: "a", Data: []byte("three"), Secret: []byte("h3")},
	}, Claims: []authority.Claim{{Key: "k", At: day.AddDate(0, 0, -1), ExpiresAt: day}}}
	if err := s.Append(ctx, b); err != nil {
		t.Fatal(err)
	}
	sweep(t, s, day.Add(-time.Nanosecond), 0)
	sweep(t, s, day, 2) // the first secret and the claim
	sweep(t, s, day, 0)
	if _, err := s.Claimed(ctx, "k"); !errors.Is(err, authority.ErrNotFound) {
		t.Errorf("claim: %v, want ErrNotFound", err)
	}
	if es := subject(t, s, "a"); len(es) != 3 || es[0].Secret != nil || string(es[2].Secret) != "h3" {
		t.Errorf("subject: %+v", es)
	}
	sweep(t, s, day.Add(time.Hour), 1) // the second's copy
	if es := subject(t, s, "a"); len(es) != 2 || es[1].Seq != 3 {
		t.Errorf("subject: %+v", es)
	}
	es, err := s.Ledger(ctx, "local", 0, 9)
	if err != nil || len(es) != 3 || string(es[1].Data) != "two" || string(es[1].Secret) != "h2" {
		t.Errorf("ledger: %+v, %v", es, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path) // it still proves itself
}

func sweep(t *testing.T, s *bolt.Store, at time.Time, want int) {
	t.Helper()
	if n, err := s.Sweep(t.Context(), at); err != nil || n != want {
		t.Errorf("sweep at %v: %d, %v, want %d", at, n, err, want)
	}
}

func subject(t *testing.T, s *bolt.Store, name string) []authority.Entry {
	t.Helper()
	es, err := s.Subject(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return es
}

// Entries can still be dated when they, or their copies, were swept.
func TestSweep_IsNoObstacle(t *testing.T) {
	t.Parallel()
	ctx, path := t.Context(), newPath(t)
	s := open(t, path)
	first := authority.Batch{Region: "local", Entries: []authority.Entry{{
		Region: "local", Seq: 1, Subject: "a", Data: []byte("one"),
		Secret: []byte("h1"), SecretExpires: day, CopyExpires: day,
	}}, Claims: []authority.Claim{{Key: "k", At: day.AddDate(0, 0, -1), ExpiresAt: day}}}
	if err := s.Append(ctx, first); err != nil {
		t.Fatal(err)
	}
	sweep(t, s, day, 3)
	second := authority.Batch{
		Region: "local", After: authority.Head{Seq: 1},
		Entries:  []authority.Entry{{Region: "local", Seq: 2, Subject: "a", Data: []byte("two")}},
		Expiries: []authority.Expiry{{Subject: "a", Region: "local", Seq: 1, Secret: day.AddDate(0, 0, -1), Copy: day.AddDate(0, 0, -1)}},
		Claims:   []authority.Claim{{Key: "k", Value: []byte("again"), At: day.AddDate(0, 0, -1), ExpiresAt: day.AddDate(1, 0, 0)}},
	}
	if err := s.Append(ctx, second); err != nil {
		t.Fatal(err)
	}
	sweep(t, s, day, 0)
	if es := subject(t, s, "a"); len(es) != 1 || es[0].Seq != 2 {
		t.Errorf("subject: %+v", es)
	}
	if c, err := s.Claimed(ctx, "k"); err != nil || string(c.Value) != "again" {
		t.Errorf("claim: %+v, %v", c, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestSweep_GoesOnInBatches(t *testing.T) {
	t.Parallel()
	ctx, path := t.Context(), newPath(t)
	s := open(t, path)
	const n = 2500 // two and a half batches
	b := authority.Batch{Region: "local"}
	for i := range n {
		b.Entries = append(b.Entries, authority.Entry{
			Region: "local", Seq: uint64(i) + 1, Subject: fmt.Sprintf("s%d", i%7), Data: []byte("d"),
			Secret: []byte("h"), SecretExpires: day.Add(time.Duration(i) * time.Second),
		})
	}
	if err := s.Append(ctx, b); err != nil {
		t.Fatal(err)
	}
	before := s.Transaction()
	sweep(t, s, day.Add((n-11)*time.Second), n-10)
	if steps := s.Transaction() - before; steps != 3 {
		t.Errorf("%d transactions, want 3", steps)
	}
	left := 0
	for i := range 7 {
		for _, e := range subject(t, s, fmt.Sprintf("s%d", i)) {
			if e.Secret != nil {
				left++
			}
		}
	}
	if left != 10 {
		t.Errorf("%d secrets left, want 10", left)
	}
	before = s.Transaction()
	sweep(t, s, day, 0)
	if s.Transaction() != before {
		t.Error("a sweep of nothing wrote to the file")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestSweep_GivesUp(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t))
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := s.Sweep(ended, day); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}

// An index that names what is not there is damage: guessing would hide it.
func TestSweep_IndexOutOfStepIsDamage(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t))
	if err := s.Append(t.Context(), specimenBatch("local", authority.Head{}, 0)); err != nil {
		t.Fatal(err)
	}
	if err := s.Lose("claims", "claim-00", true); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Sweep(t.Context(), day.AddDate(1, 0, 0)); !errors.Is(err, bolt.ErrDamaged) || n != 0 {
		t.Errorf("%d, %v, want ErrDamaged", n, err)
	}
	if es := subject(t, s, "cli_00"); es[0].Secret == nil {
		t.Error("a sweep that failed has removed something")
	}
}
