package dynamo_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/dynamo"
)

// lagging is DynamoDB while it applies a transaction: queries see its head, but not its other items yet. DynamoDB Local
// never shows that.
type lagging struct {
	*dynamodb.Client
	hidden string       // what the keys of hidden items contain, "pk / sk"
	left   atomic.Int64 // for so many queries that would see one
	checks atomic.Int64 // condition checks that were asked for
}

func (l *lagging) Query(ctx context.Context, in *dynamodb.QueryInput, o ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	out, err := l.Client.Query(ctx, in, o...)
	if err != nil || l.hidden == "" {
		return out, err
	}
	var shown []map[string]types.AttributeValue
	for _, it := range out.Items {
		name := it["pk"].(*types.AttributeValueMemberS).Value + " / " + it["sk"].(*types.AttributeValueMemberS).Value
		if !strings.Contains(name, l.hidden) {
			shown = append(shown, it)
		}
	}
	if len(shown) < len(out.Items) && l.left.Add(-1) >= 0 {
		out.Items = shown
	}
	return out, nil
}

func (l *lagging) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, o ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	for _, a := range in.TransactItems {
		if a.ConditionCheck != nil {
			l.checks.Add(1)
		}
	}
	return l.Client.TransactWriteItems(ctx, in, o...)
}

// two are a store that writes and one that reads through a lagging table.
func two(t *testing.T, o dynamo.Options) (writer, reader *dynamo.Store, l *lagging) {
	t.Helper()
	client := server.Client(t, region, nil)
	table := server.Table(t, client)
	l = &lagging{Client: client}
	return openTable(t, client, table, dynamo.Options{}), openTable(t, l, table, o), l
}

func TestVisible_WhoSawTheHeadSeesItsSubjects(t *testing.T) {
	t.Parallel()
	writer, reader, l := two(t, dynamo.Options{})
	head := mustAppend(t, writer, batch(authority.Head{}, "a", "b"))
	mustAppend(t, writer, batch(head, "a"))
	if _, err := reader.Heads(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.hidden = "S#a / local#00000000000000000003"
	l.left.Store(3)
	es, err := reader.Subject(t.Context(), "a")
	if err != nil || len(es) != 2 {
		t.Errorf("%d entries, %v: it has decided on what the head has overtaken", len(es), err)
	}
	if n := l.left.Load(); n >= 0 {
		t.Errorf("%d queries were never made", n)
	}
}

func TestVisible_GivesUpInTheEnd(t *testing.T) {
	t.Parallel()
	writer, reader, l := two(t, dynamo.Options{Patience: 3 * time.Second})
	mustAppend(t, writer, batch(authority.Head{}, "a"))
	for tries := 1; ; tries++ { // its patience is short
		_, err := reader.Heads(t.Context())
		if err == nil {
			break
		}
		if tries == 20 {
			t.Fatal(err)
		}
	}
	l.hidden = "S#a"
	l.left.Store(1 << 30)
	if _, err := reader.Subject(t.Context(), "a"); err == nil || errors.Is(err, authority.ErrNotFound) {
		t.Errorf("%v: an answer was made from half a batch", err)
	}
}

func TestVisible_LedgerHasWholeBatchesWithoutHoles(t *testing.T) {
	t.Parallel()
	for _, hidden := range []string{"L#local / 00000000000000000003", "L#local / 00000000000000000004", "L#local / 00000000000000000002"} {
		writer, reader, l := two(t, dynamo.Options{})
		head := mustAppend(t, writer, batch(authority.Head{}, "a", "b"))
		mustAppend(t, writer, batch(head, "c", "d"))
		l.hidden = hidden
		l.left.Store(2)
		es, err := reader.Ledger(t.Context(), region, 0, 10)
		if err != nil || len(es) != 4 || l.left.Load() >= 0 {
			t.Errorf("without %s: %d entries, %v", hidden, len(es), err)
		}
	}
}

// Another region's items arrive one by one, and late: nobody waits for them.
func TestVisible_ForeignLedgerEndsAtItsHole(t *testing.T) {
	t.Parallel()
	writer, reader, l := two(t, dynamo.Options{})
	b := batch(authority.Head{}, "a", "b")
	b2 := batch(headOf(b), "c", "d", "e")
	for _, b := range []authority.Batch{b, b2} {
		b.Region = "elsewhere"
		for i := range b.Entries {
			b.Entries[i].Region = "elsewhere"
		}
		mustAppend(t, writer, b)
	}
	for hidden, want := range map[string]int{"0000000005": 2, "0000000003": 2, "0000000002": 0} {
		l.hidden = hidden
		l.left.Store(1)
		es, err := reader.Ledger(t.Context(), "elsewhere", 0, 10)
		if err != nil || len(es) != want {
			t.Errorf("without %s: %d entries, want %d: %v", hidden, len(es), want, err)
		}
	}
}

// A batch commits nowhere before the one of somebody else that it follows has committed everywhere.
func TestVisible_BatchChecksTheOneBefore(t *testing.T) {
	t.Parallel()
	writer, other, l := two(t, dynamo.Options{})
	head := mustAppend(t, writer, batch(authority.Head{}, "a", "b", "a"))
	if _, err := other.Heads(t.Context()); err != nil {
		t.Fatal(err)
	}
	head = mustAppend(t, other, batch(head, "c"))
	if n := l.checks.Load(); n != 2 {
		t.Errorf("%d checks, want one for each of 2 subjects", n)
	}
	head = mustAppend(t, other, batch(head, "d"))
	if n := l.checks.Load(); n != 2 {
		t.Errorf("%d checks: its own batch needs none", n)
	}
	mustAppend(t, writer, batch(head, "e")) // which has not read that head
	many := batch(authority.Head{Seq: head.Seq + 1, Sum: batch(head, "e").Entries[0].Sum}, manyNames(49)...)
	mustAppend(t, other, many) // no room for a check beside 99 actions but in a transaction of its own
	mustAppend(t, writer, batch(headOf(many), "f"))
}

func manyNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = strings.Repeat("x", i+1)
	}
	return names
}
