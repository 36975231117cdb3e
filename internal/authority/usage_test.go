package authority_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/usage"
)

// asPeer is who calls with a peer's own token.
func (w *world) asPeer(h *host) access.Caller {
	return access.Caller{Peer: w.peer(h.peer), Scopes: credential.NewScopes(credential.LedgerRead)}
}

func (w *world) report(name string, uses ...usage.Use) usage.Report {
	return usage.Report{ID: name + strings.Repeat(".", 16), At: w.at, Cursor: map[string]uint64{"local": w.head()}, Uses: uses}
}

func (w *world) shown(clientID string, version int, source string) usage.Use {
	return usage.Use{Key: usage.Key{ClientID: clientID, Version: version, Source: source}, First: w.at, Last: w.at, Count: 1}
}

// used says for each version of the shared credential who used it: "place times", the latest first.
func (w *world) used() map[int][]string {
	w.t.Helper()
	list, err := w.a.Usage(ctx, w.root, w.at, w.credential(w.shared().Credential))
	if err != nil {
		w.t.Fatalf("usage: %v", err)
	}
	used := map[int][]string{}
	for _, v := range list {
		for _, s := range v.LastUsed {
			used[v.Number] = append(used[v.Number], fmt.Sprint(s.Place(), " ", s.Count))
		}
	}
	return used
}

func TestReportUsage_OnlyPeersForThemselves(t *testing.T) {
	t.Parallel()
	w := found(t)
	h := w.joined()
	if err := w.a.ReportUsage(ctx, w.root, w.at, w.report("a")); !errors.Is(err, access.ErrForbidden) {
		t.Errorf("an admin: %v", err)
	}
	if err := w.a.ReportUsage(ctx, access.Caller{Credential: w.root.Credential, Scopes: w.asPeer(h).Scopes}, w.at, w.report("a")); !errors.Is(err, access.ErrForbidden) {
		t.Errorf("a client with the scope: %v", err)
	}
	if _, err := w.a.Usage(ctx, w.asPeer(h), w.at, w.credential(w.shared().Credential)); !errors.Is(err, access.ErrForbidden) {
		t.Errorf("a peer asks who uses what: %v", err)
	}
	if err := w.a.ReportUsage(ctx, w.asPeer(h), w.at, w.report("a")); err != nil {
		t.Error(err)
	}
}

func TestReportUsage_AMinuteAndOnce(t *testing.T) {
	t.Parallel()
	w := found(t)
	h := w.joined()
	client := w.founded.Credential.ClientID(1)
	tell := func(name string) error {
		return w.a.ReportUsage(ctx, w.asPeer(h), w.at, w.report(name, w.shown(client, 1, "x")))
	}
	for _, name := range []string{"one", "one"} {
		if err := tell(name); err != nil {
			t.Error(err)
		}
	}
	w.later(59 * time.Second)
	var soon *authority.TooSoonError
	if err := tell("two"); !errors.As(err, &soon) || soon.Wait != time.Second {
		t.Errorf("after 59 s: %v", err)
	}
	if d := cmp.Diff(map[int][]string{1: {"host (x) 1"}}, w.used()); d != "" {
		t.Error(d)
	}
	w.later(time.Second)
	if err := tell("two"); err != nil {
		t.Errorf("after a minute: %v", err)
	}
	final := w.report("end", w.shown(client, 1, "x"))
	final.Final = true
	if err := w.a.ReportUsage(ctx, w.asPeer(h), w.at, final); !errors.As(err, &soon) || soon.Wait != time.Second {
		t.Errorf("at the same instant: %v", err)
	}
	w.later(time.Second)
	if err := w.a.ReportUsage(ctx, w.asPeer(h), w.at, final); err != nil {
		t.Errorf("a peer that stops: %v", err)
	}
	if err := tell("one"); !errors.As(err, &soon) { // only the newest is known by its name
		t.Errorf("%v", err)
	}
	w.later(31 * day)
	if d := cmp.Diff(map[int][]string{}, w.used()); d != "" {
		t.Error(d)
	}
}

