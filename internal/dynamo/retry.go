package dynamo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/keyturn/keyturn/internal/backoff"
)

// Pauses between attempts: the first, and the longest.
const (
	firstPause = 10 * time.Millisecond
	maxPause   = 400 * time.Millisecond
)

// fate is what an error says about the request that it ended.
type fate int

const (
	final   fate = iota // it will not get better
	refused             // nothing was done: again, later
	unsure              // it may or may not have been done: again, later
	revised             // nothing was done, and the request is another one now: again, at once
)

// errRevised and errLagging are errors of a single attempt that never leave the package alone.
var (
	errRevised = errors.New("the request was revised")
	errLagging = errors.New("the table does not show the whole of its last batch yet")
)

// verdict is an error of our own that ends a call: it comes out as it is.
type verdict struct{ error }

func (v verdict) Unwrap() error { return v.error }

// fateOf reads an error of an attempt.
func fateOf(err error) fate {
	var api smithy.APIError
	var invalid *smithy.InvalidParamsError
	var unsent *smithy.SerializationError
	switch {
	case errors.Is(err, errRevised):
		return revised
	case errors.Is(err, errLagging):
		return refused
	case errors.As(err, &invalid), errors.As(err, &unsent):
		return final
	case !errors.As(err, &api):
		return unsure // cut off, timed out, or an answer that could not be read
	}
	switch api.ErrorCode() {
	case "ProvisionedThroughputExceededException", "ThrottlingException", "Throttling", "RequestLimitExceeded",
		"LimitExceededException", "TransactionConflictException", "ReplicatedWriteConflictException":
		return refused
	case "InternalServerError", "InternalFailure", "ServiceUnavailable", "TransactionInProgressException":
		return unsure
	case "TransactionCanceledException":
		return fateOfCancelled(err)
	}
	var answered interface{ HTTPStatusCode() int }
	if errors.As(err, &answered) && answered.HTTPStatusCode() >= http.StatusInternalServerError {
		return unsure
	}
	return final
}

// fateOfCancelled is for transactions none of whose conditions failed: plan.react has looked at those.
func fateOfCancelled(err error) fate {
	var cancelled *types.TransactionCanceledException
	if !errors.As(err, &cancelled) {
		return final
	}
	for _, r := range cancelled.CancellationReasons {
		switch aws.ToString(r.Code) {
		case "", "None", "TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError":
		default:
			return final
		}
	}
	return refused
}

// once keeps the SDK from trying again on its own: it knows neither our budget nor what was revised.
func once(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} }

// insist makes attempts until one ends for good, or the budget of time is used up. Each attempt has a context of its own.
func (s *Store) insist(ctx context.Context, doing string, attempt func(context.Context) error) error {
	budget, cancel := context.WithTimeout(ctx, s.o.Patience)
	defer cancel()
	var last error
	for tries := 1; ; tries++ {
		err := s.try(budget, attempt)
		if err == nil {
			return nil
		}
		if v := (verdict{}); errors.As(err, &v) {
			return v.error
		}
		if last != nil && budget.Err() != nil {
			err = last // that we gave up says less than why
		}
		last = err
		f := fateOf(err)
		if f == revised && budget.Err() == nil {
			continue
		}
		if f != final && pause(budget, tries) {
			continue
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), s.explain(doing, err))
		}
		return s.explain(doing, err)
	}
}

func (s *Store) try(ctx context.Context, attempt func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Attempt)
	defer cancel()
	return attempt(ctx)
}

// pause reports false where ctx ends before it is over.
func pause(ctx context.Context, tries int) bool {
	return backoff.Wait(ctx, backoff.Jitter(backoff.Grown(tries, firstPause, maxPause), backoff.Half))
}

// explain names the table, and what an operator can do where that is known.
func (s *Store) explain(doing string, err error) error {
	var missing *types.ResourceNotFoundException
	if errors.As(err, &missing) {
		return fmt.Errorf("%s: there is no table %s in this account and region: %w", doing, s.table, err)
	}
	return fmt.Errorf("%s: table %s: %w", doing, s.table, err)
}
