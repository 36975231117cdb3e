package ledger_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/peer"
)

// history is what happened in one or two regions.
func history(t testing.TB, rt *rapid.T) *world {
	w := newWorld(t, rapid.IntRange(1, 2).Draw(rt, "regions"))
	w.live(rt, rapid.IntRange(0, 15).Draw(rt, "steps"))
	return w
}

func TestJoin_AgreesWithTheModel(t *testing.T) {
	t.Parallel()
	laws(t, func(rt *rapid.T) {
		w := history(t, rt)
		for _, set := range append(w.known, w.all()) {
			c := w.join(w.records(set))
			for _, at := range w.instants() {
				if err := w.compare(c, set, at); err != nil {
					rt.Fatal(err)
				}
			}
		}
	})
}

func TestJoin_DependsOnTheSetAlone(t *testing.T) {
	t.Parallel()
	laws(t, func(rt *rapid.T) {
		w := history(t, rt)
		records := w.records(w.all())
		want := ledger.Join(records)
		some := rapid.SliceOf(rapid.SampledFrom(records)).Draw(rt, "doubles")
		mixed := rapid.Permutation(slices.Concat(records, w.records(w.all()), some)).Draw(rt, "order")
		if diff := cmp.Diff(want, ledger.Join(mixed)); diff != "" {
			rt.Fatalf("another order, and doubles: %s", diff)
		}
		// The join of a union, however the set is cut in two.
		var left, right []*ledger.Record
		for _, r := range records {
			switch rapid.IntRange(0, 2).Draw(rt, "side") {
			case 0:
				left = append(left, r)
			case 1:
				right = append(right, r)
			default:
				left, right = append(left, r), append(right, r)
			}
		}
		if diff := cmp.Diff(ledger.Join(slices.Concat(left, right)), ledger.Join(slices.Concat(right, left))); diff != "" {
			rt.Fatalf("the union turned round: %s", diff)
		}
		if diff := cmp.Diff(want, ledger.Join(slices.Concat(left, right))); diff != "" {
			rt.Fatalf("the union: %s", diff)
		}
	})
}

// Two records of one region, sequence and second, as a restored backup makes them.
func TestJoin_ForkedRecordsInAnyOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	one, two, three := newBook(t, "a", "a"), newBook(t, "a", "a"), newBook(t, "a", "a")
	data := [][]byte{
		w.events[0].data, w.events[1].data,
		one.write(t, start, ledger.KindVersion, client, ledger.VersionBody{Version: 2, Digest: "x"}),
		two.write(t, start, ledger.KindVersion, client, ledger.VersionBody{Version: 2, Digest: "y"}),
		three.write(t, start, ledger.KindRevoked, client, ledger.RevokedBody{Version: 1}),
	}
	records := openAll(t, data, "a")
	want := ledger.Join(records)
	if c := want.Credentials[client]; len(c.Versions) != 3 || !c.Versions[0].Dead() {
		t.Fatalf("= %+v", c)
	}
	laws(t, func(rt *rapid.T) {
		if diff := cmp.Diff(want, ledger.Join(rapid.Permutation(records).Draw(rt, "order"))); diff != "" {
			rt.Fatal(diff)
		}
	})
}

// Whatever else is known, and in any order: a dead version stays dead, and a deadline only ever comes nearer.
func TestJoin_TombstonesAndDeadlinesOnlyGrow(t *testing.T) {
	t.Parallel()
	laws(t, func(rt *rapid.T) {
		w := history(t, rt)
		less := map[int]bool{0: true}
		for i := range w.events {
			if rapid.Bool().Draw(rt, "known") {
				less[i] = true
			}
		}
		before, after := w.join(w.records(less)), w.join(w.records(w.all()))
		for i := range before.Versions {
			b := &before.Versions[i]
			a := &after.Versions[slices.IndexFunc(after.Versions, func(v credential.Version) bool { return v.Digest == b.Digest })]
			if b.Dead() && !a.Dead() || !b.NotAfter.IsZero() && (a.NotAfter.IsZero() || a.NotAfter.After(b.NotAfter)) {
				rt.Fatalf("%+v became %+v", b, a)
			}
		}
		if !before.RevokedAt.IsZero() && after.RevokedAt.IsZero() {
			rt.Fatal("a revoked credential lives again")
		}
	})
}

