package replica_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/replica"
)

func TestReplica_AnswersFromItsCopy(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	if _, err := h.r.Cluster(ctx); !errors.Is(err, access.ErrUnavailable) {
		t.Errorf("cluster of an empty copy: %v, want ErrUnavailable", err)
	}
	subject, host := s.create("local"), s.join("local", "one")
	h.pull(s)
	for range 2 { // the second time after a restart
		if c, err := h.r.Cluster(ctx); err != nil || c.ID != clusterID || c.Issuer != issuer {
			t.Errorf("cluster: %+v, %v", c, err)
		}
		c := h.credential(subject)
		if v := c.Versions[0]; v.Hash == nil || !v.Hash.Equal(hashOf(subject, 1, "")) {
			t.Errorf("hash: %v", v.Hash != nil)
		}
		p, err := h.r.Peer(ctx, h.at, host)
		if err != nil || p.Name != "one" {
			t.Errorf("peer: %+v, %v", p, err)
		}
		set, err := h.r.KeySet(ctx, h.at)
		if err != nil || len(set.Keys) != 1 || set.Keys[0].ID() != public("one token").ID() {
			t.Errorf("key set: %+v, %v", set, err)
		}
		if diff := cmp.Diff(authority.Cursor{"local": 4}, h.r.Cursors()); diff != "" {
			t.Errorf("cursors:\n%s", diff)
		}
		if !h.r.Fresh().Equal(start) {
			t.Errorf("fresh %v", h.r.Fresh())
		}
		h.reopen()
	}
	if set, err := h.r.KeySet(ctx, h.at); err != nil || len(set.Keys) != 1 { // is remembered
		t.Errorf("key set: %+v, %v", set, err)
	}
	s.revoke("local", host, 0)
	h.pull(s)
	if set, err := h.r.KeySet(ctx, h.at); err != nil || len(set.Keys) != 0 {
		t.Errorf("key set without the peer: %+v, %v", set, err)
	}
	if _, err := h.r.Credential(ctx, h.at, s.newID(id.Client)); !errors.Is(err, access.ErrUnknown) {
		t.Errorf("unknown credential: %v", err)
	}
}

func TestReplica_RefusesAnotherClustersStore(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	h.pull(s)
	store := h.store
	if _, err := replica.Open(ctx, store, public("another"), replica.Options{}); !errors.Is(err, replica.ErrAnchor) {
		t.Errorf("open with another anchor: %v, want ErrAnchor", err)
	}
}

// What does not fit is counted and told, and nothing after it in its region is applied. Other regions go on.
func TestReplica_KeepsOutWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(p *authority.LedgerPage, s *scribe){
		"Signature": func(p *authority.LedgerPage, s *scribe) {
			p.Records[1].Signature = slices.Clone(p.Records[1].Signature)
			p.Records[1].Signature[0] ^= 1
		},
		"Payload": func(p *authority.LedgerPage, s *scribe) {
			p.Records[1].Payload = append([]byte(" "), p.Records[1].Payload...)
		},
		"Key": func(p *authority.LedgerPage, s *scribe) { p.Records[1].KeyID = public("stranger").ID() },
		"Stranger": func(p *authority.LedgerPage, s *scribe) {
			s.signers["local"] = signer("stranger")
			s.forge(p, 1, s.cluster)
		},
		"Cluster": func(p *authority.LedgerPage, s *scribe) { s.forge(p, 1, foreignID) },
		"Garbage": func(p *authority.LedgerPage, s *scribe) { p.Records[1].Payload = []byte("{}") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, h := newScribe(t, "local"), newHost(t, "anchor")
			h.pull(s)
			before, after := s.create("local"), s.create("local")
			elsewhere := s.create("other")
			p := s.page(h.r.Cursors(), 100)
			good := s.page(h.r.Cursors(), 100)
			p = s.only(p, "local", "other")
			spoil(&p, s)
			n, err := h.r.Apply(ctx, h.at, p)
			if !errors.Is(err, replica.ErrRefused) || n != 3 {
				t.Errorf("apply: %d, %v, want 3 and ErrRefused", n, err)
			}
			if diff := cmp.Diff(authority.Cursor{"local": 2, "other": 2}, h.r.Cursors()); diff != "" {
				t.Errorf("cursors:\n%s", diff)
			}
			if h.r.Refused() != 1 || len(h.told(replica.Refused)) != 1 || h.r.Broken() != nil {
				t.Errorf("refused %d, told %v, broken %v", h.r.Refused(), h.told(replica.Refused), h.r.Broken())
			}
			if _, err := h.r.Credential(ctx, h.at, after); !errors.Is(err, access.ErrUnknown) {
				t.Errorf("what came after it: %v", err)
			}
			h.credential(elsewhere)
			h.apply(good)
			h.credential(before)
			h.credential(after)
		})
	}
}

