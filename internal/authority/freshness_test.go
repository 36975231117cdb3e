package authority_test

import (
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
		want := ledger.Freshness{Cluster: w.cluster(), Heads: map[string]uint64{"local": w.head(), "other": 2}, At: w.at}
		if diff := cmp.Diff(want, w.says(p.Freshness)); diff != "" {
			t.Errorf("proof:\n%s", diff)
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
