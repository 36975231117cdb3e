package local

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
)

// Fault is one way in which a request to DynamoDB goes wrong.
type Fault string

// The faults. Lost and Failed let the request be done, so that its outcome is unknown.
const (
	Throttled  Fault = "throttled"   // refused: too many requests
	Broken     Fault = "broken"      // 500 before it was done
	CutOff     Fault = "cut off"     // no connection
	Slow       Fault = "slow"        // no answer until the caller gives up
	Conflicted Fault = "conflicted"  // cancelled: another transaction is under way on these items
	Lost       Fault = "lost"        // done, and the connection breaks before the answer
	Failed     Fault = "failed"      // done, and answered with 500
	Garbled    Fault = "garbled"     // done, and the answer ends in the middle
	Unready    Fault = "in progress" // refused: the same transaction is still under way
)

// AllFaults lists every fault.
func AllFaults() []Fault {
	return []Fault{Throttled, Broken, CutOff, Slow, Conflicted, Lost, Failed, Garbled, Unready}
}

// Faults is a transport whose requests go wrong as Plan says.
type Faults struct {
	// Next carries the requests that go through.
	Next http.RoundTripper
	// Plan says what happens to the n-th request (1 is the first), which is for operation ("Query"). "" is nothing.
	Plan func(n int, operation string) Fault

	mu    sync.Mutex
	calls []string
	fired int
}

// Calls returns the operations that were asked for, in order, with those that went wrong.
func (f *Faults) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

// Fired returns how many requests have gone wrong.
func (f *Faults) Fired() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// Forget starts to count anew.
func (f *Faults) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.fired = nil, 0
}

func (f *Faults) next(r *http.Request) Fault {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, operation)
	if f.Plan == nil {
		return ""
	}
	fault := f.Plan(len(f.calls), operation)
	if fault != "" {
		f.fired++
	}
	return fault
}

// errCut is what a broken connection looks like.
var errCut = errors.New("local: the connection was cut")

// RoundTrip implements http.RoundTripper.
func (f *Faults) RoundTrip(r *http.Request) (*http.Response, error) {
	fault := f.next(r)
	switch fault {
	case "":
		return f.Next.RoundTrip(r)
	case Lost, Failed, Garbled:
		return f.afterwards(fault, r)
	}
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	return refuse(r.Context(), fault, r)
}

// refuse answers a request that is not done.
func refuse(ctx context.Context, fault Fault, r *http.Request) (*http.Response, error) {
	switch fault {
	case Slow:
		<-ctx.Done()
		return nil, ctx.Err()
	case CutOff:
		return nil, errCut
	case Broken:
		return reply(r, http.StatusInternalServerError, "InternalServerError", ""), nil
	case Conflicted:
		if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".TransactWriteItems") {
			return reply(r, http.StatusBadRequest, "TransactionConflictException", ""), nil
		}
		return reply(r, http.StatusBadRequest, "TransactionCanceledException",
			`,"CancellationReasons":[{"Code":"TransactionConflict","Message":"Transaction is ongoing for the item"}]`), nil
	case Unready:
		return reply(r, http.StatusBadRequest, "TransactionInProgressException", ""), nil
	}
	return reply(r, http.StatusBadRequest, "ThrottlingException", ""), nil
}

// afterwards lets a request be done and spoils its answer. It is done whether or not its caller still waits.
func (f *Faults) afterwards(fault Fault, r *http.Request) (*http.Response, error) {
	answer, err := f.Next.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	switch {
	case err != nil:
		return nil, err
	case fault == Lost:
		return nil, errCut
	case fault == Failed:
		return reply(r, http.StatusInternalServerError, "InternalServerError", ""), nil
	}
	answer.Header.Del("X-Amz-Crc32")
	answer.Body = io.NopCloser(io.MultiReader(strings.NewReader(string(text[:len(text)/2])), cut{}))
	return answer, nil
}

// cut is the end of a connection that broke.
type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func reply(r *http.Request, status int, code, more string) *http.Response {
	body := `{"__type":"com.amazonaws.dynamodb.v20120810#` + code + `","message":"injected"` + more + `}`
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header:        http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
	}
}
