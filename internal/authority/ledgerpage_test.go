package authority_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
)

// copier is a caller with the one scope that peers get.
var copier = access.Caller{Scopes: scopes(credential.LedgerRead)}

func (w *world) page(after authority.Cursor, limit int) authority.LedgerPage {
	w.t.Helper()
	p, err := w.a.LedgerAfter(ctx, copier, w.at, after, limit)
	if err != nil {
		w.t.Fatalf("page: %v", err)
	}
	return p
}

// placesOf says where the records of a page stand.
func placesOf(t testing.TB, p authority.LedgerPage) (list []string) {
	t.Helper()
	for _, s := range p.Records {
		region, seq, err := s.Place()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s:%d", region, seq))
	}
	return list
}

func TestLedgerAfter_TakesItsOwnScope(t *testing.T) {
	t.Parallel()
	w := found(t)
	for name, c := range map[string]access.Caller{
		"Admin": w.root, "Nothing": {}, "CredentialsRead": {Scopes: scopes(credential.CredentialsRead)},
	} {
		if _, err := w.a.LedgerAfter(ctx, c, w.at, nil, 0); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("%s: %v, want ErrForbidden", name, err)
		}
	}
}

// Page by page, a peer gets every record once, and the hash of each live version with it.
func TestLedgerAfter_GivesEverythingOnce(t *testing.T) {
	t.Parallel()
	w := found(t)
	for range 4 {
		w.create(w.root, scopes("billing.read"))
	}
	var got []string
	cursor, hashes := authority.Cursor{}, 0
	for cursor["local"] < w.head() {
		p := w.page(cursor, 3)
		if len(p.Records) == 0 || len(p.Records) > 3 || p.Region != "local" || p.Heads["local"] != w.head() {
			t.Fatalf("page after %v: %+v", cursor, p)
		}
		got = append(got, placesOf(t, p)...)
		cursor["local"] += uint64(len(p.Records))
		for _, h := range p.Hashes {
			if h.Hash != nil {
				hashes++
			}
		}
	}
	var want []string
	for i := range w.head() {
		want = append(want, fmt.Sprintf("local:%d", i+1))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records:\n%s", diff)
	}
	if hashes != 5 {
		t.Errorf("%d hashes, want 5", hashes)
	}
	if p := w.page(cursor, 0); len(p.Records) != 0 || len(p.Hashes) != 0 || p.Heads["local"] != w.head() {
		t.Errorf("page at the end: %+v", p)
	}
}

// With each version comes its hash, or an explicit null where nobody is accepted with it any more.
func TestLedgerAfter_HashesOfTheLive(t *testing.T) {
	t.Parallel()
	w := found(t)
	m := w.create(w.root, scopes("billing.read"))
	w.rotate(w.root, m.target(), authority.RotateRequest{Window: time.Hour})
	raw, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwk.New(raw)
	if err != nil {
		t.Fatal(err)
	}
	keyed := w.create(w.root, scopes("billing.read"), func(r *authority.CreateRequest) { r.Key = &key })
	dead := w.create(w.root, scopes("billing.read"))
	if err := w.a.Revoke(ctx, w.root, w.origin(w.root), dead.target()); err != nil {
		t.Fatal(err)
	}
	check := func(want map[id.ID][]bool) {
		t.Helper()
		got := map[id.ID][]bool{}
		for _, h := range w.page(nil, 0).Hashes {
			e := w.entries()[h.Seq-1]
			if h.Hash != nil && string(h.Hash) != string(e.Secret) {
				t.Errorf("%d: another hash", h.Seq)
			}
			got[id.ID(e.Subject)] = append(got[id.ID(e.Subject)], h.Hash != nil)
		}
		delete(got, w.founded.Credential.ID)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("hashes of versions:\n%s", diff)
		}
	}
	want := map[id.ID][]bool{m.id: {true, true}, keyed.id: {false}, dead.id: {false}}
	check(want)
	w.later(time.Hour - time.Second)
	check(want)
	w.later(time.Second) // at the deadline
	want[m.id] = []bool{false, true}
	check(want)
}

// A page stays small enough for any carrier, however many records are asked for.
func TestLedgerAfter_StaysBelow3MB(t *testing.T) {
	t.Parallel()
	w := found(t)
	w.bulk("local", 80, 60<<10)
	p := w.page(nil, 5000)
	size := 0
	for _, r := range p.Records {
		size += len(r.Payload) * 4 / 3
	}
	if size > 3_100_000 || size < 2_500_000 {
		t.Errorf("a page of %d records and %d bytes", len(p.Records), size)
	}
}

// Every region has its share: a record that makes another region's readable is in every page that goes on.
func TestLedgerAfter_SharesAPageAmongRegions(t *testing.T) {
	t.Parallel()
	w := found(t)
	w.bulk("alpha", 20, 100)
	w.bulk("beta", 2, 100)
	p := w.page(nil, 12)
	per := map[string]int{}
	for _, place := range placesOf(t, p) {
		region, _, _ := strings.Cut(place, ":")
		per[region]++
	}
	if len(p.Records) != 12 || per["alpha"] < 4 || per["beta"] != 2 || per["local"] < 4 {
		t.Errorf("a page of 12: %v", per)
	}
	for _, region := range []string{"alpha", "beta", "local"} {
		next := 1
		for _, place := range placesOf(t, p) {
			if strings.HasPrefix(place, region+":") {
				if place != fmt.Sprintf("%s:%d", region, next) {
					t.Errorf("%s where %s:%d is next", place, region, next)
				}
				next++
			}
		}
	}
}