// A page can hold no end of records that are none: one is enough to say.
func TestReplica_ToldOnceOfWhatIsNoRecord(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	p := s.page(nil, 100)
	p.Records = append(p.Records, make([]ledger.Signed, 50_000)...)
	if n, err := h.r.Apply(ctx, h.at, p); !errors.Is(err, replica.ErrRefused) || n != 1 || len(err.Error()) > 1000 {
		t.Errorf("apply: %d, %.1000v", n, err)
	}
	if told := h.told(replica.Refused); len(told) != 1 || h.r.Refused() != 1 {
		t.Errorf("told %d times, refused %d", len(told), h.r.Refused())
	}
}

// forge puts another record in the place of one of a page.
func (s *scribe) forge(p *authority.LedgerPage, i int, cluster id.ID) {
	region, seq, err := p.Records[i].Place()
	if err != nil {
		s.t.Fatalf("place: %v", err)
	}
	lines := s.lines[region]
	old := lines[seq-1].record
	s.lines[region], s.cluster = lines[:seq-1], cluster
	l := s.sign(region, old.Kind, old.Subject, old.Decoded(), nil)
	s.lines[region], s.cluster = lines, clusterID
	if p.Records[i], err = ledger.Decode(l.data); err != nil {
		s.t.Fatalf("decode: %v", err)
	}
}

// only puts the regions of a page into an order.
func (s *scribe) only(p authority.LedgerPage, regions ...string) authority.LedgerPage {
	var list []ledger.Signed
	for _, want := range regions {
		for _, r := range p.Records {
			if region, _, err := r.Place(); err == nil && region == want {
				list = append(list, r)
			}
		}
	}
	p.Records = list
	return p
}

// A hole is no fork: what belongs there is on its way.
func TestReplica_NeverMovesOverAHole(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	s.create("local")
	p := s.page(nil, 100)
	p.Records = []ledger.Signed{p.Records[0], p.Records[2]}
	if n := h.apply(p); n != 1 {
		t.Errorf("%d applied, want 1", n)
	}
	if h.r.Cursors()["local"] != 1 || h.r.Broken() != nil || h.r.Refused() != 0 || !h.r.Fresh().IsZero() {
		t.Errorf("cursors %v, broken %v, refused %d, fresh %v", h.r.Cursors(), h.r.Broken(), h.r.Refused(), h.r.Fresh())
	}
	h.pull(s)
}

