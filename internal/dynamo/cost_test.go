package dynamo_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/dynamo"
)

// meter counts requests, and the capacity units that they cost: read units as DynamoDB reports them; write units as AWS
// charges them, two for each item and KB of a transaction, because DynamoDB Local reports hardly any.
type meter struct {
	dynamo.API
	table   string
	mu      sync.Mutex
	calls   []string
	actions int     // of the last transaction
	reads   float64 // read units
	writes  float64 // write units
}

func (m *meter) note(call string, reads, writes float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls, m.reads, m.writes = append(m.calls, call), m.reads+reads, m.writes+writes
}

// reset starts to count anew.
func (m *meter) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls, m.reads, m.writes = nil, 0, 0
}

func (m *meter) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprintf("%s: %.1f read units, %.1f write units", strings.Join(m.calls, " "), m.reads, m.writes)
}

func units(c *types.ConsumedCapacity) float64 {
	if c == nil || c.CapacityUnits == nil {
		return -1e9 // nothing was reported: every budget fails to hold
	}
	return *c.CapacityUnits
}

func (m *meter) Query(ctx context.Context, in *dynamodb.QueryInput, o ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	metered := *in
	metered.ReturnConsumedCapacity = types.ReturnConsumedCapacityTotal
	out, err := m.API.Query(ctx, &metered, o...)
	if err == nil {
		m.note("Query", units(out.ConsumedCapacity), 0)
	}
	return out, err
}

func (m *meter) PutItem(ctx context.Context, in *dynamodb.PutItemInput, o ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	metered := *in
	metered.ReturnConsumedCapacity = types.ReturnConsumedCapacityTotal
	out, err := m.API.PutItem(ctx, &metered, o...)
	if err == nil {
		m.note("Put", 0, units(out.ConsumedCapacity))
	}
	return out, err
}

func (m *meter) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, o ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	metered := *in
	metered.ReturnConsumedCapacity = types.ReturnConsumedCapacityTotal
	out, err := m.API.TransactWriteItems(ctx, &metered, o...)
	m.note("Transact", 0, 0) // also one that is cancelled
	if err == nil {
		m.mu.Lock()
		m.actions = len(in.TransactItems)
		for _, a := range in.TransactItems {
			m.writes += 2
			if a.Put != nil {
				m.writes += 2 * float64((sizeOf(a.Put.Item)-1)/1024)
			}
		}
		m.mu.Unlock()
	}
	return out, err
}

// sizeOf is the size of an item in bytes, near enough.
func sizeOf(it map[string]types.AttributeValue) (n int) {
	for name, v := range it {
		n += len(name)
		switch v := v.(type) {
		case *types.AttributeValueMemberS:
			n += len(v.Value)
		case *types.AttributeValueMemberB:
			n += len(v.Value)
		case *types.AttributeValueMemberN:
			n += len(v.Value)
		case *types.AttributeValueMemberM:
			n += 3 + sizeOf(v.Value)
		}
	}
	return n
}

// metered is a cluster whose shared credential has two live versions, seen by a function that has served before.
func metered(t *testing.T) (*world, *meter) {
	t.Helper()
	client := server.Client(t, region, nil)
	table := server.Table(t, client)
	w := found(t, openTable(t, client, table, dynamo.Options{}))
	w.at = w.at.Add(time.Hour)
	if _, err := w.rotate(t.Context(), authority.RotateRequest{Window: day}, "the first"); err != nil {
		t.Fatal(err)
	}
	m := &meter{API: client, table: table}
	w.over(openTable(t, m, table, dynamo.Options{}))
	w.token(w.shared.String(), w.secret)
	if _, err := w.a.Shared(t.Context(), w.at); err != nil {
		t.Fatal(err)
	}
	m.reset()
	return w, m
}

func TestCost_TokenIsOneQueryOfOneUnit(t *testing.T) {
	t.Parallel()
	w, m := metered(t)
	if n := len(w.credential().Versions); n != 2 {
		t.Fatalf("%d versions", n)
	}
	m.reset()
	w.token(w.shared.String(), w.secret)
	t.Log(m)
	if len(m.calls) != 1 || m.reads != 1 || m.writes != 0 {
		t.Errorf("a token request: %s, want one query of 1 unit", m)
	}
}

