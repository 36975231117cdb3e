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

// Answers to requests that were under way side by side may come in any order: what has been applied is there.
func TestReplica_HeadsAreNeverBelowTheCursors(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	if got := h.r.Heads(); len(got) != 0 {
		t.Errorf("before anything was told: %v", got)
	}
	s.create("local")
	older := s.page(nil, 100)
	s.create("local")
	s.create("other")
	h.apply(s.page(nil, 100))
	h.apply(older)
	if got := h.r.Heads(); got["local"] != 5 || got["other"] != 2 {
		t.Errorf("heads %v, cursors %v", got, h.r.Cursors())
	}
}

// A proof from the future does not count, and says that a clock is wrong for as long as none comes that is not.
func TestReplica_ClockBehind(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	h.pull(s)
	if h.r.ClockBehind(start) || h.r.ClockBehind(start.Add(-30*time.Second)) || !h.r.ClockBehind(start.Add(-31*time.Second)) {
		t.Error("the clock is behind by more than 30 seconds, and by no less")
	}
	stranger := newScribe(t, "local")
	stranger.seed = "stranger"
	for _, ahead := range []time.Duration{31 * time.Second, time.Hour} {
		unsigned := s.page(nil, 100)
		unsigned.Freshness = stranger.prove(nil, start.Add(ahead))
		h.apply(unsigned)
		if h.r.ClockBehind(start) {
			t.Errorf("%s: a stranger says so", ahead)
		}
		s.at = start.Add(ahead)
		h.pull(s)
		if !h.r.ClockBehind(start) || !h.r.ClockBehind(start.Add(20*time.Second)) || !h.r.Fresh().Equal(start) {
			t.Errorf("%s: behind %v, fresh %v", ahead, h.r.ClockBehind(start), h.r.Fresh())
		}
		if h.r.ClockBehind(start.Add(ahead + time.Minute)) {
			t.Errorf("%s: still, when this clock is past it", ahead)
		}
		s.withheld = true
		h.pull(s)
		if !h.r.ClockBehind(start) {
			t.Errorf("%s: a page without a proof says nothing of a clock", ahead)
		}
		s.withheld, s.at = false, start
		h.pull(s)
		if h.r.ClockBehind(start) {
			t.Errorf("%s: still, after a proof that is from now", ahead)
		}
	}
}

// A host whose clock was wrong from the start has never had a proof that counts.
func TestReplica_ClockBehindFromTheStart(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	h.at = start.Add(-45 * time.Second)
	h.pull(s)
	if !h.r.ClockBehind(h.at) || !h.r.Fresh().IsZero() {
		t.Errorf("behind %v, fresh %v", h.r.ClockBehind(h.at), h.r.Fresh())
	}
}
