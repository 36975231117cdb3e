package authority_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
)

func (w *world) audit(after string, limit int, f authority.AuditFilter) ([]authority.Event, string) {
	w.t.Helper()
	events, next, err := w.a.Audit(ctx, w.root, after, limit, f)
	if err != nil {
		w.t.Fatalf("audit: %v", err)
	}
	for _, e := range events {
		if !slices.Contains(authority.Actions(), e.Action) {
			w.t.Errorf("%s is none of the actions", e.Action)
		}
	}
	return events, next
}

func TestAudit_SaysWhoDidWhat(t *testing.T) {
	t.Parallel()
	w := found(t)
	bare := w.founded.Credential.ID.String()
	m := w.create(w.root, scopes(credential.CredentialsWrite, credential.PeersRead))
	w.later(second)
	w.rotate(w.caller(m.client, m.secret), m.target(), authority.RotateRequest{Window: day})
	w.mustRevoke(w.root, clientID(t, m.client+"-1"))
	w.mustRevoke(w.root, m.target())
	if err := w.a.Vouch(ctx, w.root, w.origin(w.root), *newClient(t, "EdDSA").public()); err != nil {
		t.Fatal(err)
	}
	w.rotate(w.root, w.shared(), authority.RotateRequest{Window: day})
	w.recover()
	events, next := w.audit("", 100, authority.AuditFilter{})
	if next != "" {
		t.Errorf("next %q at the end", next)
	}
	got := make([]string, len(events))
	for i, e := range events {
		got[i] = e.Actor + " " + e.Action + " " + e.Subject
		if e.Region != "local" || i > 0 && e.Seq <= events[i-1].Seq {
			t.Errorf("%+v", e)
		}
	}
	c, err := w.a.Cluster(ctx)
	if err != nil {
		t.Fatal(err)
	}
	root := bare + "-1"
	want := []string{
		" cluster.bootstrap " + c.ID.String(), " license.apply " + c.ID.String(), " key.publish " + c.Keys[0].Key.ID(),
		" peer.join " + w.founded.PeerID.String(), " credential.create " + bare,
		root + " credential.create " + m.client, m.client + " credential.rotate " + m.client + "-2",
		root + " credential.revoke " + m.client + "-1", root + " credential.revoke " + m.client,
		root + " key.publish " + c.LedgerKeys[1].ID(), root + " credential.rotate " + bare + "-2", " cluster.recover " + bare + "-3",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want(-) got(+): %s", diff)
	}
	e := events[6]
	if !e.At.Equal(start.Add(second)) || e.Reason != "a test" || e.RequestID != "req-1" || e.Source != "192.0.2.1" {
		t.Errorf("%+v", e)
	}
	// Filters: the bare client id finds its versions, a version only itself.
	for _, f := range []struct {
		filter authority.AuditFilter
		want   int
	}{
		{authority.AuditFilter{Subject: m.client}, 4},
		{authority.AuditFilter{Subject: m.client + "-1"}, 1},
		{authority.AuditFilter{Subject: m.client[:20]}, 0},
		{authority.AuditFilter{Actor: bare}, 5},
		{authority.AuditFilter{Actor: root, Subject: m.client}, 3},
		{authority.AuditFilter{Actor: m.client}, 1},
	} {
		if list, _ := w.audit("", 100, f.filter); len(list) != f.want {
			t.Errorf("%+v: %d events, want %d", f.filter, len(list), f.want)
		}
	}
}

func TestAudit_Pages(t *testing.T) {
	t.Parallel()
	w := found(t, remembering)
	for i := range 120 {
		m := w.create(w.root, scopes(credential.PeersRead))
		if i%10 == 0 {
			w.mustRevoke(w.root, m.target())
		}
	}
	for _, f := range []authority.AuditFilter{{}, {Actor: w.founded.Credential.ClientID(1)}, {Subject: w.founded.Credential.ID.String()}} {
		all, _ := w.audit("", 1000, f)
		for _, limit := range []int{1, 7, 50, 131, 1000} {
			var got []authority.Event
			for after, pages := "", 0; pages == 0 || after != ""; pages++ {
				events, next := w.audit(after, limit, f)
				if len(events) > limit || pages > 300 {
					t.Fatalf("%d events on page %d", len(events), pages)
				}
				got, after = append(got, events...), next
			}
			if !cmp.Equal(all, got) {
				t.Errorf("%+v, limit %d: %d events, not %d", f, limit, len(got), len(all))
			}
		}
	}
	// A cursor at the end finds what came later.
	_, next := w.audit("", 130, authority.AuditFilter{})
	w.create(w.root, nil)
	last, end := w.audit(next, 1000, authority.AuditFilter{})
	if end != "" || last[len(last)-1].Action != "credential.create" {
		t.Errorf("%d events after %q", len(last), next)
	}
	for _, bad := range []string{"x", "local", "local:", "local:-1", "local:1,local:2", ":1", "local:9223372036854775808"} {
		if _, _, err := w.a.Audit(ctx, w.root, bad, 10, authority.AuditFilter{}); !errors.Is(err, authority.ErrInput) {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
	if events, next := w.audit("local:100000,moon:3", 10, authority.AuditFilter{}); len(events) != 0 || next != "" {
		t.Errorf("beyond the end: %d events, %q", len(events), next)
	}
}

func TestCursor_RoundTrips(t *testing.T) {
	t.Parallel()
	laws(t, func(rt *rapid.T) {
		c := authority.Cursor(rapid.MapOfN(rapid.StringMatching(`[a-z0-9-]{1,20}`), rapid.Uint64Max(1<<63-1), 0, 64).Draw(rt, "cursor"))
		got, err := authority.ParseCursor(c.String())
		if err != nil || !cmp.Equal(got, c) || got.String() != c.String() {
			rt.Fatalf("%q: %v, %v", c.String(), got, err)
		}
	})
}

func FuzzParseCursor(f *testing.F) {
	for _, seed := range []string{"", "us-east-1:41,eu-central-1:7", "a:1,a:1", "a:18446744073709551615", ",", "a:+1", "a:01"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := authority.ParseCursor(text)
		if err != nil {
			if !errors.Is(err, authority.ErrInput) || len(err.Error()) > 1000 {
				t.Errorf("%v", err)
			}
			return
		}
		again, err := authority.ParseCursor(c.String())
		if err != nil || !cmp.Equal(again, c) {
			t.Errorf("%q reads back as %v, %v", c.String(), again, err)
		}
	})
}

func TestExport_StopsWhereItIsTold(t *testing.T) {
	t.Parallel()
	w := found(t)
	for range 10 {
		w.create(w.root, nil)
	}
	var seen []uint64
	for after, pages := "", 0; pages == 0 || after != ""; pages++ {
		n := 0
		next, err := w.a.Export(ctx, w.root, w.at, after, 7, func(e authority.Exported) bool {
			if n++; n > 5 {
				return false // this page is full: the next one begins here
			}
			seen = append(seen, e.Seq)
			return true
		})
		if err != nil || pages > 10 {
			t.Fatal(err)
		}
		after = next
	}
	want := make([]uint64, 26)
	for i := range want {
		want[i] = uint64(i + 1)
	}
	if !slices.Equal(seen, want) {
		t.Errorf("saw %v", seen)
	}
}
