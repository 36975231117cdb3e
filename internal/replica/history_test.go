package replica_test

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/replica"
	"github.com/keyturn/keyturn/internal/testdose"
)

// Whatever two regions write, in whatever order their records come, in pieces and more than once: in the end a copy says what
// the join of all records says, and it never says of the dead that they live.
func TestReplica_IsTheJoin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	round := 0
	history := func(t *rapid.T) {
		s := newScribe(t, "alpha")
		subjects := story(t, s)
		round++
		path := filepath.Join(dir, string(rune('a'+round%20))+".db")
		_ = remove(path)
		store, err := bolt.Open(path, bolt.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := replica.Open(ctx, store, public("anchor"), replica.Options{Now: func() time.Time { return start }})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		seen := map[id.ID]*credential.Credential{}
		for range 400 {
			if caughtUp(s, r) {
				break
			}
			deliver(t, s, r)
			if rapid.IntRange(0, 4).Draw(t, "look") == 0 {
				for _, subject := range subjects {
					look(t, r, subject, seen)
				}
			}
		}
		for !caughtUp(s, r) { // in the end all of it arrives
			if n, err := r.Apply(ctx, start, s.page(r.Cursors(), 100)); err != nil || n == 0 {
				t.Fatalf("apply the rest: %d, %v", n, err)
			}
		}
		same(t, s, r, subjects)
	}
	for range (testdose.Dose{Least: 3, Most: 20, Within: 4 * time.Second}).Rounds(t) { // of five histories each
		rapid.Check(t, history)
	}
}

// story writes a random history of two regions.
func story(t *rapid.T, s *scribe) (subjects []id.ID) {
	regions := []string{"alpha", "beta"}
	number := map[id.ID]int{}
	for range rapid.IntRange(1, 25).Draw(t, "events") {
		region := rapid.SampledFrom(regions).Draw(t, "region")
		s.at = s.at.Add(time.Second)
		kind := rapid.IntRange(0, 5).Draw(t, "kind")
		if len(subjects) == 0 || kind == 0 {
			subject := s.create(region)
			subjects, number[subject] = append(subjects, subject), 1
			continue
		}
		subject := rapid.SampledFrom(subjects).Draw(t, "subject")
		switch kind {
		case 1:
			s.revoke(region, subject, rapid.IntRange(0, number[subject]).Draw(t, "version"))
		case 2:
			number[subject]++
			s.rotate(region, subject, number[subject], time.Time{})
		case 3:
			s.join(region, "peer")
		default:
			number[subject]++
			s.rotate(region, subject, number[subject], s.at.Add(time.Hour))
		}
	}
	return subjects
}

// deliver hands over a random piece of the ledgers: somewhere between the beginning and a little after what is there.
func deliver(t *rapid.T, s *scribe, r *replica.Replica) {
	after := authority.Cursor{}
	for region := range s.lines {
		at := int(r.Cursors()[region])
		after[region] = uint64(max(0, at+rapid.IntRange(-3, 1).Draw(t, "from "+region)))
	}
	p := s.page(after, rapid.IntRange(1, 6).Draw(t, "limit"))
	if rapid.Bool().Draw(t, "alone") {
		p = s.only(p, rapid.SampledFrom([]string{"alpha", "beta"}).Draw(t, "only"))
	}
	if rapid.Bool().Draw(t, "twice") {
		p.Records = append(p.Records, p.Records...)
	}
	shuffled := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0))
	shuffled.Shuffle(len(p.Records), func(i, j int) { p.Records[i], p.Records[j] = p.Records[j], p.Records[i] })
	fresh := p.Freshness
	if _, err := r.Apply(ctx, s.at, p); err != nil {
		t.Fatalf("apply: %v", err)
	}
	f := ledger.Freshness{Heads: p.Heads}
	if fresh != nil && r.Fresh().Equal(s.at) && !f.Reached(r.Cursors()) {
		t.Fatalf("fresh although %v is not %v", r.Cursors(), p.Heads)
	}
}

func caughtUp(s *scribe, r *replica.Replica) bool {
	return ledger.Freshness{Heads: s.heads()}.Reached(r.Cursors())
}

// look compares with what was seen before: who was dead stays dead, and no deadline moves back.
func look(t *rapid.T, r *replica.Replica, subject id.ID, seen map[id.ID]*credential.Credential) {
	now, err := r.Credential(ctx, start, subject)
	if err != nil {
		return
	}
	before := seen[subject]
	seen[subject] = now
	if before == nil {
		return
	}
	if !before.RevokedAt.IsZero() && now.RevokedAt.IsZero() {
		t.Fatalf("%s lives again", subject)
	}
	for _, old := range before.Versions {
		for _, v := range now.Versions {
			if v.Number != old.Number || v.Digest != old.Digest {
				continue
			}
			if old.Dead() && !v.Dead() || !old.NotAfter.IsZero() && (v.NotAfter.IsZero() || v.NotAfter.After(old.NotAfter)) {
				t.Fatalf("version %d of %s: %+v, then %+v", v.Number, subject, old, v)
			}
		}
	}
}

// same compares with the plain join, with all hashes attached that are not over.
func same(t *rapid.T, s *scribe, r *replica.Replica, subjects []id.ID) {
	want := ledger.Join(s.records())
	for _, subject := range subjects {
		c := want.Credentials[subject]
		for _, lines := range s.lines {
			for _, l := range lines {
				if l.record.Subject == subject && l.hash != nil {
					ledger.AttachHash(c, l.record.Region, l.record.Seq, l.hash)
				}
			}
		}
		got, err := r.Credential(ctx, start, subject)
		if err != nil {
			t.Fatalf("credential: %v", err)
		}
		if diff := cmp.Diff(c, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s: the join (-) and the copy (+):\n%s", subject, diff)
		}
		checkDead(t, r, c)
	}
	for subject, p := range want.Peers {
		got, err := r.Peer(ctx, start, subject)
		if err != nil {
			t.Fatalf("peer: %v", err)
		}
		if diff := cmp.Diff(p.LeftAt, got.LeftAt); diff != "" {
			t.Fatalf("%s: %s", subject, diff)
		}
	}
}

// checkDead holds the list of the dead against a credential.
func checkDead(t *rapid.T, r *replica.Replica, c *credential.Credential) {
	list, _, err := r.Dead(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	listed := func(number int) bool {
		for _, d := range list {
			if d.ID == c.ID {
				for _, v := range d.Versions {
					if v == number {
						return true
					}
				}
				return d.Versions == nil
			}
		}
		return false
	}
	for _, v := range c.Versions {
		if listed(v.Number) != c.TokenDead(v.Number) {
			t.Fatalf("version %d of %s: listed as dead %v, and it is %v", v.Number, c.ID, listed(v.Number), c.TokenDead(v.Number))
		}
	}
}
