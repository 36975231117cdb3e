package ledger_test

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/ledger"
)

func TestTrust_VouchingInAnyOrder(t *testing.T) {
	t.Parallel()
	a, b, c := newBook(t, "a", "a"), newBook(t, "b", "b"), newBook(t, "c", "c")
	foreign := newBook(t, "x", "x")
	data := [][]byte{
		a.founding(t), a.vouch(t, "b"), b.vouch(t, "c"), c.vouch(t, "d"),
		foreign.founding(t), foreign.vouch(t, "y"), // nobody vouches for these
	}
	laws(t, func(rt *rapid.T) {
		v := ledger.NewVerifier(public(t, "a"))
		records, refused := v.Trust(rapid.Permutation(data).Draw(rt, "order"))
		if len(records) != 4 || refused != 2 {
			rt.Fatalf("%d records, %d refused", len(records), refused)
		}
		for seed, want := range map[string]bool{"a": true, "b": true, "c": true, "d": true, "x": false, "y": false} {
			if v.Trusts(public(t, seed).ID()) != want {
				rt.Fatalf("trusts %s: %v", seed, !want)
			}
		}
		if got := ledger.JoinCluster(records); len(got.LedgerKeys) != 4 || got.ID != cluster || !got.LedgerKeys[0].Equal(public(t, "a")) {
			rt.Fatalf("= %+v", got)
		}
	})
}

func TestTrust_NothingWithoutAnAnchor(t *testing.T) {
	t.Parallel()
	b := newBook(t, "a", "a")
	data := [][]byte{b.founding(t), b.vouch(t, "b")}
	for name, v := range map[string]*ledger.Verifier{"NoAnchor": ledger.NewVerifier(), "AnotherAnchor": ledger.NewVerifier(public(t, "x"))} {
		if records, refused := v.Trust(data); len(records) != 0 || refused != 2 || v.Trusts(public(t, "a").ID()) || v.Trusts("") {
			t.Errorf("%s: %d records, %d refused", name, len(records), refused)
		}
	}
}

func TestTrust_ATokenKeyVouchesForNothing(t *testing.T) {
	t.Parallel()
	a, b := newBook(t, "a", "a"), newBook(t, "b", "b")
	data := [][]byte{
		a.founding(t), a.write(t, start, ledger.KindKey, cluster, ledger.KeyBody{Use: ledger.UseToken, Key: public(t, "b"), PeerID: peerA}),
		b.vouch(t, "c"),
	}
	v := ledger.NewVerifier(public(t, "a"))
	if _, refused := v.Trust(data); refused != 1 || v.Trusts(public(t, "b").ID()) || v.Trusts(public(t, "c").ID()) {
		t.Errorf("%d refused", refused)
	}
}

// A ledger key that signs under the name of another is not that other.
func TestOpen_RefusesAKeyUnderAnotherName(t *testing.T) {
	t.Parallel()
	s, err := ledger.Decode(newBook(t, "a", "x").vouch(t, "y"))
	if err != nil {
		t.Fatal(err)
	}
	s.KeyID = public(t, "a").ID()
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.NewVerifier(public(t, "a")).Open(data); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("= %v", err)
	}
}

func TestOpen_RefusesAnotherCluster(t *testing.T) {
	t.Parallel()
	here, there := newBook(t, "a", "a"), newBook(t, "a", "a") // one key, two clusters: somebody kept ledger.key
	there.cluster = another
	founding, vouched := here.founding(t), here.vouch(t, "b")
	late := [][]byte{there.founding(t), there.vouch(t, "c"), there.write(t, start, ledger.KindRevoked, client, ledger.RevokedBody{})}
	laws(t, func(rt *rapid.T) {
		v := ledger.NewVerifier(public(t, "a"))
		if rapid.Bool().Draw(rt, "seen before the cluster is known") {
			for _, d := range late {
				if _, err := v.Open(d); err != nil {
					rt.Fatal(err)
				}
			}
		}
		all := rapid.Permutation(append([][]byte{founding, vouched}, late...)).Draw(rt, "order")
		if records, refused := v.Trust(all); len(records) != 2 || refused != 3 {
			rt.Fatalf("%d records, %d refused", len(records), refused)
		}
		if v.Trusts(public(t, "c").ID()) || !v.Trusts(public(t, "b").ID()) {
			rt.Fatal("the other cluster vouches here")
		}
		for _, d := range late {
			if r, err := v.Open(d); !errors.Is(err, ledger.ErrRecord) || r != nil {
				rt.Fatalf("= %v, %v", r, err)
			}
		}
	})
}

