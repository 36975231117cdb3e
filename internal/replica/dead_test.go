package replica_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/replica"
)

func (h *host) dead(after string) (map[id.ID][]int, string) {
	h.t.Helper()
	list, next, err := h.r.Dead(ctx, after)
	if err != nil {
		h.t.Fatal(err)
	}
	all := map[id.ID][]int{}
	for _, d := range list {
		all[d.ID] = d.Versions
	}
	return all, next
}

// From the beginning everything is listed that is dead; after a cursor, what has died since.
func TestDead_SinceACursor(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	gone, partly, emergency, alive, host := s.create("local"), s.create("local"), s.create("local"), s.create("local"), s.join("local", "one")
	s.rotate("local", partly, 2, start.Add(time.Hour))
	s.rotate("local", alive, 2, start.Add(time.Hour)) // a deadline is not a death
	h.pull(s)
	none, first := h.dead("")
	if len(none) != 0 {
		t.Errorf("dead before anything died: %v", none)
	}
	s.revoke("local", gone, 0)
	s.revoke("local", partly, 1)
	s.revoke("other", host, 0)
	s.rotate("local", emergency, 2, time.Time{})
	h.pull(s)
	want := map[id.ID][]int{gone: nil, partly: {1}, emergency: {1}, host: nil}
	since, second := h.dead(first)
	if diff := cmp.Diff(want, since); diff != "" {
		t.Errorf("since then:\n%s", diff)
	}
	if again, _ := h.dead(second); len(again) != 0 {
		t.Errorf("after the newest cursor: %v", again)
	}
	s.revoke("local", partly, 2)
	h.pull(s)
	since, _ = h.dead(second)
	if diff := cmp.Diff(map[id.ID][]int{partly: nil}, since); diff != "" {
		t.Errorf("since the second time:\n%s", diff)
	}
	want[partly] = nil
	if all, _ := h.dead(""); !cmp.Equal(want, all) {
		t.Errorf("from the beginning:\n%s", cmp.Diff(want, all))
	}
	h.reopen()
	if all, _ := h.dead(""); !cmp.Equal(want, all) {
		t.Errorf("after a restart:\n%s", cmp.Diff(want, all))
	}
}

// What this copy has not given is no cursor.
func TestDead_NoCursorOfThisCopy(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	s.create("local")
	h.pull(s)
	_, cursor := h.dead("")
	epoch, read, _ := strings.Cut(cursor, "/")
	for name, after := range map[string]string{
		"BeyondIt": epoch + "/local:99", "UnknownRegion": epoch + "/" + read + ",elsewhere:1", "NoNumber": epoch + "/local:x",
		"AnotherCopys": "x/" + read, "OfNone": read, "AsOfOld": "/" + read,
	} {
		if _, _, err := h.r.Dead(ctx, after); !errors.Is(err, access.ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.reopen() // maybe from a backup of this host: with the same numbers, it may go on differently
	if _, _, err := h.r.Dead(ctx, cursor); !errors.Is(err, access.ErrRequest) {
		t.Errorf("after a restart: %v", err)
	}
}

// The copy that takes the place of another tells nothing after a cursor of that one: under the same numbers are other records.
func TestDead_AfterAResync(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *waiter, h *host) {
		var victim, spared id.ID
		w.set(func() { w.region, victim, spared = "local", w.create("local"), w.create("local") })
		synctest.Wait()
		backup := len(w.lines["local"])
		w.set(func() { w.revoke("local", spared, 0) })
		time.Sleep(2 * time.Second)
		all, cursor := h.dead("")
		if diff := cmp.Diff(map[id.ID][]int{spared: nil}, all); diff != "" {
			t.Errorf("before:\n%s", diff)
		}
		w.set(func() { w.lines["local"] = w.lines["local"][:backup] })
		_ = h.r.Pull(t.Context())
		w.set(func() {
			w.revoke("local", victim, 0)
			w.create("local")
		})
		if err := h.r.Resync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := h.r.Dead(ctx, cursor); !errors.Is(err, access.ErrRequest) {
			t.Errorf("the cursor of the copy before: %v", err)
		}
		all, cursor = h.dead("")
		if diff := cmp.Diff(map[id.ID][]int{victim: nil}, all); diff != "" {
			t.Errorf("after:\n%s", diff)
		}
		if again, _ := h.dead(cursor); len(again) != 0 {
			t.Errorf("after the newest cursor: %v", again)
		}
	})
}

// A version that grew beside an emergency is dead when it arrives.
func TestDead_BornDead(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	subject := s.create("local")
	s.rotate("local", subject, 2, time.Time{})
	h.pull(s)
	_, cursor := h.dead("")
	s.rotate("other", subject, 3, start.Add(time.Hour)) // from version 2 of its own region, which nobody has heard of
	h.pull(s)
	since, _ := h.dead(cursor)
	if diff := cmp.Diff(map[id.ID][]int{subject: {1, 3}}, since); diff != "" {
		t.Errorf("since then:\n%s", diff)
	}
}

// A tombstone can come before what it ends.
func TestDead_BeforeItsCreation(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	h.pull(s)
	whole, part := s.create("local"), s.create("local")
	s.revoke("other", whole, 0)
	s.revoke("other", part, 1)
	h.apply(s.only(s.page(nil, 100), "other"))
	all, _ := h.dead("")
	if diff := cmp.Diff(map[id.ID][]int{whole: nil, part: {1}}, all); diff != "" {
		t.Errorf("dead:\n%s", diff)
	}
}

// Before the record that founds the cluster has come, nothing is believed, and nothing is wrong.
func TestReplica_WaitsForTheFoundingRecord(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	s.create("other")
	if n := h.apply(s.only(s.page(nil, 100), "other")); n != 0 || h.r.Refused() != 0 || len(h.r.Cursors()) != 0 {
		t.Errorf("%d applied, %d refused, cursors %v", n, h.r.Refused(), h.r.Cursors())
	}
	h.pull(s)
	if h.r.Cursors()["other"] != 2 {
		t.Errorf("cursors %v", h.r.Cursors())
	}
}

// Another cluster's founding record does not fit, and says so.
func TestReplica_RefusesAnotherFounder(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "another")
	n, err := h.r.Apply(ctx, start, s.page(nil, 100))
	if n != 0 || err == nil || h.r.Refused() != 1 || len(h.told(replica.Refused)) != 1 {
		t.Errorf("%d applied, %v, %d refused", n, err, h.r.Refused())
	}
}

// What is kept is what came, byte by byte, whatever is in it.
func TestReplica_KeepsRecordsAsTheyCame(t *testing.T) {
	t.Parallel()
	s, h := newScribe(t, "local"), newHost(t, "anchor")
	subject := s.create("local")
	for _, name := range []string{"", "a\x00b\x1f", "tab\there", `","seq":`, "日本 \"quoted\" \\", "\u2028"} {
		s.write("local", ledger.KindPeerChange, s.newID(id.Peer), ledger.PeerChangeBody{Name: &name}, nil)
	}
	s.revoke("local", subject, 0)
	h.pull(s)
	h.reopen()
	p, err := h.r.Page(ctx, start, nil, 100)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.page(nil, 100).Records, p.Records); diff != "" {
		t.Errorf("records:\n%s", diff)
	}
}
