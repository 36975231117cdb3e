// Package lambdahttp runs an http.Handler as a Lambda function. It reads the events of REST APIs (payload 1.0) and those of
// HTTP APIs and function URLs (2.0), and is the only importer of aws-lambda-go: everything else speaks http.Handler.
//
// The handler sees the path without the stage or the base path of a custom domain; RequestURI has the whole path, as behind
// http.StripPrefix. An error is one of the function: the event was malformed.
package lambdahttp

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode/utf8"

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
	if e := parse(payload); e != nil && f.Handler != nil {
		return json.Marshal(f.serve(ctx, e))
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
func (f *Function) serve(ctx context.Context, e *event) *reply {
	end, ok := ctx.Deadline()
	if !ok {
		return e.through(ctx, f.Handler)
	}
	late, cancel := context.WithDeadline(ctx, end.Add(-reserve/2))
	defer cancel()
	work, cancel := context.WithDeadline(ctx, end.Add(-reserve))
	defer cancel()
	done := make(chan *reply, 1)
	go func() { done <- e.through(work, f.Handler) }()
	select {
	case answer := <-done:
		return answer
	case <-late.Done():
		return e.through(late, f.Late)
	}
}

// event has what is read of either payload; names differ from those in JSON by their case alone.
type event struct {
	Version, Body, RawPath, RawQueryString             string // Raw: 2.0
	HTTPMethod, Path, Resource                         string // 1.0
	PathParameters                                     map[string]string
	Headers, QueryStringParameters                     json.RawMessage // of single values: read where there are no others
	MultiValueHeaders, MultiValueQueryStringParameters map[string][]string
	IsBase64Encoded                                    bool
	RequestContext                                     struct {
		Stage, Path, DomainName string
		Identity, HTTP          struct{ Method, SourceIP string }
	}
}

// parse reads an event, and gives one of payload 2.0 what one of 1.0 has. nil is one that is no HTTP request.
func parse(payload []byte) *event {
	e := new(event)
	err := json.Unmarshal(payload, e)
	if c := &e.RequestContext; e.Version == "2.0" {
		e.HTTPMethod, c.Identity, e.Path, c.Path = c.HTTP.Method, c.HTTP, e.RawPath, e.RawPath
		if stage := "/" + c.Stage; strings.HasPrefix(e.RawPath+"/", stage+"/") {
			e.Path = e.RawPath[len(stage):]
		}
	}
	if e.IsBase64Encoded && err == nil {
		body, malformed := base64.StdEncoding.DecodeString(e.Body)
		e.Body, err = string(body), malformed
	}
	if err != nil || e.HTTPMethod == "" {
		return nil
	}
	return e
}

// request is what net/http would have made of the client's request.
func (e *event) request(ctx context.Context) *http.Request {
	prefix, path := e.paths()
	query := url.Values(either(e.MultiValueQueryStringParameters, e.QueryStringParameters))
	u := &url.URL{Path: path, RawQuery: cmp.Or(e.RawQueryString, query.Encode())}
	if plain, err := url.PathUnescape(path); err == nil {
		u.Path, u.RawPath = plain, path
	}
	header := http.Header{}
	for name, values := range either(e.MultiValueHeaders, e.Headers) {
		header[http.CanonicalHeaderKey(name)] = values
	}
	r := &http.Request{
		Method: e.HTTPMethod, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header,
		Host: cmp.Or(header.Get("Host"), e.RequestContext.DomainName),
		Body: io.NopCloser(strings.NewReader(e.Body)), ContentLength: int64(len(e.Body)),
		RemoteAddr: net.JoinHostPort(e.RequestContext.Identity.SourceIP, "0"), RequestURI: prefix + u.RequestURI(),
	}
	if header.Get("X-Forwarded-Proto") != "http" { // the gateway sets it
		r.TLS = &tls.ConnectionState{}
	}
	header.Del("Host") // net/http keeps it apart
	return r.WithContext(ctx)
}

// either returns multi, or else what single has, if that is as it should be.
func either(multi map[string][]string, single json.RawMessage) map[string][]string {
	var values map[string]string
	if multi == nil && json.Unmarshal(single, &values) == nil && values != nil {
		multi = make(map[string][]string, len(values))
		for name, value := range values {
			multi[name] = []string{value}
		}
	}
	return multi
}

// paths cuts the path that was asked in two: what stands before the API (the stage, or a custom domain's base path), and the
// path in the API. A REST API leaves the base path in front of Path: there the resource tells what is ours.
func (e *event) paths() (prefix, path string) {
	path = os.Expand(strings.ReplaceAll(e.Resource, "{", "${"), func(name string) string {
		return e.PathParameters[strings.TrimSuffix(name, "+")]
	})
	if path == "" || !strings.HasSuffix(e.Path, path) {
		path = e.Path
	}
	return strings.TrimSuffix(e.RequestContext.Path, path), cmp.Or(path, "/")
}

// reply is an answer for a gateway, which refuses members beyond those that it knows, and what a handler writes it to.
type reply struct {
	Status  int               `json:"statusCode"`
	Headers map[string]string `json:"headers,omitempty"`           // 2.0
	Multi   http.Header       `json:"multiValueHeaders,omitempty"` // 1.0
	Body    string            `json:"body"`
	Base64  bool              `json:"isBase64Encoded"`
	written strings.Builder
}

func (a *reply) Header() http.Header         { return a.Multi }
func (a *reply) WriteHeader(status int)      { a.Status = cmp.Or(a.Status, status) }
func (a *reply) Write(b []byte) (int, error) { a.WriteHeader(http.StatusOK); return a.written.Write(b) }

// through sends the request to a handler, and returns the answer for the gateway that the event came from.
func (e *event) through(ctx context.Context, h http.Handler) *reply {
	a := &reply{Multi: http.Header{}}
	h.ServeHTTP(a, e.request(ctx))
	a.WriteHeader(http.StatusOK)
	if a.Body = a.written.String(); !utf8.ValidString(a.Body) {
		a.Body, a.Base64 = base64.StdEncoding.EncodeToString([]byte(a.Body)), true
	}
	if e.Version == "2.0" {
		a.Headers = make(map[string]string, len(a.Multi))
		for name, values := range a.Multi {
			a.Headers[name] = strings.Join(values, ", ")
		}
		a.Multi = nil
	}
	return a
}