func TestJoin_NoAcceptanceAfterATombstone(t *testing.T) {
	t.Parallel()
	laws(t, func(rt *rapid.T) {
		w := history(t, rt)
		number := rapid.IntRange(0, 6).Draw(rt, "number")
		w.revoke(0, number)
		tombstone := len(w.events) - 1
		some := map[int]bool{0: true, tombstone: true}
		for i := range w.events {
			if rapid.Bool().Draw(rt, "known") {
				some[i] = true
			}
		}
		c := w.join(rapid.Permutation(w.records(some)).Draw(rt, "order"))
		at := second(rapid.IntRange(-1000, 100_000).Draw(rt, "at")) // also before the tombstone: clocks differ
		for i, e := range w.events {
			if e.kind != "version" || number != 0 && e.number != number {
				continue
			}
			if _, err := c.Accept(secretAt(t, i), at); err == nil || !c.TokenDead(e.number) {
				rt.Fatalf("version %d lives after its tombstone", e.number)
			}
		}
	})
}

// A subject's copies of retired versions expire one after the other, none before those whose deadline it holds. Nothing
// that was dead comes back, nothing that lives is lost.
func TestJoin_WithoutTheCopiesOfRetiredVersions(t *testing.T) {
	t.Parallel()
	const later = 1 << 20 // every window is over by then
	laws(t, func(rt *rapid.T) {
		w := history(t, rt)
		w.share()
		set := w.all()
		kept := maps.Clone(set)
		for i, e := range w.events {
			holds := func(v int) bool { return kept[v] }
			if e.kind == "version" && w.dated(i, set) && !slices.ContainsFunc(slices.Collect(maps.Keys(e.closes)), holds) && rapid.Bool().Draw(rt, "expired") {
				delete(kept, i)
			}
		}
		c := w.join(w.records(kept))
		for i, e := range w.events {
			if e.kind != "version" {
				continue
			}
			_, err := c.Accept(secretAt(t, i), second(later))
			if want := !w.dead(i, set) && !w.closed(i, set, later); (err == nil) != want {
				rt.Fatalf("version %d (event %d): %v, want accepted %v", e.number, i, err, want)
			}
		}
	})
}

func TestJoin_EarliestDeadlineWins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	close1 := func(n, at int) []byte {
		return w.books[0].write(t, second(n), ledger.KindVersion, client, ledger.VersionBody{
			Version: n, Digest: digestAt(t, n), Retires: []ledger.Retirement{{Version: 1, Digest: digestAt(t, 1), NotAfter: second(at)}},
		})
	}
	data := [][]byte{w.events[0].data, w.events[1].data, close1(2, 500), close1(3, 300), close1(4, 400)}
	for _, order := range [][]int{{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {3, 0, 4, 1, 2}} {
		var set [][]byte
		for _, i := range order {
			set = append(set, data[i])
		}
		c := ledger.JoinCredential(openAll(t, set, "a"))
		if got := c.Versions[0].NotAfter; !got.Equal(second(300)) {
			t.Errorf("order %v: %s", order, got)
		}
	}
}

