package replica_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/authority/storetest"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/replica"
)

// Whatever call to the store fails, before or after it has done its work: who pulls again gets all of it, nothing is taken for
// a fork, and whoever has read the old state hears that it may have changed.
func TestReplica_SurvivesEachFault(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, faulty func(authority.Store) authority.Store) {
		s := newScribe(t, "local")
		subject, other := s.create("local"), s.create("other")
		s.rotate("local", subject, 2, start.Add(time.Hour))
		file, err := bolt.Open(filepath.Join(t.TempDir(), "replica.db"), bolt.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		store := faulty(file)
		told := map[id.ID]bool{}
		open := func() (*replica.Replica, error) {
			return replica.Open(ctx, store, public("anchor"), replica.Options{
				Now: func() time.Time { return start },
				Changed: func(subjects []id.ID, _ bool) {
					for _, subject := range subjects {
						told[subject] = true
					}
				},
			})
		}
		r, err := open()
		if err != nil {
			r, err = open()
		}
		if err != nil {
			t.Fatalf("open again: %v", err)
		}
		pull := func() {
			t.Helper()
			failures := 0
			for !caughtUp(s, r) {
				if _, err := r.Apply(ctx, start, s.page(r.Cursors(), 3)); err != nil {
					if failures++; failures > 1 {
						t.Fatalf("apply: %v", err)
					}
				}
			}
		}
		pull()
		if _, err := r.Credential(ctx, start, subject); err != nil { // is remembered
			_, _ = r.Credential(ctx, start, subject)
		}
		clear(told)
		s.revoke("local", subject, 0)
		pull()
		if !told[subject] {
			t.Error("nobody was told of the tombstone")
		}
		c, err := r.Credential(ctx, start, subject)
		if err != nil {
			c, err = r.Credential(ctx, start, subject)
		}
		if err != nil || c.RevokedAt.IsZero() {
			t.Errorf("the tombstone is not seen: %v", err)
		}
		if _, err := r.Credential(ctx, start, other); err != nil {
			if _, err = r.Credential(ctx, start, other); err != nil {
				t.Error(err)
			}
		}
		if r.Broken() != nil || r.Refused() != 0 {
			t.Errorf("broken %v, refused %d", r.Broken(), r.Refused())
		}
		if diff := cmp.Diff(map[string]uint64(r.Cursors()), s.heads()); diff != "" {
			t.Errorf("cursors:\n%s", diff)
		}
		_, _ = r.Apply(ctx, start, s.page(r.Cursors(), 1)) // the proof, should it have come with what failed
		if !r.Fresh().Equal(start) {
			t.Errorf("fresh %v", r.Fresh())
		}
	})
}

// Whatever call fails, readers may be left with the cluster as it was, and remember it. Once they see it as it is, they hear so:
// what they remember is dropped then, and who waits for news is woken.
func TestReplica_TellsOfTheClusterAfterEachFault(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, faulty func(authority.Store) authority.Store) {
		s := newScribe(t, "local")
		key := public("token")
		s.write("local", ledger.KindKey, s.cluster, ledger.KeyBody{Use: ledger.UseToken, Key: key, PeerID: s.newID(id.Peer)}, nil)
		h := newHost(t, "anchor")
		store := faulty(h.store)
		var r *replica.Replica
		var seen *access.Cluster // what readers had when they heard last that the cluster has changed
		again := func(do func() error) {
			t.Helper()
			if err := do(); err != nil {
				if err = do(); err != nil {
					t.Fatal(err)
				}
			}
		}
		again(func() (err error) {
			r, err = replica.Open(ctx, store, public("anchor"), replica.Options{Changed: func(_ []id.ID, cluster bool) {
				if cluster {
					seen, _ = r.Cluster(ctx)
				}
			}})
			return err
		})
		var keys int
		look := func() error {
			set, err := r.KeySet(ctx, start)
			keys = len(set.Keys)
			return err
		}
		apply := func() error {
			_, err := r.Apply(ctx, start, s.page(r.Cursors(), 100))
			return err
		}
		again(apply)
		again(apply) // the cluster may have been left for this one to read
		again(look)
		if keys != 1 {
			t.Fatalf("%d keys before", keys)
		}
		s.write("local", ledger.KindKeyRetired, s.cluster, ledger.KeyRetiredBody{KeyID: key.ID()}, nil)
		news := r.Changed()
		for range 2 {
			if apply() != nil && look() == nil && keys == 1 {
				news = r.Changed() // the old key set is remembered, and the news is still to come
			}
		}
		again(look)
		if seen == nil || len(seen.Keys) != 1 || seen.Keys[0].RetiredAt.IsZero() || keys != 0 {
			t.Errorf("who heard of it saw %+v; %d keys", seen, keys)
		}
		select {
		case <-news:
		default:
			t.Error("who waits was not woken")
		}
	})
}
