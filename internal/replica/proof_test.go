package replica_test

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/replica"
)

func TestReplica_IsAsFreshAsItsNewestProof(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	if age := h.r.Age(h.at); age < 1000*time.Hour {
		t.Errorf("age without any proof: %v", age)
	}
	h.pull(s)
	h.at, s.at = start.Add(time.Minute), start.Add(time.Minute)
	if age := h.r.Age(h.at); age != time.Minute {
		t.Errorf("age: %v, want a minute", age)
	}
	h.pull(s)
	if age := h.r.Age(h.at); age != 0 {
		t.Errorf("age: %v, want 0", age)
	}
	if age := h.r.Age(start); age != 0 {
		t.Errorf("age for a clock that was set back: %v, want 0", age)
	}
	s.at = start // an older proof changes nothing
	h.pull(s)
	if !h.r.Fresh().Equal(h.at) {
		t.Errorf("fresh %v after an older proof", h.r.Fresh())
	}
	h.reopen()
	if !h.r.Fresh().Equal(h.at) {
		t.Errorf("fresh %v after a restart, want %v", h.r.Fresh(), h.at)
	}
}

// A proof counts from when its heads are reached, be it long after it came.
func TestReplica_ProofWaitsForItsHeads(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	s.create("local")
	s.create("other")
	p := s.page(nil, 100)
	part := s.only(p, "local")
	h.apply(part)
	if !h.r.Fresh().IsZero() {
		t.Fatalf("fresh %v before the other region's ledger is here", h.r.Fresh())
	}
	s.withheld = true
	h.pull(s)
	if !h.r.Fresh().Equal(start) {
		t.Errorf("fresh %v, want %v", h.r.Fresh(), start)
	}
	h.reopen()
	if !h.r.Fresh().Equal(start) {
		t.Errorf("fresh %v after a restart, want %v", h.r.Fresh(), start)
	}
}

func TestReplica_ProofHasToCount(t *testing.T) {
	t.Parallel()
	s := newScribe(t, "local")
	stranger := newScribe(t, "local")
	stranger.seed = "stranger"
	foreign := newScribe(t, "local")
	foreign.cluster = foreignID
	old := s.prove(nil, start)
	tampered := *old
	tampered.Payload = append([]byte(" "), tampered.Payload...)
	for name, proof := range map[string]*ledger.Signed{
		"Stranger": stranger.prove(nil, start), "Cluster": foreign.prove(nil, start), "Tampered": &tampered,
		"Future": s.prove(nil, start.Add(31*time.Second)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, "anchor")
			s := newScribe(t, "local")
			p := s.page(nil, 100)
			p.Freshness = proof
			h.apply(p)
			if !h.r.Fresh().IsZero() || len(h.told(replica.Unproven)) != 1 || h.r.Cursors()["local"] != 1 {
				t.Errorf("fresh %v, told %v, cursors %v", h.r.Fresh(), h.told(replica.Unproven), h.r.Cursors())
			}
		})
	}
}

// Before it is known which cluster this is, nothing proves anything: not even the key that founded it.
func TestReplica_ProofNeedsTheCluster(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	h.apply(authority.LedgerPage{Freshness: s.prove(nil, start)})
	if !h.r.Fresh().IsZero() || len(h.told(replica.Unproven)) != 1 {
		t.Errorf("fresh %v, told %v", h.r.Fresh(), h.told(replica.Unproven))
	}
}

// The heads that were told last are told on, whatever they prove.
func TestReplica_TellsHeads(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	s.create("local")
	p := s.page(nil, 1)
	h.apply(p)
	if h.r.Heads()["local"] != 3 || h.r.Cursors()["local"] != 1 {
		t.Errorf("heads %v, cursors %v", h.r.Heads(), h.r.Cursors())
	}
	if p, err := h.r.Page(ctx, start, authority.Cursor{}, 10); err != nil || p.Freshness != nil || p.Heads["local"] != 1 {
		t.Errorf("page: %+v, %v", p, err)
	}
}
