package dynamo_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/authority/storetest"
	"github.com/keyturn/keyturn/internal/dynamo"
	"github.com/keyturn/keyturn/internal/dynamo/local"
)

var server local.Server

func TestMain(m *testing.M) {
	code := m.Run()
	server.Stop()
	os.Exit(code)
}

// region is that of the stores in these tests: the one that most batches of the suite are for.
const region = "local"

var (
	start = time.Date(2081, 3, 1, 12, 0, 0, 0, time.UTC) // far from the clock that DynamoDB Local deletes by
	day   = 24 * time.Hour
)

// open returns a store in a new table.
func open(t testing.TB) *dynamo.Store {
	t.Helper()
	client := server.Client(t, region, nil)
	return openTable(t, client, server.Table(t, client), dynamo.Options{})
}

// openTable opens the store in a table and closes it when t ends.
func openTable(t testing.TB, api dynamo.API, table string, o dynamo.Options) *dynamo.Store {
	t.Helper()
	if o == (dynamo.Options{}) { // a machine that tests many packages at once may be slow, and what is repeated is counted
		o = certain
	}
	s, err := dynamo.Open(t.Context(), api, table, region, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// batch is the next batch of our region's ledger: one entry for each subject.
func batch(after authority.Head, names ...string) authority.Batch {
	b := authority.Batch{Region: region, After: after}
	for i, name := range names {
		seq := after.Seq + uint64(i) + 1
		data := fmt.Appendf(nil, "%d %s", seq, name)
		sum := sha256.Sum256(data)
		b.Entries = append(b.Entries, authority.Entry{Region: region, Seq: seq, Subject: name, Data: data, Sum: sum[:]})
	}
	return b
}

func headOf(b authority.Batch) authority.Head {
	last := b.Entries[len(b.Entries)-1]
	return authority.Head{Seq: last.Seq, Sum: last.Sum}
}

func mustAppend(t testing.TB, s authority.Store, b authority.Batch) authority.Head {
	t.Helper()
	if err := s.Append(t.Context(), b); err != nil {
		t.Fatalf("append: %v", err)
	}
	return headOf(b)
}

// items returns all items of a table by their keys, "pk / sk".
func items(t testing.TB, client *dynamodb.Client, table string) map[string]map[string]types.AttributeValue {
	t.Helper()
	found := map[string]map[string]types.AttributeValue{}
	pages := dynamodb.NewScanPaginator(client, &dynamodb.ScanInput{TableName: &table})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range page.Items {
			pk, sk := it["pk"].(*types.AttributeValueMemberS), it["sk"].(*types.AttributeValueMemberS)
			found[pk.Value+" / "+sk.Value] = it
		}
	}
	return found
}

// expires is the TTL attribute of an item; "" where it has none.
func expires(it map[string]types.AttributeValue) string {
	n, _ := it["expires_at"].(*types.AttributeValueMemberN)
	if n == nil {
		return ""
	}
	return n.Value
}

func TestStore_Suite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) authority.Store { return open(t) })
}