func TestCost_RotationIsThreeReadsAndOneTransaction(t *testing.T) {
	t.Parallel()
	w, m := metered(t)
	text := w.token(w.shared.String(), w.secret)
	for _, r := range []authority.RotateRequest{{Window: day}, {Window: time.Hour}, {Window: 2 * day}, {Emergency: true}} {
		w.at = w.at.Add(time.Minute)
		m.reset()
		ctx := w.a.Snapshot(t.Context()) // as httpapi does before it looks at the token
		by, err := w.a.Check(ctx, w.at, text, "")
		if err != nil {
			t.Fatal(err)
		}
		w.root = by
		secret, err := w.rotate(ctx, r, fmt.Sprintf("key of %v", w.at))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v: %d actions, %s", r, m.actions, m)
		want, most := "Query Query Transact", 10
		if r.Emergency { // it ends five versions, and looks twice for what they created: nothing
			want, most = "Query Query Query Query Transact", 22
		}
		if got := strings.Join(m.calls, " "); got != want || m.reads > 6 || m.actions > most || m.writes > 2*float64(most)+2 {
			t.Errorf("%+v: %d actions, %s", r, m.actions, m)
		}
		text = w.token(w.shared.String(), secret)
	}
}

// The head, the caller and the target are read, once each; a second region that has written does not change that.
func TestCost_RotationOfAnotherIsThreeReadsAndOneTransaction(t *testing.T) {
	t.Parallel()
	w, m := metered(t)
	made, err := w.a.Create(t.Context(), w.root, w.origin(), authority.CreateRequest{}, once("made"))
	if err != nil {
		t.Fatal(err)
	}
	text := w.token(w.shared.String(), w.secret)
	rotate := func(key string) error {
		w.at = w.at.Add(time.Minute)
		m.reset()
		ctx := w.a.Snapshot(t.Context())
		by, err := w.a.Check(ctx, w.at, text, "")
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.a.Rotate(ctx, by, w.origin(), clientID(t, made.Credential.ID.String()), authority.RotateRequest{Window: day}, once(key))
		return err
	}
	for _, key := range []string{"one", "two", "a second region"} {
		if key == "a second region" {
			theirs, err := dynamo.Open(t.Context(), m, m.table, "elsewhere", dynamo.Options{})
			if err != nil {
				t.Fatal(err)
			}
			b := batch(authority.Head{}, "x")
			b.Region, b.Entries[0].Region = "elsewhere", "elsewhere"
			if err := theirs.Append(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if err := rotate("the first that hears of it"); err != nil { // and reads the cluster's records again
				t.Fatal(err)
			}
		}
		if err := rotate(key); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d actions, %s", key, m.actions, m)
		if got := strings.Join(m.calls, " "); got != "Query Query Query Transact" || m.reads > 4 || m.actions > 12 {
			t.Errorf("%s: %d actions, %s", key, m.actions, m)
		}
	}
	var replayed *authority.Replayed
	if err := rotate("two"); !errors.As(err, &replayed) {
		t.Fatalf("the same again: %v", err)
	}
	t.Logf("the same again: %s", m)
	if n := len(m.calls); n > 8 {
		t.Errorf("the answer of then: %s", m)
	}
}

func TestCost_CreateAndRotateTheFirst(t *testing.T) {
	t.Parallel()
	w, m := metered(t)
	ctx := w.a.Snapshot(t.Context())
	made, err := w.a.Create(ctx, w.root, w.origin(), authority.CreateRequest{}, authority.Once{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("create: %d actions, %s", m.actions, m)
	if got := strings.Join(m.calls, " "); got != "Query Query Transact" {
		t.Errorf("create: %s", m)
	}
	by, err := w.authenticate(made.Credential.ID.String(), made.Secret)
	if err != nil {
		t.Fatal(err)
	}
	m.reset()
	caller := access.Caller{Credential: by.Credential, Scopes: by.Credential.Scopes}
	if _, err := w.a.Rotate(w.a.Snapshot(t.Context()), caller, w.origin(), clientID(t, made.Credential.ID.String()), authority.RotateRequest{Window: day}, authority.Once{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("rotate what has one version: %d actions, %s", m.actions, m)
	if got := strings.Join(m.calls, " "); got != "Query Query Transact" {
		t.Errorf("rotate: %s", m)
	}
}

// What is known to change nothing is left out, instead of failing the whole transaction once.
func TestCost_DatesThatAreThereCostNothing(t *testing.T) {
	t.Parallel()
	client := server.Client(t, region, nil)
	m := &meter{API: client}
	s := openTable(t, m, server.Table(t, client), dynamo.Options{})
	b := batch(authority.Head{}, "a", "a")
	b.Entries[0].Secret, b.Entries[0].SecretExpires, b.Entries[0].CopyExpires = []byte("hash"), start, start
	head := mustAppend(t, s, b)
	if _, err := s.Subject(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	m.reset()
	b = batch(head, "b")
	for seq := range uint64(2) { // the second has no hash, and its copy no date
		b.Expiries = append(b.Expiries, authority.Expiry{Subject: "a", Region: region, Seq: seq + 1, Secret: start.Add(day), Copy: start.Add(day)})
	}
	mustAppend(t, s, b)
	if len(m.calls) != 1 || m.actions != 4 {
		t.Errorf("%d actions, %s: want the head, the entry, its copy and one date", m.actions, m)
	}
}