func TestUsage_OwnCallersCountAtOnceAndAreNotedOnceAMinute(t *testing.T) {
	t.Parallel()
	for _, sole := range []bool{true, false} {
		t.Run(fmt.Sprint("SoleWriter", sole), func(t *testing.T) {
			t.Parallel()
			w := found(t, func(o *authority.Options) { o.Private, o.SoleWriter = true, sole })
			client := w.founded.Credential.ClientID(1)
			notes := &counting{Store: w.store}
			w.over(notes)
			count := func(source string) {
				w.a.CountUse(usage.Key{ClientID: client, Version: 1, Source: source}, w.at)
				if err := w.a.StoreUsage(ctx, w.at); err != nil {
					t.Error(err)
				}
			}
			w.a.CountUse(usage.Key{ClientID: w.a.Self().String(), Version: 0, Source: "peer"}, w.at)
			for range 5 {
				count("x")
			}
			if notes.claims.Load() != 1 && notes.claims.Load() != 5 {
				t.Errorf("%d writes", notes.claims.Load())
			}
			if !sole && (notes.claims.Load() != 1 || notes.reads.Load() != 2) {
				t.Errorf("%d writes and %d reads within a minute: of since when uses are noted, and of the note", notes.claims.Load(), notes.reads.Load())
			}
			if d := cmp.Diff(map[int][]string{1: {"authority local (x) 5"}}, w.used()); d != "" {
				t.Error(d)
			}
			w.later(time.Minute)
			count("y")
			for _, key := range []string{"usage:" + w.a.Self().String(), "usage:" + w.a.Self().String() + ":" + client + ":1"} {
				if held, err := w.store.Claimed(ctx, key); err == nil {
					if n, err := usage.DecodeNote(held.Value); err != nil || len(n.Uses) != 2 || len(n.Told) != 0 {
						t.Errorf("%s holds more than the uses: %+v, %v", key, n, err)
					}
				}
			}
			w.over(w.file) // another process: it knows what was noted
			if d := cmp.Diff(map[int][]string{1: {"authority local (y) 1", "authority local (x) 5"}}, w.used()); d != "" {
				t.Error(d)
			}
		})
	}
}

// counting counts claims, and can refuse them before or after they are there.
type counting struct {
	authority.Store
	claims, reads atomic.Int64
	before, after error
}

func (c *counting) Claimed(ctx context.Context, key string) (authority.Claim, error) {
	c.reads.Add(1)
	return c.Store.Claimed(ctx, key)
}

func (c *counting) Claim(ctx context.Context, n authority.Claim) error {
	c.claims.Add(1)
	if c.before != nil {
		return c.before
	}
	err := c.Store.Claim(ctx, n)
	if err == nil {
		err = c.after
	}
	return err
}

func TestStoreUsage_AFailureLosesNothing(t *testing.T) {
	t.Parallel()
	for _, sole := range []bool{true, false} {
		for _, lost := range []bool{true, false} {
			t.Run(fmt.Sprint("SoleWriter", sole, "Written", lost), func(t *testing.T) {
				t.Parallel()
				w := found(t, func(o *authority.Options) { o.Private, o.SoleWriter = true, sole })
				failing := &counting{Store: w.store}
				w.over(failing)
				if broken := errors.New("no"); lost {
					failing.after = broken
				} else {
					failing.before = broken
				}
				w.a.CountUse(usage.Key{ClientID: w.founded.Credential.ClientID(1), Version: 1, Source: "x"}, w.at)
				if err := w.a.StoreUsage(ctx, w.at); !errors.Is(err, access.ErrUnavailable) {
					t.Errorf("%v", err)
				}
				failing.before, failing.after = nil, nil
				w.later(time.Minute)
				if err := w.a.StoreUsage(ctx, w.at); err != nil {
					t.Error(err)
				}
				w.over(w.file)
				want := "authority local (x) 1"
				if !sole && lost {
					want = "authority local (x) 2" // better twice than not at all
				}
				if d := cmp.Diff(map[int][]string{1: {want}}, w.used()); d != "" {
					t.Error(d)
				}
			})
		}
	}
}

