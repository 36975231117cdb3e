// Package global is a table in several regions, as DynamoDB replicates it, for tests: the last writer of an item wins, and
// each item arrives on its own, late, out of order and more than once. Nothing but tests uses it.
//
// The regions' tables are those of DynamoDB Local, or Memory, which does the same with what package dynamo asks of a table:
// a test compares the two.
package global

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Item is an item of a table. Nobody changes one: a write puts another in its place.
type Item = map[string]types.AttributeValue

// Key names an item.
type Key struct{ PK, SK string }

// KeyOf reads the key of an item.
func KeyOf(it Item) Key { return Key{text(it["pk"]), text(it["sk"])} }

func text(v types.AttributeValue) string {
	s, _ := v.(*types.AttributeValueMemberS)
	if s == nil {
		return ""
	}
	return s.Value
}

// Memory is one region's table in memory. The zero value is an empty one. It is a dynamo.API.
type Memory struct {
	mu      sync.Mutex
	items   map[string]map[string]Item // by pk and sk
	tokens  map[string]bool            // of transactions that were done
	changed []Change
}

func (m *Memory) get(k Key) Item { return m.items[k.PK][k.SK] }

// set puts an item, or deletes it where it is nil.
func (m *Memory) set(k Key, it Item) {
	if m.items == nil {
		m.items, m.tokens = map[string]map[string]Item{}, map[string]bool{}
	}
	if m.items[k.PK] == nil {
		m.items[k.PK] = map[string]Item{}
	}
	m.items[k.PK][k.SK] = it
	if it == nil {
		delete(m.items[k.PK], k.SK)
	}
}

func (m *Memory) write(k Key, it Item) {
	it = copied(it)
	m.set(k, it)
	m.changed = append(m.changed, Change{k, it})
}

// copied is an item whose bytes belong to whoever has it.
func copied(it Item) Item {
	it = maps.Clone(it)
	for name, value := range it {
		if b, ok := value.(*types.AttributeValueMemberB); ok {
			it[name] = &types.AttributeValueMemberB{Value: slices.Clone(b.Value)}
		}
	}
	return it
}

// Query implements dynamo.API.
func (m *Memory) Query(_ context.Context, in *dynamodb.QueryInput, _ ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	pk, from, after := text(in.ExpressionAttributeValues[":pk"]), text(in.ExpressionAttributeValues[":from"]), text(in.ExclusiveStartKey["sk"])
	if c := *in.KeyConditionExpression; c != "pk = :pk" && c != "pk = :pk AND sk >= :from" {
		return nil, fmt.Errorf("global: key condition %q", c)
	}
	out := &dynamodb.QueryOutput{}
	for _, sk := range slices.Sorted(maps.Keys(m.items[pk])) {
		if sk < from || after != "" && sk <= after {
			continue
		}
		if in.Limit != nil && len(out.Items) == int(*in.Limit) {
			last := KeyOf(out.Items[len(out.Items)-1])
			out.LastEvaluatedKey = Item{"pk": &types.AttributeValueMemberS{Value: pk}, "sk": &types.AttributeValueMemberS{Value: last.SK}}
			break
		}
		out.Items = append(out.Items, copied(m.items[pk][sk]))
	}
	return out, nil
}

// PutItem implements dynamo.API.
func (m *Memory) PutItem(_ context.Context, in *dynamodb.PutItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := KeyOf(in.Item)
	ok, err := holds(aws.ToString(in.ConditionExpression), in.ExpressionAttributeValues, m.get(k))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, &types.ConditionalCheckFailedException{Message: aws.String("the condition does not hold"), Item: m.get(k)}
	}
	m.write(k, in.Item)
	return &dynamodb.PutItemOutput{}, nil
}

// TransactWriteItems implements dynamo.API.
func (m *Memory) TransactWriteItems(_ context.Context, in *dynamodb.TransactWriteItemsInput, _ ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tokens[aws.ToString(in.ClientRequestToken)] {
		return &dynamodb.TransactWriteItemsOutput{}, nil
	}
	if len(in.TransactItems) > 100 {
		return nil, fmt.Errorf("global: %d items in a transaction", len(in.TransactItems))
	}
	reasons, failed := make([]types.CancellationReason, len(in.TransactItems)), false
	after := make([]Change, 0, len(in.TransactItems))
	seen := map[Key]bool{}
	for i, w := range in.TransactItems {
		reasons[i].Code = aws.String("None")
		a, err := read(w)
		if err == nil && seen[a.key] {
			err = fmt.Errorf("global: a transaction with %v twice", a.key)
		}
		if err != nil {
			return nil, err
		}
		seen[a.key] = true
		ok, err := holds(a.condition, a.values, m.get(a.key))
		if err != nil {
			return nil, err
		}
		if !ok {
			reasons[i].Code, failed = aws.String("ConditionalCheckFailed"), true
			if a.old {
				reasons[i].Item = m.get(a.key)
			}
			continue
		}
		it, changes, err := a.change(m.get(a.key))
		if err != nil {
			return nil, err
		}
		if changes {
			after = append(after, Change{a.key, it})
		}
	}
	if failed {
		return nil, &types.TransactionCanceledException{Message: aws.String("a condition does not hold"), CancellationReasons: reasons}
	}
	for _, c := range after {
		m.write(c.Key, c.Item)
	}
	if m.tokens == nil {
		m.tokens = map[string]bool{}
	}
	m.tokens[aws.ToString(in.ClientRequestToken)] = true
	return &dynamodb.TransactWriteItemsOutput{}, nil
}