func TestVerifier_KnowsARecordAgainByContent(t *testing.T) {
	t.Parallel()
	b := newBook(t, "a", "a")
	data := b.founding(t)
	kept := slices.Clone(data)
	v := ledger.NewVerifier(public(t, "a"))
	first, err := v.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	issuer := string(first.Body)
	for i := range data {
		data[i] = 'x' // the caller's memory is the caller's
	}
	if string(first.Body) != issuer {
		t.Error("the record shares memory with what was opened")
	}
	again, err := v.Open(kept)
	if err != nil || again != first {
		t.Errorf("opened anew: %v", err)
	}
	if _, err := v.Open(data); err == nil {
		t.Error("it is known by its place in memory")
	}
}

func TestVerifier_ForgetsWhatWasNotUsed(t *testing.T) {
	t.Parallel()
	b := newBook(t, "a", "a")
	v := ledger.NewVerifier(public(t, "a"))
	if n := v.Remembers(); n < 1000 || n > 100_000 {
		t.Errorf("it remembers %d records of about 1 kB, or twice as many", n)
	}
	const few = 500
	v.Remember(few)
	oldest, used := b.founding(t), b.founding(t)
	open := func(d []byte) *ledger.Record {
		t.Helper()
		r, err := v.Open(d)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, kept := open(oldest), open(used)
	for i := range 2*few + 1 {
		open(b.write(t, start, ledger.KindRevoked, client, ledger.RevokedBody{Version: i + 1}))
		if i%100 == 0 && open(used) != kept {
			t.Fatalf("what is in use is forgotten after %d", i)
		}
	}
	if open(used) != kept {
		t.Error("what is in use is forgotten")
	}
	if open(oldest) == first {
		t.Error("the memory has no bound")
	}
}

func TestVerifier_ManyAtOnce(t *testing.T) {
	t.Parallel()
	a, b := newBook(t, "a", "a"), newBook(t, "b", "b")
	data := [][]byte{b.vouch(t, "c"), a.founding(t), a.vouch(t, "b")}
	v := ledger.NewVerifier(public(t, "a"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if records, _ := v.Trust(data); len(records) != 3 {
					t.Errorf("%d records", len(records))
				}
				v.Trusts(public(t, "b").ID())
			}
		})
	}
	wg.Wait()
}

func TestChain_FollowsOneRegion(t *testing.T) {
	t.Parallel()
	b, other := newBook(t, "a", "a"), newBook(t, "b", "a")
	forked := newBook(t, "a", "a")
	data := [][]byte{b.founding(t), b.vouch(t, "b"), b.vouch(t, "c")}
	forked.seq, forked.sum = 1, []byte("another past")
	strange := map[string][]byte{"Fork": forked.vouch(t, "b"), "OtherRegion": other.vouch(t, "b"), "Hole": data[2], "Again": data[0]}
	unnamed := newBook(t, "a", "a")
	unnamed.seq = 1
	strange["NoPredecessor"] = unnamed.vouch(t, "b")
	elsewhere, ahead := newBook(t, "b", "a"), newBook(t, "a", "a") // these name the right predecessor
	elsewhere.seq, elsewhere.sum = 1, ledger.Sum(data[0])
	ahead.seq, ahead.sum = 2, ledger.Sum(data[0])
	strange["RegionAlone"], strange["HoleAlone"] = elsewhere.vouch(t, "b"), ahead.vouch(t, "b")
	chain := ledger.Chain{Region: "a"}
	after := func(n int) bool { return chain.Seq == uint64(n) && bytes.Equal(chain.Sum, ledger.Sum(data[n-1])) }
	records := openAll(t, data, "a")
	if err := chain.Next(records[1], ledger.Sum(data[1])); !errors.Is(err, ledger.ErrFork) || chain.Seq != 0 {
		t.Fatalf("begins at 2: %v", err)
	}
	if err := chain.Next(records[0], ledger.Sum(data[0])); err != nil || !after(1) {
		t.Fatal(err)
	}
	for name, d := range strange {
		if err := chain.Next(openAll(t, [][]byte{d}, "a")[0], ledger.Sum(d)); !errors.Is(err, ledger.ErrFork) || !after(1) {
			t.Errorf("%s: %v, now at %d", name, err, chain.Seq)
		}
	}
	for i := 1; i < 3; i++ {
		if err := chain.Next(records[i], ledger.Sum(data[i])); err != nil {
			t.Fatal(err)
		}
	}
	if !after(3) {
		t.Errorf("at %d", chain.Seq)
	}
}