// Two processes count for one authority: what one cannot note, for the other was faster, it notes later.
func TestStoreUsage_TwoProcesses(t *testing.T) {
	t.Parallel()
	w := found(t)
	client := w.founded.Credential.ClientID(1)
	other, err := authority.Open(ctx, w.store, w.custody, w.o)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for i, a := range []*authority.Authority{w.a, other} {
			a.CountUse(usage.Key{ClientID: client, Version: 1, Source: fmt.Sprint(i)}, w.at)
			if err := a.StoreUsage(ctx, w.at); err != nil {
				t.Error(err)
			}
			w.later(40 * time.Second)
		}
	}
	for range 2 {
		w.later(time.Minute)
		if err := errors.Join(w.a.StoreUsage(ctx, w.at), other.StoreUsage(ctx, w.at)); err != nil {
			t.Error(err)
		}
	}
	w.over(w.file)
	sum := strings.Join(w.used()[1], ", ")
	if !strings.Contains(sum, "(0) 2") || !strings.Contains(sum, "(1) 2") {
		t.Error(sum)
	}
}

func TestUsage_PeersOfOneNameAreToldApart(t *testing.T) {
	t.Parallel()
	w := found(t)
	one, two := w.joined(), w.joined()
	client := w.founded.Credential.ClientID(1)
	for _, h := range []*host{one, two} {
		if err := w.a.ReportUsage(ctx, w.asPeer(h), w.at, w.report(h.peer.String(), w.shown(client, 1, "x"))); err != nil {
			t.Fatal(err)
		}
	}
	all := strings.Join(w.used()[1], ", ")
	if strings.Count(all, "host (x)") != 1 || strings.Count(all, "host "+one.peer.String()+" (x)")+strings.Count(all, "host "+two.peer.String()+" (x)") != 1 {
		t.Error(all)
	}
	w.remove(one.peer) // who is here goes by the name alone
	if d := cmp.Diff([]string{"host (x) 1", "host " + one.peer.String() + " (x) 1"}, w.used()[1]); d != "" {
		t.Error(d)
	}
	v := w.usage()[0]
	if len(v.Unreported) != 0 || len(v.AcceptedBy) != 1 || v.AcceptedBy[0].ID != two.peer {
		t.Errorf("a removed peer still accepts: %+v", v)
	}
	reads := &counting{Store: w.store}
	w.over(reads)
	w.usage()
	some := reads.reads.Load()
	w.later(31 * day)
	if w.usage(); reads.reads.Load()-some != some-2 { // neither the removed peer's note, nor again since when there are notes
		t.Errorf("%d reads, then %d, where all that a removed peer has told is old", some, reads.reads.Load()-some)
	}
}

// usage says who uses each version of the shared credential.
func (w *world) usage() []usage.Version {
	w.t.Helper()
	list, err := w.a.Usage(ctx, w.root, w.at, w.credential(w.shared().Credential))
	if err != nil {
		w.t.Fatalf("usage: %v", err)
	}
	return list
}

// An import takes the ledger along, and no notes: of what was superseded before, nobody knows who uses it.
func TestUsage_AnImportBeginsAnew(t *testing.T) {
	t.Parallel()
	for _, sole := range []bool{true, false} {
		t.Run(fmt.Sprint("SoleWriter", sole), func(t *testing.T) {
			t.Parallel()
			w := found(t, func(o *authority.Options) { o.Private, o.SoleWriter = true, sole })
			h := w.joined()
			client := w.founded.Credential.ClientID
			tell := func(name string, uses ...usage.Use) {
				t.Helper()
				if err := w.a.ReportUsage(ctx, w.asPeer(h), w.at, w.report(name, uses...)); err != nil {
					t.Fatal(err)
				}
			}
			tell("a", w.shown(client(1), 1, "x"))
			w.later(time.Minute)
			w.rotate(w.root, w.shared(), authority.RotateRequest{Window: 168 * time.Hour})
			w.later(time.Minute)
			tell("b", w.shown(client(2), 2, "y"))
			before := w.usage()[0]
			if v := before.Verdict; !before.KnownSince.IsZero() || len(v.WouldLockOut) != 1 || len(v.Unknown) != 0 {
				t.Errorf("before: %+v", v)
			}
			store := newStore(t)
			if _, err := authority.Import(ctx, store, w.custody.LedgerKey(), reader(w.export())); err != nil {
				t.Fatal(err)
			}
			w.over(store)
			w.later(time.Minute)
			begun := w.at
			tell("c", w.shown(client(2), 2, "y"))
			w.later(time.Hour)
			w.over(store) // another process remembers
			w.later(time.Minute)
			tell("d", w.shown(client(2), 2, "y"))
			want := "unknown who used it before " + begun.Format(time.RFC3339) + ": the notes of before are gone"
			if v := w.usage()[0]; v.Verdict.Safe || v.Verdict.Text != want || !v.KnownSince.Equal(begun) {
				t.Errorf("after: %s, known since %s", v.Verdict.Text, v.KnownSince)
			}
			w.rotate(w.root, w.shared(), authority.RotateRequest{Window: 168 * time.Hour})
			w.later(25 * time.Hour)
			tell("e", w.shown(client(3), 3, "y"))
			for i, safe := range []bool{false, true} {
				if v := w.usage()[i]; v.Verdict.Safe != safe {
					t.Errorf("version %d a day later: %s", i+1, v.Verdict.Text)
				}
			}
		})
	}
}

