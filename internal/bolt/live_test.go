package bolt_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
)

// What happens to a store whose file is damaged while it is open.

func liveStore(t *testing.T) (*bolt.Store, string) {
	t.Helper()
	path := newPath(t)
	filled(t, path, 2000, 500)
	return open(t, path), path
}

// damaged checks that a call has reported damage, and that every later one does, and that Close comes back.
func damaged(t *testing.T, s *bolt.Store, path string, err error) {
	t.Helper()
	if !errors.Is(err, bolt.ErrDamaged) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v, want ErrDamaged with the file's name", err)
	}
	if _, err := s.Heads(t.Context()); !errors.Is(err, bolt.ErrDamaged) {
		t.Errorf("heads: %v, want ErrDamaged", err)
	}
	if err := s.Append(t.Context(), specimenBatch("elsewhere", authority.Head{}, 0)); !errors.Is(err, bolt.ErrDamaged) {
		t.Errorf("append: %v, want ErrDamaged", err)
	}
	if _, err := s.Sweep(t.Context(), day); !errors.Is(err, bolt.ErrDamaged) {
		t.Errorf("sweep: %v, want ErrDamaged", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := bolt.Open(path, unhurried); !errors.Is(err, bolt.ErrDamaged) {
		t.Errorf("open: %v, want ErrDamaged (and not ErrLocked)", err)
	}
}

func TestStore_CutOffBetweenCalls(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{0, 5000, 300_000} {
		s, path := liveStore(t)
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		_, err := s.Ledger(t.Context(), "local", 0, 10)
		damaged(t, s, path, err)
	}
}

// Even what was cut off did not hold anything yet: somebody else has been at the file.
func TestStore_CutOffBehindItsPages(t *testing.T) {
	t.Parallel()
	s, path := liveStore(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Heads(t.Context()); !errors.Is(err, bolt.ErrDamaged) {
		t.Errorf("%v, want ErrDamaged", err)
	}
}

func TestLedger_HoleIsDamage(t *testing.T) {
	t.Parallel()
	s, _ := liveStore(t)
	if err := s.Lose("entries", bolt.EntryKey("local", 30), true); err != nil {
		t.Fatal(err)
	}
	for after := range uint64(30) {
		if es, err := s.Ledger(t.Context(), "local", after, 100); !errors.Is(err, bolt.ErrDamaged) || es != nil {
			t.Errorf("after %d: %d entries, %v, want ErrDamaged", after, len(es), err)
		}
	}
}

// Here the mapped file ends in the middle of a transaction: the processor faults.
func TestStore_CutOffInARead(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{0, 5000, 65536} {
		s, path := liveStore(t)
		err := s.SubjectAfter(func() { _ = os.Truncate(path, size) }, fleet(authority.Head{Seq: 1500}, 1).Entries[0].Subject)
		damaged(t, s, path, err)
	}
}

func TestStore_CutOffInAWrite(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{0, 5000, 65536} {
		s, path := liveStore(t)
		h, err := s.Heads(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = s.AppendAfter(func() { _ = os.Truncate(path, size) }, fleet(h["local"], 3))
		damaged(t, s, path, err)
	}
}

func TestStore_CutOffUnderLoad(t *testing.T) {
	t.Parallel()
	s, path := liveStore(t)
	h, err := s.Heads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			head := h["local"]
			for n := 0; ; n++ {
				var err error
				if i == 0 {
					b := fleet(head, 2)
					if err = s.Append(t.Context(), b); err == nil {
						head = authority.Head{Seq: b.Entries[1].Seq, Sum: b.Entries[1].Sum}
					}
				} else {
					_, err = s.Ledger(t.Context(), "local", uint64(n*50%2000), 50)
				}
				if i == 1 && n == 20 {
					_ = os.Truncate(path, 100_000)
				}
				if err == nil {
					continue
				}
				if !errors.Is(err, bolt.ErrDamaged) {
					t.Errorf("%v, want ErrDamaged", err)
				}
				return
			}
		})
	}
	all.Wait()
	_, err = s.Heads(t.Context())
	damaged(t, s, path, err)
}

// Zeros where pages were, but the size is right: pages and values have to speak for themselves.
func TestStore_ZeroedBetweenCalls(t *testing.T) {
	t.Parallel()
	s, path := liveStore(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteAt(make([]byte, info.Size()-8192), 8192); err != nil {
		t.Fatal(err)
	}
	_, err = s.Ledger(t.Context(), "local", 0, 10)
	damaged(t, s, path, err)
}

// A value that no longer fits its checksum is damage of that one item: the rest goes on being answered.
func TestStore_ValueChangedBetweenCalls(t *testing.T) {
	t.Parallel()
	s, path := liveStore(t)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	record := fmt.Appendf(nil, "%-700d", 1234)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for at := 0; ; { // in use or not: every copy of it
		i := bytes.Index(b[at:], record)
		if i < 0 {
			break
		}
		at += i + 1
		if _, err := f.WriteAt([]byte("9"), int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	name := fleet(authority.Head{Seq: 1233}, 1).Entries[0].Subject
	if _, err := s.Subject(t.Context(), name); !errors.Is(err, bolt.ErrDamaged) {
		t.Errorf("subject: %v, want ErrDamaged", err)
	}
	if es, err := s.Ledger(t.Context(), "local", 1230, 10); !errors.Is(err, bolt.ErrDamaged) || es != nil {
		t.Errorf("ledger: %d entries, %v, want ErrDamaged and none", len(es), err)
	}
	if es, err := s.Ledger(t.Context(), "local", 1234, 10); err != nil || len(es) != 10 {
		t.Errorf("the ledger after it: %d entries, %v", len(es), err)
	}
}

func TestStore_DoubtfulCommitIsMadeSureFirst(t *testing.T) {
	t.Parallel()
	s, _ := liveStore(t)
	before := s.Transaction()
	s.Doubt()
	if _, err := s.Heads(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.Transaction() - before; n != 1 || s.Doubtful() {
		t.Errorf("%d commits before the answer, want 1; still in doubt: %t", n, s.Doubtful())
	}
	if _, err := s.Heads(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.Transaction() - before; n != 1 {
		t.Errorf("%d commits, want 1", n)
	}
}
