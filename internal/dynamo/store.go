// Package dynamo is an authority.Store in one DynamoDB table: on demand, strings pk and sk as its key, expires_at as its
// TTL attribute, no index.
//
// It knows no rule of the domain. What Append writes is one transaction; every read is strongly consistent. No item is
// written by two regions, so that the last writer of a global table never undoes another one: the dates of earlier entries
// are the exception, and there the earliest wins.
//
// DynamoDB isolates transactions from each other, but not from queries: those see each item of a transaction as soon as it
// is there. The package makes up for it (see visible.go), so that who has read a head reads what belongs to it.
//
// Errors are those of the contract. A call that is throttled, cut off or too slow, or that meets another transaction, is
// made again within Options.Patience and the caller's context, a transaction with the same token; after that the error comes
// out as it is, and whether a write was done is unknown. The package logs nothing.
package dynamo

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyturn/keyturn/internal/authority"
)

// API is what the package calls of a *dynamodb.Client. Retries are the package's own: it switches off those of the client.
type API interface {
	// Query reads items of one partition, in order, strongly consistent.
	Query(ctx context.Context, in *dynamodb.QueryInput, o ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	// PutItem writes one item under a condition.
	PutItem(ctx context.Context, in *dynamodb.PutItemInput, o ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	// TransactWriteItems writes at most MaxActions items, or none.
	TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, o ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error)
	// DescribeTable tells the key of the table; only Check asks.
	DescribeTable(ctx context.Context, in *dynamodb.DescribeTableInput, o ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
	// DescribeTimeToLive tells the TTL attribute; only Check asks.
	DescribeTimeToLive(ctx context.Context, in *dynamodb.DescribeTimeToLiveInput, o ...func(*dynamodb.Options)) (*dynamodb.DescribeTimeToLiveOutput, error)
}

// Options are what Open can be told. The zero value works.
type Options struct {
	// Patience is how long one call of the Store goes on trying, within its context. Zero means 4 seconds.
	Patience time.Duration
	// Attempt is how long one request may take before it counts as lost and is made again. Zero means 1 second.
	Attempt time.Duration
}

const (
	defaultPatience = 4 * time.Second
	defaultAttempt  = time.Second
)

// Store is an authority.Store in one table. It may be used from many goroutines.
type Store struct {
	api    API
	table  string
	region string // the region whose counters and claims are ours
	o      Options
	seen   memory

	life   sync.RWMutex // held for reading by every call, for writing by Close
	closed bool
}

var _ authority.Store = (*Store)(nil)

// Open returns the store in a table of region, which is the region of the authority that uses it. It makes no request:
// what is wrong with the table shows at the first call, and Check names it. It returns an error for a name that cannot be
// one, and ctx's error where that has ended.
func Open(ctx context.Context, api API, table, region string, o Options) (*Store, error) {
	if api == nil || table == "" {
		return nil, fmt.Errorf("dynamo: a client and the name of a table are needed, not %q", table)
	}
	if !validRegion(region) {
		return nil, fmt.Errorf("dynamo: %q is no name of a region", region)
	}
	if o.Patience <= 0 {
		o.Patience = defaultPatience
	}
	if o.Attempt <= 0 {
		o.Attempt = defaultAttempt
	}
	return &Store{api: api, table: table, region: region, o: o}, ctx.Err()
}

// Close waits for the calls that are under way. Later calls return fs.ErrClosed; a later Close returns nil.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	s.closed = true
	return nil
}

// enter begins a call; leave ends it.
func (s *Store) enter(ctx context.Context) (leave func(), err error) {
	s.life.RLock()
	err = ctx.Err()
	if err == nil && s.closed {
		err = fmt.Errorf("table %s: %w", s.table, fs.ErrClosed)
	}
	if err != nil {
		s.life.RUnlock()
		return nil, err
	}
	return s.life.RUnlock, nil
}