// action is one action of a transaction.
type action struct {
	key       Key
	put       Item
	update    string
	condition string
	values    Item
	old       bool // the item is told where the condition fails
}

func read(w types.TransactWriteItem) (action, error) {
	const all = types.ReturnValuesOnConditionCheckFailureAllOld
	switch {
	case w.Put != nil:
		return action{
			key: KeyOf(w.Put.Item), put: w.Put.Item, condition: aws.ToString(w.Put.ConditionExpression),
			values: w.Put.ExpressionAttributeValues, old: w.Put.ReturnValuesOnConditionCheckFailure == all,
		}, nil
	case w.Update != nil:
		return action{
			key: KeyOf(w.Update.Key), update: *w.Update.UpdateExpression, condition: aws.ToString(w.Update.ConditionExpression),
			values: w.Update.ExpressionAttributeValues, old: w.Update.ReturnValuesOnConditionCheckFailure == all,
		}, nil
	case w.ConditionCheck != nil:
		return action{
			key: KeyOf(w.ConditionCheck.Key), condition: *w.ConditionCheck.ConditionExpression,
			values: w.ConditionCheck.ExpressionAttributeValues, old: w.ConditionCheck.ReturnValuesOnConditionCheckFailure == all,
		}, nil
	}
	return action{}, fmt.Errorf("global: an action that is not known")
}

// change is what the action makes of an item, and whether it changes anything at all.
func (a action) change(it Item) (Item, bool, error) {
	if a.put != nil {
		return a.put, true, nil
	}
	if a.update == "" {
		return nil, false, nil
	}
	it = maps.Clone(it)
	if it == nil {
		it = Item{"pk": &types.AttributeValueMemberS{Value: a.key.PK}, "sk": &types.AttributeValueMemberS{Value: a.key.SK}}
	}
	words := strings.Fields(a.update)
	switch {
	case len(words) == 4 && words[0] == "SET" && words[2] == "=":
		it[words[1]] = a.values[words[3]]
	case len(words) == 3 && words[0] == "ADD":
		sum := number(it[words[1]]) + number(a.values[words[2]])
		it[words[1]] = &types.AttributeValueMemberN{Value: strconv.FormatInt(sum, 10)}
	default:
		return nil, false, fmt.Errorf("global: update %q", a.update)
	}
	return it, true, nil
}

func number(v types.AttributeValue) int64 {
	n, _ := v.(*types.AttributeValueMemberN)
	if n == nil {
		return 0
	}
	i, _ := strconv.ParseInt(n.Value, 10, 64)
	return i
}

// DescribeTable implements dynamo.API.
func (*Memory) DescribeTable(context.Context, *dynamodb.DescribeTableInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error) {
	return nil, fmt.Errorf("global: there is nothing to describe")
}

// DescribeTimeToLive implements dynamo.API.
func (*Memory) DescribeTimeToLive(context.Context, *dynamodb.DescribeTimeToLiveInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTimeToLiveOutput, error) {
	return nil, fmt.Errorf("global: there is nothing to describe")
}

// Changed implements Table.
func (m *Memory) Changed(context.Context) ([]Change, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := m.changed
	m.changed = nil
	return changed, nil
}

// Apply implements Table.
func (m *Memory) Apply(_ context.Context, list []Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range list {
		m.set(c.Key, c.Item)
	}
	return nil
}

// Items implements Table.
func (m *Memory) Items(context.Context) ([]Item, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Item
	for _, part := range m.items {
		all = slices.AppendSeq(all, maps.Values(part))
	}
	sortItems(all)
	return all, nil
}

func sortItems(list []Item) {
	slices.SortFunc(list, func(a, b Item) int {
		x, y := KeyOf(a), KeyOf(b)
		return cmp.Or(cmp.Compare(x.PK, y.PK), cmp.Compare(x.SK, y.SK))
	})
}