func TestJoin_EmergencyKillsAllButItsTrunk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2) // event 0 creates, event 1 is version 1
	w.clock = 10
	w.rotate(0, 1000, false) // 2: version 2
	w.share()
	w.rotate(1, 1000, false) // 3: the other region's version 3
	w.rotate(1, 1000, false) // 4: and 4
	w.clock = 20
	w.rotate(0, 0, true) // 5: version 3, an emergency that has not heard of those
	w.share()
	w.clock = 30
	w.rotate(0, 50, false) // 6: version 5, its child
	w.rotate(0, 50, false) // 7: version 6
	c := w.join(w.records(w.all()))
	for i, accepted := range map[int]bool{1: false, 2: false, 3: false, 4: false, 5: true, 6: true, 7: true} {
		if _, err := c.Accept(secretAt(t, i), second(31)); (err == nil) != accepted {
			t.Errorf("event %d: %v", i, err)
		}
	}
	for _, v := range c.Versions {
		if v.Dead() && !v.DeadSince.Equal(second(20)) {
			t.Errorf("version %d is dead since %s", v.Number, v.DeadSince)
		}
	}
	if c.Current().Digest != digestAt(t, 7) || !c.LastsAsWriter(second(31)) {
		t.Errorf("current is %+v", c.Current())
	}
	// The emergency's own record expires; the other region's branch has no deadline and must not come back.
	kept := w.all()
	for _, gone := range []int{1, 2, 5, 6} {
		delete(kept, gone)
	}
	c = w.join(w.records(kept))
	for i, accepted := range map[int]bool{3: false, 4: false, 7: true} {
		if _, err := c.Accept(secretAt(t, i), second(9999)); (err == nil) != accepted {
			t.Errorf("without the copies, event %d: %v", i, err)
		}
	}
	if len(c.Current().Trunk) != 1 || c.Current().Trunk[0] != digestAt(t, 5) {
		t.Errorf("trunk: %v", c.Current().Trunk)
	}
}

func TestJoin_OneNumberInTwoRegions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.clock = 10
	w.rotate(0, 100, false) // 2
	w.rotate(1, 60, false)  // 3, of the same number
	w.share()
	c := w.join(w.records(w.all()))
	for i := 2; i <= 3; i++ {
		if v, err := c.Accept(secretAt(t, i), second(1<<20)); err != nil || v.Number != 2 || !v.NotAfter.IsZero() {
			t.Errorf("event %d: %v, %v", i, v, err)
		}
	}
	if !c.Versions[0].NotAfter.Equal(second(70)) {
		t.Errorf("version 1 ends at %s", c.Versions[0].NotAfter)
	}
	w.clock = 200
	w.rotate(0, 100, false) // the new home writes a deadline for both
	c = w.join(w.records(w.all()))
	for i, accepted := range map[int]bool{2: true, 3: true, 4: true} {
		if _, err := c.Accept(secretAt(t, i), second(299)); (err == nil) != accepted {
			t.Errorf("event %d: %v", i, err)
		}
	}
	for i, accepted := range map[int]bool{2: false, 3: false, 4: true} {
		if _, err := c.Accept(secretAt(t, i), second(300)); (err == nil) != accepted {
			t.Errorf("event %d at its deadline: %v", i, err)
		}
	}
}

// A client that comes back to a public key that it had before gets a version of its own, and what that closes is closed.
func TestJoin_AKeyThatComesBack(t *testing.T) {
	t.Parallel()
	b := newBook(t, "a", "a")
	version := func(n, key int, retires ...ledger.Retirement) []byte {
		k := public(t, string(rune('k'+key)))
		return b.write(t, second(n), ledger.KindVersion, client, ledger.VersionBody{
			Version: n, Digest: credential.Digest("jwk:" + k.ID()), Key: &k, Retires: retires,
		})
	}
	closed := func(n, key, at int) ledger.Retirement {
		return ledger.Retirement{Version: n, Digest: credential.Digest("jwk:" + public(t, string(rune('k'+key))).ID()), NotAfter: second(at)}
	}
	data := [][]byte{
		b.write(t, start, ledger.KindCredential, client, ledger.CredentialBody{Kind: credential.Standard}),
		version(1, 0), version(2, 1, closed(1, 0, 10)), version(3, 0, closed(2, 1, 20)),
	}
	c := ledger.JoinCredential(openAll(t, data, "a"))
	if got := c.Keys(second(30)); len(got) != 1 || got[0].Number != 3 || c.Number() != 3 {
		t.Errorf("= %v of %v", got, c.Versions)
	}
}

