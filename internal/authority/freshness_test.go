package authority_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/ledger"
)

// says checks a proof with the key that founded the cluster, as a peer does.
func (w *world) says(proof *ledger.Signed) ledger.Freshness {
	w.t.Helper()
	c, err := w.a.Cluster(ctx)
	if err != nil {
		w.t.Fatalf("cluster: %v", err)
	}
	f, err := ledger.NewVerifier(c.LedgerKeys...).Freshness(*proof)
	if err != nil {
		w.t.Fatalf("the proof does not count: %v", err)
	}
	return f
}

// At home each page has a proof of its own instant, over the heads of all regions.
func TestFreshness_HomeSignsAtEachRequest(t *testing.T) {
	t.Parallel()
	w := found(t, remembering)
	w.bulk("other", 2, 1)
	for range 2 {
		w.later(time.Second)
		p := w.page(nil, 1)
		want := ledger.Freshness{
			Cluster: w.cluster(), Heads: map[string]uint64{"local": w.head(), "other": 2},
			Sums: map[string]string{"local": w.sum("local"), "other": w.sum("other")}, At: w.at,
		}
		if diff := cmp.Diff(want, w.says(p.Freshness)); diff != "" {
			t.Errorf("proof:\n%s", diff)
		}
	}
}

// sum names the last record of a region, by its bytes.
func (w *world) sum(region string) string {
	w.t.Helper()
	records := everyRecord(w, region)
	return ledger.PrevOf(ledger.Sum(records[len(records)-1].Data))
}

func everyRecord(w *world, region string) []authority.Entry {
	w.t.Helper()
	entries, err := w.file.Ledger(ctx, region, 0, 100)
	if err != nil || len(entries) == 0 || len(entries) == 100 {
		w.t.Fatalf("ledger: %d entries, %v", len(entries), err)
	}
	return entries
}

// unsummed is a store that does not know which record stands at the head of a region.
type unsummed struct {
	authority.Store
	region string
}

func (u unsummed) Heads(ctx context.Context) (map[string]authority.Head, error) {
	heads, err := u.Store.Heads(ctx)
	heads[u.region] = authority.Head{Seq: heads[u.region].Seq}
	return heads, err
}

// What the signer does not know it leaves out, be the proof for a page or stored.
func TestFreshness_NamesNoRecordThatIsNotKnown(t *testing.T) {
	t.Parallel()
	w := found(t)
	w.bulk("other", 2, 1)
	w.over(unsummed{w.file, "other"})
	if err := w.a.StoreFreshness(ctx, w.at); err != nil {
		t.Fatal(err)
	}
	kept, err := w.file.Claimed(ctx, "freshness")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := ledger.Decode(kept.Value)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"local": w.sum("local")}
	for name, proof := range map[string]*ledger.Signed{"Page": w.page(nil, 1).Freshness, "Stored": &stored} {
		f := w.says(proof)
		if diff := cmp.Diff(want, f.Sums); diff != "" || f.Heads["other"] != 2 {
			t.Errorf("%s: heads %v, sums:\n%s", name, f.Heads, diff)
		}
	}
}

func (w *world) cluster() idT {
	w.t.Helper()
	c, err := w.a.Cluster(ctx)
	if err != nil {
		w.t.Fatalf("cluster: %v", err)
	}
	return c.ID
}

// Another region passes on the latest proof that home has stored, and none where there is none.
func TestFreshness_OtherRegionsPassItOn(t *testing.T) {
	t.Parallel()
	w := found(t)
	elsewhere, err := authority.Open(ctx, w.file, w.custody, authority.Options{Region: "other"})
	if err != nil {
		t.Fatal(err)
	}
	there := func() *ledger.Signed {
		t.Helper()
		p, err := elsewhere.LedgerAfter(ctx, copier, w.at, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		return p.Freshness
	}
	if p := there(); p != nil {
		t.Errorf("a proof before any was stored: %+v", w.says(p))
	}
	if err := elsewhere.StoreFreshness(ctx, w.at); err != nil || there() != nil {
		t.Errorf("a region that is not home stored a proof: %v", err)
	}
	first := w.at
	for _, step := range []struct {
		name string
		at   time.Time
		want time.Time
	}{
		{"First", first, first},
		{"Later", first.Add(time.Minute), first.Add(time.Minute)},
		{"LateComer", first.Add(time.Second), first.Add(time.Minute)}, // of another instance, whose clock is behind
		{"Last", first.Add(2 * time.Minute), first.Add(2 * time.Minute)},
	} {
		if err := w.a.StoreFreshness(ctx, step.at); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		f := w.says(there())
		if !f.At.Equal(step.want) || f.Heads["local"] != w.head() {
			t.Errorf("%s: %+v, want that of %v", step.name, f, step.want)
		}
	}
}

// Whose clock is behind proves nothing.
func TestFreshness_NotWithTheClockBehind(t *testing.T) {
	t.Parallel()
	w := found(t, remembering)
	behind := w.at.Add(-time.Minute)
	p, err := w.a.LedgerAfter(ctx, copier, behind, nil, 0)
	if err != nil || p.Freshness != nil || len(p.Records) == 0 {
		t.Errorf("page: %d records, proof %v, %v", len(p.Records), p.Freshness, err)
	}
	if err := w.a.StoreFreshness(ctx, behind); !errors.Is(err, access.ErrClock) {
		t.Errorf("store: %v, want ErrClock", err)
	}
	if _, err := w.file.Claimed(ctx, "freshness"); !errors.Is(err, authority.ErrNotFound) {
		t.Errorf("stored: %v, want ErrNotFound", err)
	}
}

func TestStoreFreshness_NothingBeforeBootstrap(t *testing.T) {
	t.Parallel()
	w := empty(t)
	if err := w.a.StoreFreshness(ctx, w.at); err != nil {
		t.Error(err)
	}
}
