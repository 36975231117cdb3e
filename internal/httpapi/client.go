package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DefaultTimeout bounds one call of a Client, retries included, where ClientOptions say nothing else.
const DefaultTimeout = 10 * time.Second

// maxAnswer is the size, in bytes, beyond which an answer is not read.
const maxAnswer = 8 << 20

// ClientOptions are the optional parts of a Client.
type ClientOptions struct {
	// Timeout bounds one call, retries included. 0: DefaultTimeout.
	Timeout time.Duration
	// Transport carries the requests. nil: one of the client's own, which honours the proxy settings of the environment.
	Transport http.RoundTripper
	// UserAgent is sent with each request. "": keyturn.
	UserAgent string
	// Sent is told of each request after its answer: the HTTP status (0: none came), the request id, and how long it
	// took. It never sees a header or a body. nil: nobody is told.
	Sent func(method, url string, status int, requestID string, took time.Duration)
	// Retrying is told, before each wait, why a request will be sent again. nil: nobody is told.
	Retrying func(cause error, wait time.Duration)
	// Now is the clock for the timeout and for Sent's durations. nil: time.Now.
	Now func() time.Time
}

// Client calls the API of one authority or sidecar. It may be used by many goroutines. It follows no redirects, because a
// redirect would carry credentials to a place that nobody named.
type Client struct {
	base *url.URL
	o    ClientOptions
}

// Request is one call. Body is marshalled to JSON, or sent as it is where it is a []byte; nil sends none.
type Request struct {
	Method string // "": GET
	Path   string // begins with a slash; appended to the server's own path
	Query  url.Values
	Body   any
	Bearer string // an access token; "": none
	Header http.Header
}

// Answer is a 2xx answer, its body unchanged.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Replayed reports whether the authority gave an answer again that it had given before (Idempotency-Replayed).
func (a Answer) Replayed() bool { return a.Header.Get(HeaderReplayed) == "true" }

// Decode reads the body as JSON into v. Members that v does not have are ignored: a newer authority may send more.
func (a Answer) Decode(v any) error {
	if err := json.Unmarshal(a.Body, v); err != nil {
		return fmt.Errorf("the answer is not what was asked for: %w", err)
	}
	return nil
}

// NewClient returns a Client for a server such as https://keyturn.example.com or http://127.0.0.1:8080, with or without a
// path. The error says what is wrong with the address; it never repeats a password in it.
func NewClient(server string, o ClientOptions) (*Client, error) {
	base, err := parseServer(server)
	if err != nil {
		return nil, err
	}
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	o.UserAgent = cmp.Or(o.UserAgent, "keyturn")
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport.(*http.Transport).Clone()
	}
	return &Client{base: base, o: o}, nil
}

func parseServer(server string) (*url.URL, error) {
	u, err := url.Parse(server)
	switch {
	case err != nil:
		return nil, errors.New("the server's address is not a URL; write it as https://HOST or http://127.0.0.1:PORT")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("the server's address needs a scheme and a host; write it as https://HOST or http://127.0.0.1:PORT")
	case u.User != nil:
		return nil, errors.New("the server's address holds a user or a password; leave them out")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the server's address has a query or a fragment; leave it out")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

// Server returns the address that the client calls, without a trailing slash.
func (c *Client) Server() string { return c.base.String() }

// Plain reports whether secrets travel unencrypted to another host: http, and not to loopback.
func (c *Client) Plain() bool {
	host := c.base.Hostname()
	ip := net.ParseIP(host)
	return c.base.Scheme == "http" && host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// Call sends r and returns the 2xx answer. A GET, and a request with an Idempotency-Key, is sent again for as long as the
// timeout allows when no answer came or it was 503. Any other answer is an *Error; no answer at all is ErrUnreachable,
// wrapped with its cause: then the call may have had its effect.
func (c *Client) Call(ctx context.Context, r Request) (Answer, error) {
	method := cmp.Or(r.Method, http.MethodGet)
	body, err := encode(r.Body)
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: %w", method, r.Path, err)
	}
	u := *c.base
	u.Path += r.Path
	u.RawQuery = r.Query.Encode()
	s := sending{method: method, url: u.String(), body: body, header: r.Header.Clone()}
	if s.header == nil {
		s.header = http.Header{}
	}
	if body != nil {
		s.header.Set("Content-Type", "application/json")
	}
	if r.Bearer != "" {
		s.header.Set("Authorization", "Bearer "+r.Bearer)
	}
	s.again = method == http.MethodGet || s.header.Get(HeaderIdempotencyKey) != ""
	return c.send(ctx, s)
}

func encode(body any) ([]byte, error) {
	switch b := body.(type) {
	case nil:
		return nil, nil
	case []byte:
		return b, nil
	}
	return json.Marshal(body)
}

// sending is a request that may be sent more than once.
type sending struct {
	method, url string
	header      http.Header
	body        []byte
	again       bool // sending it twice has the effect of sending it once
}

// once sends s a single time. The body cannot be rewound, so that the transport never sends it again by itself: whoever
// judges a refusal has to know whether there was an attempt before.
func (c *Client) once(ctx context.Context, s sending) (Answer, error) {
	var body io.Reader
	if s.body != nil {
		body = io.NopCloser(bytes.NewReader(s.body))
	}
	req, err := http.NewRequestWithContext(ctx, s.method, s.url, body)
	if err != nil {
		return Answer{}, err
	}
	req.ContentLength = int64(len(s.body))
	req.Header = s.header.Clone()
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.o.UserAgent)
	start := c.o.Now()
	resp, err := c.o.Transport.RoundTrip(req)
	if err != nil {
		c.sent(s, nil, start)
		return Answer{}, unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	c.sent(s, resp, start)
	return read(resp)
}

func (c *Client) sent(s sending, resp *http.Response, start time.Time) {
	if c.o.Sent == nil {
		return
	}
	status, requestID := 0, ""
	if resp != nil {
		status, requestID = resp.StatusCode, resp.Header.Get(HeaderRequestID)
	}
	c.o.Sent(s.method, s.url, status, requestID, c.o.Now().Sub(start))
}

func read(resp *http.Response) (Answer, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return Answer{}, unreachable(fmt.Errorf("the answer broke off: %w", err))
	case len(body) > maxAnswer:
		return Answer{}, fmt.Errorf("%w: the answer is larger than %d MiB", ErrUnreachable, maxAnswer>>20)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return Answer{}, parseError(resp, body)
	}
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}

func unreachable(err error) error {
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}
