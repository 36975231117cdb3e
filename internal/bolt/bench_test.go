package bolt_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
)

// fleet is a batch as a busy authority writes it: records of some 700 bytes, every second one with a secret, two for
// each subject.
func fleet(after authority.Head, n int) authority.Batch {
	b := authority.Batch{Region: "local", After: after}
	for i := range n {
		seq := after.Seq + uint64(i) + 1
		sum := sha256.Sum256(fmt.Append(nil, seq))
		e := authority.Entry{
			Region: "local", Seq: seq, Subject: fmt.Sprintf("cli_%026d", seq*7919%1_000_003/2),
			Data: fmt.Appendf(make([]byte, 0, 700), "%-700d", seq), Sum: sum[:], Lists: []string{"credentials"},
		}
		if seq%2 == 0 {
			e.Secret, e.SecretExpires = sum[:], time.Unix(4e9+int64(seq), 0)
		}
		b.Entries = append(b.Entries, e)
	}
	return b
}

// filled writes a store of n entries to path and returns its head.
func filled(t testing.TB, path string, n, perBatch int) authority.Head {
	t.Helper()
	s, err := bolt.Open(path, unhurried)
	if err != nil {
		t.Fatal(err)
	}
	var head authority.Head
	for int(head.Seq) < n {
		b := fleet(head, min(perBatch, n-int(head.Seq)))
		if err := s.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		head = authority.Head{Seq: b.Entries[len(b.Entries)-1].Seq, Sum: b.Entries[len(b.Entries)-1].Sum}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return head
}

func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{1000, 200_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "keyturn.db")
			filled(b, path, n, 2000)
			info, err := os.Stat(path)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(info.Size())
			b.ReportAllocs()
			for b.Loop() {
				s, err := bolt.Open(path, unhurried)
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 32} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "keyturn.db")
			head := filled(b, path, 10_000, 1000)
			s := open(b, path)
			b.ReportAllocs()
			for b.Loop() {
				batch := fleet(head, n)
				if err := s.Append(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				last := batch.Entries[n-1]
				head = authority.Head{Seq: last.Seq, Sum: last.Sum}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

func BenchmarkSubject(b *testing.B) {
	path := filepath.Join(b.TempDir(), "keyturn.db")
	filled(b, path, 100_000, 2000)
	s := open(b, path)
	subject := fleet(authority.Head{Seq: 4999}, 1).Entries[0].Subject
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Subject(b.Context(), subject); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLedger(b *testing.B) {
	path := filepath.Join(b.TempDir(), "keyturn.db")
	filled(b, path, 10_000, 2000)
	s := open(b, path)
	b.ReportAllocs()
	for b.Loop() {
		if es, err := s.Ledger(b.Context(), "local", 3000, 500); err != nil || len(es) != 500 {
			b.Fatal(len(es), err)
		}
	}
}