// bulk writes a region's ledger of n records with a reason of that size.
func (w *world) bulk(region string, n, size int) {
	w.t.Helper()
	heads, err := w.file.Heads(ctx)
	if err != nil {
		w.t.Fatalf("heads: %v", err)
	}
	head := heads[region]
	for range n {
		head = w.foreign(head, ledger.Record{
			Region: region, Kind: ledger.KindRevoked, Subject: id.New(id.JoinKey, w.at), Reason: strings.Repeat("x", size),
		}, ledger.RevokedBody{}, nil)
	}
}

// foreign appends a record to another region's ledger, as replication brings it: with a hash beside it, or without.
func (w *world) foreign(head authority.Head, r ledger.Record, body any, hash []byte) authority.Head {
	w.t.Helper()
	c, err := w.a.Cluster(ctx)
	if err != nil {
		w.t.Fatalf("cluster: %v", err)
	}
	s, err := w.custody.Ledger(ctx, c.Cluster)
	if err != nil {
		w.t.Fatalf("ledger key: %v", err)
	}
	r.Cluster, r.Seq, r.Prev, r.At = c.ID, head.Seq+1, ledger.PrevOf(head.Sum), w.at
	data, err := s.Sign(r, body)
	if err != nil {
		w.t.Fatalf("sign: %v", err)
	}
	e := authority.Entry{Region: r.Region, Seq: r.Seq, Subject: r.Subject.String(), Data: data, Sum: ledger.Sum(data), Secret: hash}
	if err := w.file.Append(ctx, authority.Batch{Region: r.Region, After: head, Entries: []authority.Entry{e}}); err != nil {
		w.t.Fatalf("append: %v", err)
	}
	return authority.Head{Seq: e.Seq, Sum: e.Sum}
}

// A version from another region waits for its hash, as long as it is live and its hash can still be on its way.
func TestLedgerAfter_WaitsForHashesOfOtherRegions(t *testing.T) {
	t.Parallel()
	w := found(t)
	m := w.create(w.root, scopes("billing.read"))
	hash := credential.Hash{1, 2, 3}
	version := ledger.VersionBody{Version: 2, Digest: hash.Digest()}
	r := ledger.Record{Region: "other", Kind: ledger.KindVersion, Subject: m.id}
	head := w.foreign(authority.Head{}, r, version, nil)
	w.foreign(head, ledger.Record{Region: "other", Kind: ledger.KindRevoked, Subject: id.New(id.JoinKey, w.at)}, ledger.RevokedBody{}, nil)
	others := func() (list []string) {
		for _, place := range placesOf(t, w.page(nil, 0)) {
			if strings.HasPrefix(place, "other:") {
				list = append(list, place)
			}
		}
		return list
	}
	if got := others(); len(got) != 0 {
		t.Errorf("before the hash has arrived: %v", got)
	}
	if p := w.page(nil, 0); p.Heads["other"] != 2 {
		t.Errorf("heads %v", p.Heads)
	}
	w.later(24*time.Hour - time.Second)
	if got := others(); len(got) != 0 {
		t.Errorf("as long as it can be on its way: %v", got)
	}
	w.later(time.Second)
	if got := others(); len(got) != 2 {
		t.Errorf("lost for ever: %v, want both", got)
	}
	w.at = start
	if err := w.a.Revoke(ctx, w.root, w.origin(w.root), m.target()); err != nil {
		t.Fatal(err)
	}
	if got := others(); len(got) != 2 {
		t.Errorf("revoked: %v, want both", got)
	}
}

// A version whose record is in the ledger, and not yet among those of its subject, may be live.
func TestLedgerAfter_WaitsForAnUnknownSubject(t *testing.T) {
	t.Parallel()
	w := found(t)
	hash := credential.Hash{1}
	r := ledger.Record{Region: "other", Kind: ledger.KindVersion, Subject: id.New(id.Client, w.at)}
	w.foreign(authority.Head{}, r, ledger.VersionBody{Version: 1, Digest: hash.Digest()}, nil)
	for _, place := range placesOf(t, w.page(nil, 0)) {
		if place == "other:1" {
			t.Error("a version went out without its hash")
		}
	}
}

// The only writer's store is fed by nobody: what is missing there has been missing since an import.
func TestLedgerAfter_OnlyWriterWaitsForNothing(t *testing.T) {
	t.Parallel()
	w := found(t, remembering)
	hash := credential.Hash{1}
	r := ledger.Record{Region: "other", Kind: ledger.KindVersion, Subject: id.New(id.Client, w.at)}
	w.foreign(authority.Head{}, r, ledger.VersionBody{Version: 1, Digest: hash.Digest()}, nil)
	p := w.page(nil, 0)
	if got := placesOf(t, p); got[len(got)-1] != "other:1" {
		t.Errorf("records %v", got)
	}
	if p.PollAfter != 0 {
		t.Errorf("poll after %v, want 0: a request can wait", p.PollAfter)
	}
}

func TestLedgerAfter_SaysWhenToAskAgain(t *testing.T) {
	t.Parallel()
	if p := found(t).page(nil, 0); p.PollAfter != 5*time.Second {
		t.Errorf("poll after %v, want 5 s", p.PollAfter)
	}
}