func TestJoinCredential_KeepsWhatCreatedIt(t *testing.T) {
	t.Parallel()
	b := newBook(t, "a", "a")
	end := second(500)
	body := ledger.CredentialBody{
		Name: "n", Kind: credential.Standard, Scopes: credential.NewScopes("a.read"), LicenseID: "lic_01jd6y0e00f2bvwrw0xk3y4t5z",
		ExpiresAt: &end, Labels: map[string]string{"k": "v"},
	}
	data := [][]byte{
		b.write(t, second(1), ledger.KindCredential, client, body),
		b.write(t, second(2), ledger.KindCredential, client, ledger.CredentialBody{Name: "another", Kind: credential.Shared}), // the first one stays
		b.write(t, second(3), ledger.KindVersion, client, ledger.VersionBody{Version: 1, Digest: digestAt(t, 1)}),
		b.write(t, second(4), ledger.KindRevoked, client, ledger.RevokedBody{}),
		b.write(t, second(5), ledger.KindRevoked, client, ledger.RevokedBody{}),
		b.write(t, second(6), "of.tomorrow", client, map[string]int{"version": 1}),
	}
	got := ledger.JoinCredential(openAll(t, data, "a"))
	want := &credential.Credential{
		ID: client, Name: "n", Kind: credential.Standard, Scopes: credential.Scopes{"a.read"}, LicenseID: body.LicenseID,
		CreatedAt: second(1), CreatedBy: client.String(), ExpiresAt: end, RevokedAt: second(4), Labels: map[string]string{"k": "v"},
		Versions: []credential.Version{{Number: 1, Digest: digestAt(t, 1), CreatedAt: second(3), Region: "a", Seq: 3, CreatedBy: client.String()}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if c := ledger.JoinCredential(openAll(t, data[2:], "a")); c != nil {
		t.Errorf("without the record that creates it: %+v", c)
	}
}

func TestAttachHash_OnlyWhereItBelongs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	records := w.records(w.all())
	good, other := secretAt(t, 1).Hash(), secretAt(t, 2).Hash()
	for name, row := range map[string]struct {
		region string
		seq    uint64
		hash   []byte
		want   bool
	}{
		"Fits": {"a", 2, good[:], true}, "OtherRegion": {"b", 2, good[:], false}, "OtherSeq": {"a", 1, good[:], false},
		"OtherHash": {"a", 2, other[:], false}, "Short": {"a", 2, good[:31], false}, "Long": {"a", 2, append(good[:], 0), false}, "None": {"a", 2, nil, false},
	} {
		c := ledger.JoinCredential(records)
		ledger.AttachHash(c, row.region, row.seq, row.hash)
		if (c.Versions[0].Hash != nil) != row.want {
			t.Errorf("%s: %v", name, c.Versions[0].Hash != nil)
		}
	}
	hash := good
	c := ledger.JoinCredential(records)
	ledger.AttachHash(c, "a", 2, hash[:])
	hash[0] ^= 1
	if !c.Versions[0].Hash.Equal(good) {
		t.Error("it shares memory with what was given")
	}
}

func clusterRecords(t testing.TB) [][]byte {
	b := newBook(t, "a", "a")
	key := func(n int, region *book, seed string, peer id.ID) []byte {
		return region.write(t, second(n), ledger.KindKey, cluster, ledger.KeyBody{Use: ledger.UseToken, Key: public(t, seed), PeerID: peer})
	}
	far := newBook(t, "b", "a")
	return [][]byte{
		b.founding(t), b.vouch(t, "b"), b.vouch(t, "b"),
		b.write(t, second(1), ledger.KindLicense, cluster, ledger.LicenseBody{License: json.RawMessage(`{"n":1}`)}),
		key(2, b, "t1", peerA), key(3, b, "t2", peerA), key(4, far, "t3", peerB), key(5, far, "t1", peerB), // nobody takes another's key
		b.write(t, second(6), ledger.KindKeyRetired, cluster, ledger.KeyRetiredBody{KeyID: public(t, "t1").ID()}),
		b.write(t, second(7), ledger.KindKeyRetired, cluster, ledger.KeyRetiredBody{KeyID: public(t, "t1").ID()}),
		b.write(t, second(8), ledger.KindHome, cluster, ledger.HomeBody{Home: "b"}),
		b.write(t, second(9), ledger.KindLicense, cluster, ledger.LicenseBody{License: json.RawMessage(`{"n":2}`)}),
		b.write(t, second(10), ledger.KindKey, cluster, ledger.KeyBody{Use: "of.tomorrow", Key: public(t, "t9")}),
	}
}

func TestJoinCluster_SaysWhatTheRecordsSay(t *testing.T) {
	t.Parallel()
	records := openAll(t, clusterRecords(t), "a")
	late := newBook(t, "c", "a")
	again := late.write(t, second(20), ledger.KindCluster, cluster, ledger.ClusterBody{Issuer: "https://b.example", Home: "c", LedgerKey: public(t, "c")})
	all := append(openAll(t, [][]byte{again}, "a"), records...) // the first founding is the one that counts
	laws(t, func(rt *rapid.T) {
		c := ledger.JoinCluster(rapid.Permutation(all).Draw(rt, "order"))
		if c.ID != cluster || c.Issuer != "https://a.example" || c.Home != "b" || string(c.License) != `{"n":2}` || !c.CreatedAt.Equal(start) {
			rt.Fatalf("= %+v", c)
		}
		want := []ledger.Key{
			{Key: public(t, "t1"), PeerID: peerA, Region: "a", PublishedAt: second(2), RetiredAt: second(6)},
			{Key: public(t, "t2"), PeerID: peerA, Region: "a", PublishedAt: second(3)},
			{Key: public(t, "t3"), PeerID: peerB, Region: "b", PublishedAt: second(4)},
		}
		if diff := cmp.Diff(want, c.Keys); diff != "" {
			rt.Fatal(diff)
		}
		if len(c.LedgerKeys) != 2 || c.Authority("a") != peerA || c.Authority("b") != peerB || c.Authority("c") != "" {
			rt.Fatalf("%v, %s, %s", c.LedgerKeys, c.Authority("a"), c.Authority("b"))
		}
	})
	if c := ledger.JoinCluster(records[1:]); c != nil {
		t.Errorf("without its founding: %+v", c)
	}
}

func TestJoinCluster_TakesTheLicenseIssuedLast(t *testing.T) {
	t.Parallel()
	b := newBook(t, "a", "a")
	license := func(at int, issued string) []byte {
		text := json.RawMessage(`{"issued_at":"` + issued + `"}`)
		return b.write(t, second(at), ledger.KindLicense, cluster, ledger.LicenseBody{License: text})
	}
	records := openAll(t, [][]byte{
		b.founding(t), license(50, "2026-01-01T00:00:00Z"), // written by a clock that was ahead
		license(10, "2026-02-01T00:00:00Z"),
	}, "a")
	if c := ledger.JoinCluster(records); string(c.License) != `{"issued_at":"2026-02-01T00:00:00Z"}` {
		t.Errorf("the license is %s", c.License)
	}
}

func TestJoin_PutsEachSubjectInItsPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	two := newBook(t, "z", "a")
	two.cluster = another
	data := append(clusterRecords(t), w.events[0].data, w.events[1].data, two.founding(t),
		w.books[0].write(t, start, ledger.KindVersion, "cli_01jd6y0e00f2bvwrw0xk3y4t60", ledger.VersionBody{Version: 1, Digest: "d"}), // never created
		w.books[0].write(t, start, ledger.KindPeer, peerA, ledger.PeerBody{Name: "p", Role: peer.Sidecar}),
		w.books[0].write(t, start, ledger.KindRevoked, "no id at all", ledger.RevokedBody{}),
	)
	records := openAll(t, data, "a")
	laws(t, func(rt *rapid.T) {
		s := ledger.Join(rapid.Permutation(records).Draw(rt, "order"))
		if s.Cluster == nil || s.Cluster.ID != cluster || len(s.Credentials) != 1 || s.Credentials[client] == nil {
			rt.Fatalf("= %+v", s)
		}
	})
	if s := ledger.Join(nil); s.Cluster != nil || s.Credentials == nil || len(s.Credentials) != 0 {
		t.Errorf("of nothing: %+v", s)
	}
}