func TestStore_Layout(t *testing.T) {
	t.Parallel()
	client := server.Client(t, region, nil)
	table := server.Table(t, client)
	s := openTable(t, client, table, dynamo.Options{})
	b := batch(authority.Head{}, "cli_a")
	b.Entries[0].Secret, b.Entries[0].Lists = []byte("hash"), []string{"credentials"}
	b.Claims = []authority.Claim{{Key: "k", Value: []byte("v"), At: start, ExpiresAt: start.Add(day)}}
	b.Limits = []authority.Limit{{Name: "nodes", Delta: 1, Max: 5}}
	mustAppend(t, s, b)
	if it := items(t, client, table)["C#k / local"]; expires(it) != fmt.Sprint(start.Add(day+time.Hour).Unix()) {
		t.Errorf("the claim's item goes at %s: a clock that is behind could still ask", expires(it))
	}
	want := []string{
		"C#k / local", "D#credentials / cli_a", "H / local",
		"L#local / 00000000000000000001", "L#local / 00000000000000000001#h", "N#local / nodes",
		"S#cli_a / local#00000000000000000001", "S#cli_a / local#00000000000000000001#h",
	}
	if got := slices.Sorted(maps.Keys(items(t, client, table))); !slices.Equal(got, want) {
		t.Errorf("items:\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func TestStore_DatesBothHashesExactly(t *testing.T) {
	t.Parallel()
	client := server.Client(t, region, nil)
	table := server.Table(t, client)
	s := openTable(t, client, table, dynamo.Options{})
	b := batch(authority.Head{}, "a", "b")
	b.Entries[0].Secret, b.Entries[1].Secret = []byte("hash of a"), []byte("hash of b")
	head := mustAppend(t, s, b)
	until := start.Add(90 * time.Second)
	b = batch(head, "c")
	b.Expiries = []authority.Expiry{
		{Subject: "a", Region: region, Seq: 1, Secret: until.Add(time.Hour)},
		{Subject: "a", Region: region, Seq: 1, Secret: until, Copy: until.Add(day)}, // the same again: the earliest wins
		{Subject: "a", Region: region, Seq: 2, Secret: until, Copy: until},          // that is b's: nothing happens
	}
	mustAppend(t, s, b)
	all := items(t, client, table)
	for name, want := range map[string]string{
		"L#local / 00000000000000000001":     "",
		"L#local / 00000000000000000001#h":   fmt.Sprint(until.Unix()),
		"S#a / local#00000000000000000001":   fmt.Sprint(until.Add(day).Unix()),
		"S#a / local#00000000000000000001#h": fmt.Sprint(until.Unix()),
		"L#local / 00000000000000000002#h":   "",
		"S#b / local#00000000000000000002":   "",
		"S#b / local#00000000000000000002#h": "",
	} {
		if it, ok := all[name]; !ok || expires(it) != want {
			t.Errorf("%s: there: %t, expires_at %q, want %q", name, ok, expires(it), want)
		}
	}
	for name := range all {
		if strings.HasPrefix(name, "S#a / local#00000000000000000002") {
			t.Errorf("an expiry has made %s", name)
		}
	}
}

func TestStore_EntryAndExpiryInOneBatch(t *testing.T) {
	t.Parallel()
	s := open(t)
	b := batch(authority.Head{}, "a")
	b.Entries[0].Secret = []byte("hash")
	b.Expiries = []authority.Expiry{{Subject: "a", Region: region, Seq: 1, Secret: start, Copy: start.Add(day)}}
	mustAppend(t, s, b)
	es, err := s.Subject(t.Context(), "a")
	if err != nil || !es[0].SecretExpires.Equal(start) || !es[0].CopyExpires.Equal(start.Add(day)) {
		t.Errorf("%+v, %v", es, err)
	}
}

// Deleted hashes and copies are what the TTL leaves behind.
func TestStore_GoesOnWithoutWhatHasExpired(t *testing.T) {
	t.Parallel()
	client := server.Client(t, region, nil)
	table := server.Table(t, client)
	s := openTable(t, client, table, dynamo.Options{})
	b := batch(authority.Head{}, "a", "a", "a")
	for i := range b.Entries {
		b.Entries[i].Secret = []byte("hash")
	}
	head := mustAppend(t, s, b)
	for _, key := range [][2]string{
		{"S#a", "local#00000000000000000001"}, // the copy before its hash
		{"S#a", "local#00000000000000000002#h"},
		{"L#local", "00000000000000000002#h"},
	} {
		_, err := client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &table, Key: map[string]types.AttributeValue{
			"pk": &types.AttributeValueMemberS{Value: key[0]}, "sk": &types.AttributeValueMemberS{Value: key[1]},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	es, err := s.Subject(t.Context(), "a")
	if err != nil || len(es) != 2 || es[0].Seq != 2 || es[0].Secret != nil || es[1].Secret == nil {
		t.Errorf("subject: %+v, %v", es, err)
	}
	es, err = s.Ledger(t.Context(), region, 0, 9)
	if err != nil || len(es) != 3 || es[0].Secret == nil || es[1].Secret != nil {
		t.Errorf("ledger: %+v, %v", es, err)
	}
	b = batch(head, "a")
	for seq := range uint64(3) {
		b.Expiries = append(b.Expiries, authority.Expiry{Subject: "a", Region: region, Seq: seq + 1, Secret: start, Copy: start})
	}
	mustAppend(t, s, b)
}

func TestStore_FollowsPages(t *testing.T) {
	t.Parallel()
	s := open(t)
	head := authority.Head{}
	const rounds, size = 9, 200_000 // past 1 MB
	for range rounds {
		b := batch(head, "a")
		b.Entries[0].Data, b.Entries[0].Secret = slices.Repeat([]byte{7}, size), []byte("hash")
		head = mustAppend(t, s, b)
	}
	bySubject, err1 := s.Subject(t.Context(), "a")
	byRegion, err2 := s.Ledger(t.Context(), region, 0, 100)
	if err := errors.Join(err1, err2); err != nil || len(bySubject) != rounds || len(byRegion) != rounds {
		t.Fatalf("%d and %d entries, want %d: %v", len(bySubject), len(byRegion), rounds, err)
	}
	for i := range rounds {
		if bySubject[i].Secret == nil || byRegion[i].Secret == nil || len(byRegion[i].Data) != size {
			t.Errorf("entry %d is not whole", i)
		}
	}
}

func TestStore_RefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	s := open(t)
	many := batch(authority.Head{}, slices.Repeat([]string{"a"}, 50)...) // 50 entries and their copies, and the head
	wrong := batch(authority.Head{}, "a", "b")
	wrong.Entries[1].Seq = 7
	for want, b := range map[string]authority.Batch{
		"touches 101 items and one transaction takes 100": many,
		"without entries":   {Region: region},
		"entry 1 is":        wrong,
		"entry 0: a region": {Region: "a#b", Entries: []authority.Entry{{Region: "a#b", Seq: 1, Subject: "s"}}},
	} {
		err := s.Append(t.Context(), b)
		if err == nil || errors.Is(err, authority.ErrConflict) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want one with %q that is no conflict", err, want)
		}
	}
	if heads, err := s.Heads(t.Context()); err != nil || len(heads) != 0 {
		t.Errorf("heads %v, %v", heads, err)
	}
	mustAppend(t, s, batch(authority.Head{}, slices.Repeat([]string{"a"}, 49)...))
}

func TestStore_LimitsOfOneCounterCountTogether(t *testing.T) {
	t.Parallel()
	s := open(t)
	head := authority.Head{}
	for i, step := range []struct {
		moves    []authority.Limit
		conflict bool
	}{
		{moves: []authority.Limit{{Delta: 2, Max: 2}, {Delta: 1, Max: 3}}},                    // 3
		{moves: []authority.Limit{{Delta: 1, Max: 9}, {Delta: 1, Max: 4}}, conflict: true},    // 5 > 4
		{moves: []authority.Limit{{Delta: -9}, {Delta: 1, Max: 1}}},                           // 0, 1
		{moves: []authority.Limit{{Delta: 4, Max: 4}, {Delta: -2}}, conflict: true},           // 5 > 4 on the way
		{moves: []authority.Limit{{Delta: 3, Max: 4}, {Delta: -2}, {Delta: 0}}},               // 2
		{moves: []authority.Limit{{Delta: 1, Max: 3}, {Delta: 1, Max: 3}}, conflict: true},    // 4 > 3
		{moves: []authority.Limit{{Delta: 1, Max: 3}, {Delta: -5}, {Delta: 3, Max: 3}}},       // 3, 0, 3
		{moves: []authority.Limit{{Delta: -1}, {Delta: 2, Max: 3}}, conflict: true},           // 2, 4
		{moves: []authority.Limit{{Delta: -1}, {Delta: -1}, {Delta: -1}, {Delta: 1, Max: 1}}}, // 1
	} {
		b := batch(head, "a")
		for _, m := range step.moves {
			m.Name = "c"
			b.Limits = append(b.Limits, m)
		}
		err := s.Append(t.Context(), b)
		if errors.Is(err, authority.ErrConflict) != step.conflict || err != nil && !step.conflict {
			t.Fatalf("step %d: %v, conflict wanted: %t", i, err, step.conflict)
		}
		if err == nil {
			head = headOf(b)
		}
	}
}

func TestStore_OneClaimPerBatch(t *testing.T) {
	t.Parallel()
	s := open(t)
	b := batch(authority.Head{}, "a")
	c := authority.Claim{Key: "k", At: start, ExpiresAt: start.Add(day)}
	b.Claims = []authority.Claim{c, c}
	if err := s.Append(t.Context(), b); !errors.Is(err, authority.ErrConflict) {
		t.Errorf("the same claim twice: %v, want ErrConflict", err)
	}
}

// As it is where a global table has brought the other region's item.
func TestStore_ClaimOfAnotherRegionCounts(t *testing.T) {
	t.Parallel()
	client := server.Client(t, region, nil)
	table := server.Table(t, client)
	ours := openTable(t, client, table, dynamo.Options{})
	theirs, err := dynamo.Open(t.Context(), client, table, "elsewhere", dynamo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := authority.Claim{Key: "k", Value: []byte("theirs"), At: start, ExpiresAt: start.Add(day)}
	if err := theirs.Claim(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := ours.Claim(t.Context(), c); !errors.Is(err, authority.ErrConflict) {
		t.Errorf("%v, want ErrConflict", err)
	}
	if got, err := ours.Claimed(t.Context(), "k"); err != nil || string(got.Value) != "theirs" {
		t.Errorf("%q, %v", got.Value, err)
	}
	c.At, c.ExpiresAt, c.Value = start.Add(day), start.Add(2*day), []byte("ours")
	if err := ours.Claim(t.Context(), c); err != nil {
		t.Errorf("when theirs has expired: %v", err)
	}
	if got, err := theirs.Claimed(t.Context(), "k"); err != nil || string(got.Value) != "ours" {
		t.Errorf("%q, %v", got.Value, err)
	}
	if n := len(items(t, client, table)); n != 2 {
		t.Errorf("%d items: each region writes its own", n)
	}
}

// A batch takes its claims without having read them: what another region holds, as far as it has arrived here, keeps it out.
func TestAppend_ClaimOfAnotherRegionCounts(t *testing.T) {
	t.Parallel()
	client := server.Client(t, region, nil)
	table := server.Table(t, client)
	ours := openTable(t, client, table, dynamo.Options{})
	theirs, err := dynamo.Open(t.Context(), client, table, "elsewhere", dynamo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := batch(authority.Head{}, "a")
	b.Region, b.Entries[0].Region = "elsewhere", "elsewhere"
	b.Claims = []authority.Claim{{Key: "k", At: start, ExpiresAt: start.Add(day)}}
	if err := theirs.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Heads(t.Context()); err != nil { // as whoever decides on a batch does
		t.Fatal(err)
	}
	for name, others := range map[string][]string{"InTheTransaction": {"a"}, "BeforeATransactionThatIsFull": make([]string, 33)} {
		t.Run(name, func(t *testing.T) {
			for i := range others {
				others[i] = fmt.Sprint("subject ", i)
			}
			b := batch(authority.Head{}, others...)
			for i := range b.Entries {
				b.Entries[i].Lists = []string{"list"}
			}
			b.Claims = []authority.Claim{{Key: "k", Value: []byte("ours"), At: start.Add(day - time.Second), ExpiresAt: start.Add(2 * day)}}
			b.Entries = b.Entries[:min(len(b.Entries), 32)]
			if err := ours.Append(t.Context(), b); !errors.Is(err, authority.ErrConflict) {
				t.Errorf("%v, want ErrConflict", err)
			}
		})
	}
	if _, err := ours.Subject(t.Context(), "subject 0"); !errors.Is(err, authority.ErrNotFound) {
		t.Errorf("some of a batch that was refused is there: %v", err)
	}
	b = batch(authority.Head{}, "b")
	b.Claims = []authority.Claim{{Key: "k", Value: []byte("ours"), At: start.Add(day), ExpiresAt: start.Add(2 * day)}}
	if err := ours.Append(t.Context(), b); err != nil {
		t.Errorf("when theirs has expired: %v", err)
	}
}

func TestStore_ClosedIsClosed(t *testing.T) {
	t.Parallel()
	s := open(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Heads(t.Context()); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("%v, want fs.ErrClosed", err)
	}
}

func TestOpen_RefusesNames(t *testing.T) {
	t.Parallel()
	client := dynamodb.New(dynamodb.Options{Region: region})
	for _, name := range [][2]string{{"", region}, {"table", ""}, {"table", "a#b"}, {"table", "a b"}} {
		if _, err := dynamo.Open(t.Context(), client, name[0], name[1], dynamo.Options{}); err == nil {
			t.Errorf("table %q, region %q: no error", name[0], name[1])
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := dynamo.Open(ended, client, "table", region, dynamo.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}

// However many versions there are: an emergency and a revocation get through.
func TestStore_DatesAnyNumberOfEntries(t *testing.T) {
	t.Parallel()
	client := server.Client(t, region, nil)
	table := server.Table(t, client)
	f := &local.Faults{Next: transport(t)}
	s := openTable(t, server.Client(t, region, f), table, certain)
	const versions = 70
	head := authority.Head{}
	for range versions / 10 {
		b := batch(head, slices.Repeat([]string{"a"}, 10)...)
		for i := range b.Entries {
			b.Entries[i].Secret = []byte("hash")
		}
		head = mustAppend(t, s, b)
	}
	dating := func(at time.Time) authority.Batch {
		b := batch(head, "a")
		for seq := range uint64(versions) {
			b.Expiries = append(b.Expiries, authority.Expiry{Subject: "a", Region: region, Seq: seq + 1, Secret: at})
		}
		return b
	}
	f.Forget()
	transactions := 0
	ctx, end := context.WithCancel(t.Context())
	defer end()
	f.Plan = func(_ int, operation string) local.Fault {
		if operation == "TransactWriteItems" {
			transactions++
		}
		if transactions > 1 {
			end()
			return local.CutOff
		}
		return ""
	}
	b := dating(start.Add(day))
	if err := s.Append(ctx, b); err == nil || errors.Is(err, authority.ErrConflict) {
		t.Errorf("cut off between the batch and its last dates: %v", err)
	}
	f.Plan = nil
	head = headOf(b)
	if heads, err := s.Heads(t.Context()); err != nil || heads[region].Seq != head.Seq {
		t.Errorf("the head is %d, want %d: %v", heads[region].Seq, head.Seq, err)
	}
	mustAppend(t, s, dating(start))
	for name, it := range items(t, client, table) {
		old := !strings.Contains(name, fmt.Sprintf("%020d", versions+1))
		if strings.HasSuffix(name, "#h") && old && expires(it) != fmt.Sprint(start.Unix()) {
			t.Errorf("%s expires at %q", name, expires(it))
		}
	}
}
