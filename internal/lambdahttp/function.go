// Package lambdahttp runs an http.Handler as a Lambda function. It reads the events of REST APIs (payload 1.0) and those of
// HTTP APIs and function URLs (2.0), and is the only importer of aws-lambda-go: everything else speaks http.Handler.
//
// The handler sees the path without the stage or the base path of a custom domain; RequestURI has the whole path, as behind
// http.StripPrefix. An error is one of the function: the event was malformed.
package lambdahttp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

// reserve is how long before the function is cut off the handler's context ends. The client is answered in the handler's
// place when half of that is left.
const reserve = 500 * time.Millisecond

// Function is a Lambda function.
type Function struct {
	Handler http.Handler // nil for one that takes no HTTP requests
	Late    http.Handler // answers in the place of a Handler that is too late, which may go on meanwhile
	// Other is given every event that is not an HTTP request; its result is encoded as JSON. nil: such an event is an error.
	Other func(ctx context.Context, event json.RawMessage) (any, error)
}

// Start serves invocations and does not return.
func (f *Function) Start() { lambda.Start(f) }

// Invocation returns the ids of the invocation that ctx belongs to, "" where it belongs to none.
func Invocation(ctx context.Context) (requestID, traceID string) {
	if c, ok := lambdacontext.FromContext(ctx); ok {
		requestID = c.AwsRequestID
	}
	traceID, _ = ctx.Value("x-amzn-trace-id").(string) // the runtime's key
	return requestID, traceID
}

// Invoke answers one event.
func (f *Function) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var e event
	if err := json.Unmarshal(payload, &e); err == nil && (e.v2() || e.HTTPMethod != "") && f.Handler != nil {
		answer, err := f.serve(ctx, &e)
		if err != nil {
			return nil, err
		}
		return json.Marshal(answer)
	}
	if f.Other == nil {
		return nil, errors.New("this function takes HTTP events of payload 1.0 or 2.0")
	}
	out, err := f.Other(ctx, payload)
	if err != nil {
		return nil, err
	}
	return json.Marshal(out)
}

// serve runs the handler. Whatever it does, the client gets an answer before the function is cut off.
func (f *Function) serve(ctx context.Context, e *event) (reply, error) {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-reserve))
		defer cancel()
	}
	r, err := e.request(ctx)
	if err != nil {
		return reply{}, err
	}
	done := make(chan reply, 1)
	go func() { done <- e.record(f.Handler, r) }()
	select {
	case answer := <-done:
		return answer, nil
	case <-ctx.Done():
	}
	select {
	case answer := <-done:
		return answer, nil
	case <-time.After(reserve / 2):
	}
	late, err := e.request(ctx) // one of its own: the handler may be at work with the other
	if err != nil {
		return reply{}, err
	}
	return e.record(f.Late, late), nil
}