// The notes begin although nobody comes, and nobody asks.
func TestUsage_BeginsWithTheFirstRound(t *testing.T) {
	t.Parallel()
	w := found(t, func(o *authority.Options) { o.Private, o.SoleWriter = true, true })
	store := newStore(t)
	if _, err := authority.Import(ctx, store, w.custody.LedgerKey(), reader(w.export())); err != nil {
		t.Fatal(err)
	}
	w.over(store)
	w.later(time.Minute)
	begun := w.at
	if err := w.a.StoreUsage(ctx, w.at); err != nil {
		t.Fatal(err)
	}
	w.later(day)
	if v := w.usage()[0]; !v.KnownSince.Equal(begun) {
		t.Errorf("known since %s, want %s", v.KnownSince, begun)
	}
}

// Two processes can find at once that there are no notes yet: one says since when there are, for both.
func TestUsage_BeginsOnce(t *testing.T) {
	t.Parallel()
	w := found(t)
	store := newStore(t)
	if _, err := authority.Import(ctx, store, w.custody.LedgerKey(), reader(w.export())); err != nil {
		t.Fatal(err)
	}
	begun := w.at.Add(time.Second)
	faster := &between{Store: store, do: func() {
		other, err := authority.Open(ctx, store, w.custody, w.o)
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := other.Usage(ctx, w.root, begun, w.credential(w.shared().Credential)); err != nil {
			t.Error(err)
		}
	}}
	w.over(faster)
	w.later(time.Minute)
	if v := w.usage()[0]; !v.KnownSince.Equal(begun) {
		t.Errorf("known since %s, want %s", v.KnownSince, begun)
	}
	for _, text := range []string{"x", ""} { // what is damaged is never taken for a memory
		damaged := newStore(t)
		if _, err := authority.Import(ctx, damaged, w.custody.LedgerKey(), reader(w.export())); err != nil {
			t.Fatal(err)
		}
		if err := damaged.Claim(ctx, authority.Claim{Key: "usage-begun", Value: []byte(text), At: w.at, ExpiresAt: w.at.Add(day)}); err != nil {
			t.Fatal(err)
		}
		w.over(damaged)
		w.later(time.Hour)
		if v := w.usage()[0]; !v.KnownSince.Equal(w.at) {
			t.Errorf("known since %s, now it is %s", v.KnownSince, w.at)
		}
	}
}

// between does something once, before the first claim.
type between struct {
	authority.Store
	do func()
}

func (b *between) Claim(ctx context.Context, c authority.Claim) error {
	if do := b.do; do != nil {
		b.do = nil
		do()
	}
	return b.Store.Claim(ctx, c)
}

// A note that cannot be read is a peer that has not reported.
func TestUsage_ADamagedNoteIsNone(t *testing.T) {
	t.Parallel()
	w := found(t)
	h := w.joined()
	if err := w.store.Claim(ctx, authority.Claim{Key: "usage:" + h.peer.String(), Value: []byte("x"), At: w.at, ExpiresAt: w.at.Add(day), Yields: w.at}); err != nil {
		t.Fatal(err)
	}
	list, err := w.a.Usage(ctx, w.root, w.at, w.credential(w.shared().Credential))
	if err != nil || len(list[0].Unreported) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := w.a.ReportUsage(ctx, w.asPeer(h), w.at, w.report("a")); err != nil {
		t.Error(err)
	}
}
