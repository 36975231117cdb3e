package replica_test

import (
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/replica"
)

// restored puts the ledger of a region back to its first records, as a backup does, and has something else written to it.
func (s *scribe) restored(region string, kept, written int) {
	s.mu.Lock()
	s.lines[region] = s.lines[region][:kept:kept]
	s.mu.Unlock()
	for range written {
		s.revoke(region, s.newID(id.Client), 0)
	}
}

// A restored authority that writes as many records as it had lost, or that shows only some: no record tells of the fork, and
// the proof of freshness does. It is found again after a restart, and never counts.
func TestReplica_NoticesAForkByItsSum(t *testing.T) {
	t.Parallel()
	for name, fork := range map[string]func(h *host, s *scribe) authority.LedgerPage{
		"AsLong": func(h *host, s *scribe) authority.LedgerPage {
			s.restored("local", 3, 2)
			return s.page(h.r.Cursors(), 100)
		},
		"Shorter": func(h *host, s *scribe) authority.LedgerPage {
			s.restored("local", 3, 1)
			return s.page(h.r.Cursors(), 100)
		},
		"Elsewhere": func(h *host, s *scribe) authority.LedgerPage {
			s.restored("other", 1, 1)
			s.create("local")
			return s.page(h.r.Cursors(), 100)
		},
		"InOnePage": func(h *host, s *scribe) authority.LedgerPage { // with the records of the ledger before it
			s.create("local")
			s.create("local")
			p := s.page(h.r.Cursors(), 100)
			s.restored("local", 3, 3)
			p.Freshness = s.page(nil, 0).Freshness
			return p
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, h := newScribe(t, "local"), newHost(t, "anchor")
			s.create("local")
			s.create("local")
			s.create("other")
			h.pull(s)
			h.at, s.at = start.Add(time.Hour), start.Add(time.Hour)
			p := fork(h, s)
			for range 2 { // the second time after a restart
				if n, err := h.r.Apply(ctx, h.at, p); !errors.Is(err, replica.ErrBroken) {
					t.Fatalf("apply: %d, %v, want ErrBroken", n, err)
				}
				if !errors.Is(h.r.Broken(), replica.ErrBroken) || !h.r.Fresh().Equal(start) {
					t.Errorf("broken: %v, fresh %v", h.r.Broken(), h.r.Fresh())
				}
				h.reopen()
			}
			if told := h.told(replica.Broken); len(told) != 2 || !h.r.Fresh().Equal(start) {
				t.Errorf("told %v, fresh %v after a restart", told, h.r.Fresh())
			}
		})
	}
}

// A proof that waits for its heads is compared once they are here.
func TestReplica_AWaitingProofNamesItsRecords(t *testing.T) {
	t.Parallel()
	for name, forked := range map[string]bool{"Fork": true, "Good": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, h := newScribe(t, "local"), newHost(t, "anchor")
			s.create("local")
			first, rest := s.page(nil, 1), s.page(authority.Cursor{"local": 1}, 100)
			rest.Freshness = nil
			if forked {
				s.restored("local", 2, 1)
				first.Freshness = s.page(nil, 0).Freshness
			}
			h.apply(first)
			if !h.r.Fresh().IsZero() || h.r.Broken() != nil {
				t.Errorf("fresh %v, broken %v before the head is here", h.r.Fresh(), h.r.Broken())
			}
			n, err := h.r.Apply(ctx, h.at, rest)
			if n != 2 || forked != errors.Is(err, replica.ErrBroken) || forked != h.r.Fresh().IsZero() {
				t.Errorf("apply: %d, %v, fresh %v", n, err, h.r.Fresh())
			}
		})
	}
}

// What is no fork: another ledger before a resync, of which an older proof tells; a proof of an older authority, which names
// nothing; one that is behind the copy, and names what the copy has there.
func TestReplica_ASumIsNoForkWhere(t *testing.T) {
	t.Parallel()
	later := start.Add(time.Hour)
	for name, row := range map[string]struct {
		page  func(h *host, s *scribe) authority.LedgerPage
		fresh time.Time
	}{
		"TheProofIsNotNewer": {func(h *host, s *scribe) authority.LedgerPage {
			s.restored("local", 1, 2)
			return s.page(h.r.Cursors(), 100)
		}, start},
		"TheProofNamesNothing": {func(h *host, s *scribe) authority.LedgerPage {
			s.at, s.unsummed = later, true
			s.restored("local", 1, 2)
			return s.page(h.r.Cursors(), 100)
		}, later},
		"TheCopyIsAhead": {func(h *host, s *scribe) authority.LedgerPage {
			s.at = later
			behind := s.page(h.r.Cursors(), 100)
			s.create("local")
			s.withheld = true
			h.pull(s)
			return behind
		}, later},
		"TheHeadIsZero": {func(h *host, s *scribe) authority.LedgerPage {
			proof, err := signer("anchor").SignFreshness(ledger.Freshness{
				Cluster: clusterID, Heads: map[string]uint64{"other": 0}, Sums: map[string]string{"local": "x", "other": "x"}, At: later,
			})
			if err != nil {
				t.Fatal(err)
			}
			return authority.LedgerPage{Freshness: &proof}
		}, later},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, h := newScribe(t, "local"), newHost(t, "anchor")
			s.create("local")
			h.pull(s)
			h.at = later
			h.apply(row.page(h, s))
			if h.r.Broken() != nil || !h.r.Fresh().Equal(row.fresh) {
				t.Errorf("broken %v, fresh %v, want %v", h.r.Broken(), h.r.Fresh(), row.fresh)
			}
		})
	}
}