func TestReplica_NoticesAFork(t *testing.T) {
	t.Parallel()
	for name, fork := range map[string]func(h *host, s *scribe) authority.LedgerPage{
		"AnotherPredecessor": func(h *host, s *scribe) authority.LedgerPage {
			last := s.lines["local"]
			s.lines["local"] = last[:len(last)-1]
			s.create("local")
			return s.page(h.r.Cursors(), 100)
		},
		"AnotherRecord": func(h *host, s *scribe) authority.LedgerPage {
			last := s.lines["local"]
			s.lines["local"] = last[:len(last)-1]
			s.create("local")
			return s.page(authority.Cursor{"local": 2}, 100)
		},
		"TwoOfOneNumber": func(h *host, s *scribe) authority.LedgerPage {
			s.create("local")
			p := s.page(h.r.Cursors(), 100)
			s.lines["local"] = s.lines["local"][:3]
			s.create("local")
			p.Records = append(p.Records, s.page(h.r.Cursors(), 100).Records...)
			return p
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, h := newScribe(t, "local"), newHost(t, "anchor")
			subject := s.create("local")
			h.pull(s)
			h.at, s.at = start.Add(time.Hour), start.Add(time.Hour)
			p := fork(h, s)
			if _, err := h.r.Apply(ctx, h.at, p); !errors.Is(err, replica.ErrBroken) {
				t.Fatalf("apply: %v, want ErrBroken", err)
			}
			if !errors.Is(h.r.Broken(), replica.ErrBroken) || len(h.told(replica.Broken)) != 1 {
				t.Errorf("broken: %v, told %v", h.r.Broken(), h.told(replica.Broken))
			}
			if _, err := h.r.Apply(ctx, h.at, s.page(nil, 1)); !errors.Is(err, replica.ErrBroken) {
				t.Errorf("a page after the fork: %v, want ErrBroken", err)
			}
			h.credential(subject) // it goes on answering
			if h.r.Fresh().After(start) {
				t.Errorf("fresh at %v, and the fork came after %v", h.r.Fresh(), start)
			}
		})
	}
}

// Somebody who cannot sign can send what they like.
func TestReplica_UnsignedIsNoFork(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	s.create("local")
	h.pull(s)
	s.signers["local"] = signer("stranger")
	p := s.page(nil, 100)
	s.forge(&p, 1, clusterID)
	if n, err := h.r.Apply(ctx, h.at, p); err != nil || n != 0 || h.r.Broken() != nil || h.r.Refused() != 1 {
		t.Errorf("apply: %d, %v, broken %v, refused %d", n, err, h.r.Broken(), h.r.Refused())
	}
}

// A ledger key that one region vouches for signs the records of another, in whatever order they come.
func TestReplica_LearnsLedgerKeys(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "zulu"), newHost(t, "anchor") // alphabetically after the other one
	s.signers["alpha"] = signer("alpha")
	subject := s.create("alpha")
	s.write("zulu", ledger.KindKey, clusterID, ledger.KeyBody{Use: ledger.UseLedger, Key: public("alpha")}, nil)
	if n := h.apply(s.only(s.page(nil, 100), "alpha", "zulu")); n != 4 {
		t.Errorf("%d applied, want 4", n)
	}
	h.reopen()
	s.revoke("alpha", subject, 0)
	h.pull(s)
	if c := h.credential(subject); c.RevokedAt.IsZero() {
		t.Error("the tombstone that the vouched key signed was not applied")
	}
}

func TestReplica_KeepsOnlyHashesThatFit(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	subject := s.create("local")
	p := s.page(nil, 100)
	wrong := hashOf(subject, 2, "")
	p.Hashes[0].Hash = wrong[:]
	h.apply(p)
	if v := h.credential(subject).Versions[0]; v.Hash != nil {
		t.Error("a hash that does not fit is used")
	}
	if e := entryAt(t, h, subject, 3); e.Secret != nil {
		t.Error("a hash that does not fit was kept")
	}
}

