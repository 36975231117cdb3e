package global

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Change is a write to one item: what is there from now on, nil where it was deleted.
type Change struct {
	Key  Key
	Item Item
}

// Table is one region's table, as replication sees it.
type Table interface {
	// Changed returns what was written since it was last called, in a repeatable order, Apply's writes left out.
	Changed(ctx context.Context) ([]Change, error)
	// Apply makes changes of another region.
	Apply(ctx context.Context, list []Change) error
	// Items returns all items, by their keys.
	Items(ctx context.Context) ([]Item, error)
}

// Replication carries items between two regions' tables. Observe has to be called after each write: the order of those calls
// is the order of the writes. It is for one goroutine.
type Replication struct {
	Rand    *rand.Rand
	Arrived func(region int, c Change) // told of each item that a table has from now on; may be nil
	sides   [2]side
	pending []arrival
	writes  uint64 // how many there were: the newest is the last
}

type side struct {
	table  Table
	stamps map[Key]uint64 // which write of an item was the last, deletions too
}

// arrival is an item on its way.
type arrival struct {
	to    int
	stamp uint64
	Change
}

// Replicate returns the replication between two tables.
func Replicate(a, b Table, r *rand.Rand) *Replication {
	return &Replication{Rand: r, sides: [2]side{{a, map[Key]uint64{}}, {b, map[Key]uint64{}}}}
}

// Observe sends on its way what was written.
func (r *Replication) Observe(ctx context.Context) error {
	for from := range r.sides {
		changed, err := r.sides[from].table.Changed(ctx)
		if err != nil {
			return err
		}
		for _, c := range changed {
			r.writes++
			r.sides[from].stamps[c.Key] = r.writes
			r.pending = append(r.pending, arrival{1 - from, r.writes, c})
			r.tell(from, c)
		}
	}
	return nil
}

func (r *Replication) tell(region int, c Change) {
	if r.Arrived != nil {
		r.Arrived(region, c)
	}
}

// Pending is how many items are on their way.
func (r *Replication) Pending() int { return len(r.pending) }

// Deliver lets n items arrive, whichever; some of them will arrive once more.
func (r *Replication) Deliver(ctx context.Context, n int) error {
	var applied [2][]Change
	at := [2]map[Key]int{{}, {}}
	for ; n > 0 && len(r.pending) > 0; n-- {
		i := r.Rand.IntN(len(r.pending))
		a := r.pending[i]
		if r.Rand.IntN(8) > 0 {
			r.pending[i] = r.pending[len(r.pending)-1]
			r.pending = r.pending[:len(r.pending)-1]
		}
		if a.stamp <= r.sides[a.to].stamps[a.Key] {
			continue // the last writer wins
		}
		r.sides[a.to].stamps[a.Key] = a.stamp
		if j, twice := at[a.to][a.Key]; twice {
			applied[a.to][j] = a.Change
		} else {
			at[a.to][a.Key] = len(applied[a.to])
			applied[a.to] = append(applied[a.to], a.Change)
		}
	}
	for to, list := range applied {
		if err := r.sides[to].table.Apply(ctx, list); err != nil {
			return err
		}
		for _, c := range list {
			r.tell(to, c)
		}
	}
	return nil
}

// Expire deletes some of a region's items whose time to live is over at instant now, as DynamoDB does: at any time after it.
// The deletions are replicated like other writes.
func (r *Replication) Expire(ctx context.Context, region int, now time.Time) error {
	items, err := r.sides[region].table.Items(ctx)
	if err != nil {
		return err
	}
	var gone []Change
	for _, it := range items {
		if at, dated := it["expires_at"]; dated && number(at) <= now.Unix() && r.Rand.IntN(2) == 0 {
			gone = append(gone, Change{KeyOf(it), nil})
		}
	}
	if err := r.sides[region].table.Apply(ctx, gone); err != nil {
		return err
	}
	for _, c := range gone {
		r.writes++
		r.sides[region].stamps[c.Key] = r.writes
		r.pending = append(r.pending, arrival{1 - region, r.writes, c})
	}
	return nil
}

// Local is one region's table on DynamoDB Local. Whoever writes to it is found out by looking at all of it.
type Local struct {
	Client *dynamodb.Client
	Name   string
	seen   map[Key]Item
}

// Items implements Table.
func (l *Local) Items(ctx context.Context) ([]Item, error) {
	var all []Item
	pages := dynamodb.NewScanPaginator(l.Client, &dynamodb.ScanInput{TableName: &l.Name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
	}
	sortItems(all)
	return all, nil
}

// Changed implements Table. It does not see deletions: package dynamo makes none.
func (l *Local) Changed(ctx context.Context) ([]Change, error) {
	items, err := l.Items(ctx)
	if err != nil {
		return nil, err
	}
	if l.seen == nil {
		l.seen = map[Key]Item{}
	}
	var changed []Change
	for _, it := range items {
		if k := KeyOf(it); !reflect.DeepEqual(l.seen[k], it) {
			l.seen[k] = it
			changed = append(changed, Change{k, it})
		}
	}
	return changed, nil
}

// maxRequests is how many items one request of BatchWriteItem takes.
const maxRequests = 25

// Apply implements Table.
func (l *Local) Apply(ctx context.Context, list []Change) error {
	if l.seen == nil {
		l.seen = map[Key]Item{}
	}
	for len(list) > 0 {
		n := min(len(list), maxRequests)
		requests := make([]types.WriteRequest, n)
		for i, c := range list[:n] {
			if l.seen[c.Key] = c.Item; c.Item != nil {
				requests[i].PutRequest = &types.PutRequest{Item: c.Item}
				continue
			}
			delete(l.seen, c.Key)
			requests[i].DeleteRequest = &types.DeleteRequest{Key: Item{
				"pk": &types.AttributeValueMemberS{Value: c.Key.PK}, "sk": &types.AttributeValueMemberS{Value: c.Key.SK},
			}}
		}
		out, err := l.Client.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{l.Name: requests}})
		if err != nil {
			return err
		}
		if len(out.UnprocessedItems) > 0 {
			return fmt.Errorf("global: DynamoDB Local left items out")
		}
		list = list[n:]
	}
	return nil
}

var (
	_ Table = (*Memory)(nil)
	_ Table = (*Local)(nil)
)