// A deadline and a tombstone date the hash, from whatever region and in whatever order they come, so that a sweep removes it.
func TestReplica_DatesHashes(t *testing.T) {
	t.Parallel()
	type story struct {
		end  func(s *scribe, subject id.ID)
		want time.Time
	}
	until := start.Add(time.Hour)
	for name, st := range map[string]story{
		"Deadline":  {func(s *scribe, subject id.ID) { s.rotate("local", subject, 2, until) }, until},
		"Emergency": {func(s *scribe, subject id.ID) { s.rotate("local", subject, 2, time.Time{}) }, start},
		"Tombstone": {func(s *scribe, subject id.ID) { s.revoke("local", subject, 1) }, start},
		"All":       {func(s *scribe, subject id.ID) { s.revoke("local", subject, 0) }, start},
		"Elsewhere": {func(s *scribe, subject id.ID) { s.revoke("other", subject, 0) }, start},
	} {
		for _, order := range []string{"After", "Before", "Together"} {
			t.Run(name+order, func(t *testing.T) {
				t.Parallel()
				s, h := newScribe(t, "local"), newHost(t, "anchor")
				subject := s.create("local")
				switch order {
				case "After":
					h.pull(s)
					st.end(s, subject)
				case "Before":
					st.end(s, subject)
					h.apply(s.only(s.page(nil, 1), "local")) // the founding record
					h.apply(s.only(s.page(nil, 100), "other"))
				case "Together":
					st.end(s, subject)
				}
				h.pull(s)
				e := entryAt(t, h, subject, 3)
				if !e.SecretExpires.Equal(st.want) || e.Secret == nil {
					t.Errorf("the hash ends %v, want %v", e.SecretExpires, st.want)
				}
				if _, err := h.store.(*bolt.Store).Sweep(ctx, st.want); err != nil {
					t.Fatal(err)
				}
				if e := entryAt(t, h, subject, 3); e.Secret != nil {
					t.Error("the hash is still there after the sweep")
				}
			})
		}
	}
}

func entryAt(t *testing.T, h *host, subject id.ID, seq uint64) authority.Entry {
	t.Helper()
	entries, err := h.store.Subject(ctx, subject.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Region == "local" && e.Seq == seq {
			return e
		}
	}
	t.Fatalf("no entry %d of %s", seq, subject)
	return authority.Entry{}
}

// When Changed is called, every reader sees the new state, and remembers nothing older.
func TestReplica_TellsAfterReadersSee(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	subject := s.create("local")
	h.pull(s)
	h.credential(subject) // is remembered
	var seen *credential.Credential
	var told []id.ID
	h.reopenWith(func(o *replica.Options) {
		o.Changed = func(subjects []id.ID, cluster bool) {
			told = subjects
			seen = h.credential(subject)
		}
	})
	h.credential(subject)
	news := h.r.Changed()
	s.revoke("local", subject, 0)
	h.pull(s)
	if seen == nil || seen.RevokedAt.IsZero() {
		t.Error("Changed was called before the tombstone could be seen")
	}
	if diff := cmp.Diff([]id.ID{subject}, told); diff != "" {
		t.Errorf("told of:\n%s", diff)
	}
	select {
	case <-news:
	default:
		t.Error("who waits for news was not woken")
	}
}

func (h *host) reopenWith(change func(*replica.Options)) {
	h.t.Helper()
	h.close()
	change(&h.o)
	h.open("anchor")
}

func TestReplica_GivesPages(t *testing.T) {
	t.Parallel()
	s, one, two := newScribe(t, "local"), newHost(t, "anchor"), newHost(t, "anchor")
	subject := s.create("local")
	s.rotate("local", subject, 2, start.Add(time.Hour))
	s.create("other")
	one.pull(s)
	for two.r.Cursors()["local"] < 4 {
		p, err := one.r.Page(ctx, start, two.r.Cursors(), 2)
		if err != nil {
			t.Fatal(err)
		}
		two.apply(p)
	}
	if diff := cmp.Diff(one.r.Cursors(), two.r.Cursors()); diff != "" {
		t.Errorf("cursors:\n%s", diff)
	}
	if diff := cmp.Diff(one.credential(subject), two.credential(subject)); diff != "" {
		t.Errorf("credential:\n%s", diff)
	}
	if !two.r.Fresh().Equal(start) {
		t.Errorf("fresh %v", two.r.Fresh())
	}
}
