package httpapi

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
)

// call is one request on its way through the server.
type call struct {
	*http.Request
	server *server
	at     time.Time // the instant of the operation: one for everything that it does, UTC, whole seconds
	seen   Observation

	caller access.Caller  // who called, on routes that take a Bearer token
	once   authority.Once // on routes that are idempotent
	sent   []byte         // the body as it came
	body   []byte         // on routes that are idempotent: read before it is known who called
}

// answer is what a handler returns on success.
type answer struct {
	status int               // 0 is 200
	body   any               // encoded as JSON; nil for no body
	raw    []byte            // a body that is encoded already, instead of body
	media  string            // its type, "" for JSON
	header map[string]string // further headers
}

// endpoint answers all requests for one path.
type endpoint struct {
	server  *server
	pattern string
	methods methods
	any     handler // of every method, instead of methods
}

// ServeHTTP runs the handler, and is the one place that writes an answer.
func (e endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := e.server.o.Now()
	c := &call{Request: r, server: e.server, at: now.UTC().Truncate(time.Second)}
	c.seen = Observation{At: c.at, Context: r.Context(), Method: r.Method, Route: e.pattern, RequestID: requestID(r), Source: e.server.source(r)}
	w.Header().Set(HeaderRequestID, c.seen.RequestID)
	a, err := e.run(w, c)
	if err != nil {
		a = c.failure(w.Header(), err)
	}
	c.write(w, a)
	if observe := e.server.o.Observe; observe != nil {
		c.seen.Took = e.server.o.Now().Sub(now)
		observe(c.seen)
	}
}

// run turns a panic into an error that is answered and logged like any other: nothing has been written yet.
func (e endpoint) run(w http.ResponseWriter, c *call) (a answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	return e.handle(w, c)
}

func panicked(p any) error { return fmt.Errorf("panic: %v\n%s", p, debug.Stack()) }

func (e endpoint) handle(w http.ResponseWriter, c *call) (answer, error) {
	if e.any != nil {
		return e.any(c)
	}
	if e.methods == nil {
		return answer{}, refuse(http.StatusNotFound, NotFound, "there is no such path")
	}
	method := c.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	h, ok := e.methods[method]
	if !ok {
		w.Header().Set("Allow", e.methods.allow())
		return answer{}, refuse(http.StatusMethodNotAllowed, MethodNotAllowed, "this path takes "+e.methods.allow())
	}
	if err := c.receive(); err != nil {
		return answer{}, err
	}
	return c.answerHere(h)
}

func (m methods) allow() string {
	var list []string
	for method := range m {
		list = append(list, method)
		if method == http.MethodGet {
			list = append(list, http.MethodHead)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// Fail answers r with an error, in the server's place: where it cannot be opened, or has not answered in time. It returns
// what there is to log. Route is the path's family at best: nobody has looked for a route.
func Fail(w http.ResponseWriter, r *http.Request, at time.Time, err error) Observation {
	c := &call{Request: r, server: &server{}, at: at.UTC().Truncate(time.Second)}
	c.seen = Observation{At: c.at, Context: r.Context(), Method: r.Method, Route: "other", RequestID: requestID(r), Source: remote(r)}
	if strings.HasPrefix(r.URL.Path, "/v1/oauth/") {
		c.seen.Route = "/v1/oauth/"
	}
	w.Header().Set(HeaderRequestID, c.seen.RequestID)
	a := c.failure(w.Header(), err)
	if r.URL.Path == "/readyz" && a.status == http.StatusServiceUnavailable {
		a.body = Health{"unavailable", map[string]string{"store": "the store cannot be read"}}
	}
	c.write(w, a)
	return c.seen
}

// failure is the answer to an error, in the shape of the endpoint.
func (c *call) failure(header http.Header, err error) answer {
	e := asError(err)
	c.seen.Code = string(e.Code)
	if e.Status >= 500 {
		c.seen.Err = err
	}
	if e.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int(e.RetryAfter.Seconds())))
	}
	if c.isOAuth() {
		return c.oauthFailure(header, e)
	}
	if e.Status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", c.challenge())
		e.Message = "unauthorized"
	}
	body := errorBody{Error: e.Message, Code: e.Code}
	if e.Status >= 500 {
		body.RequestID = c.seen.RequestID
	}
	return answer{status: e.Status, body: body}
}

// challenge is that of RFC 6750 §3: it names an error only to a caller who showed a token.
func (c *call) challenge() string {
	if c.seen.Route == authzRoute && basicTried(c.Request) {
		return `Basic realm="keyturn"`
	}
	for _, value := range c.Header.Values("Authorization") {
		if _, shown := bearerIn(value); shown {
			return `Bearer realm="keyturn", error="invalid_token"`
		}
	}
	return `Bearer realm="keyturn"`
}

func (c *call) isOAuth() bool { return strings.HasPrefix(c.seen.Route, "/v1/oauth/") }

// write sends the answer. What fails from here on fails between us and the client.
func (c *call) write(w http.ResponseWriter, a answer) {
	status := a.status
	if status == 0 {
		status = http.StatusOK
	}
	body, media := a.raw, a.media
	if a.body != nil {
		encoded, err := json.Marshal(a.body)
		if err != nil {
			c.seen.Err, c.seen.Code, status = fmt.Errorf("encode the answer: %w", err), string(Internal), http.StatusInternalServerError
			encoded = []byte(`{"error":"internal error","code":"INTERNAL","request_id":"` + c.seen.RequestID + `"}`)
		}
		body = encoded
	}
	if media == "" {
		media = "application/json"
	}
	h := w.Header()
	for name, value := range a.header {
		h.Set(name, value)
	}
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	if body != nil {
		h.Set("Content-Type", media)
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	c.seen.Status, c.seen.Bytes = status, int64(len(body))
	w.WriteHeader(status)
	if c.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// origin is where a write comes from, for its record.
func (c *call) origin(reason string) authority.Origin {
	o := authority.Origin{At: c.at, RequestID: c.seen.RequestID, Source: c.seen.Source, Reason: reason}
	if c.caller.Claims.ClientID != "" {
		o.Actor, o.Version = c.caller.Claims.ClientID, c.caller.Claims.Version
	}
	return o
}

// requestID keeps the client's id where it is a harmless one: it is logged, recorded and passed on, so nothing that looks like
// a secret or a token is kept.
func requestID(r *http.Request) string {
	given := r.Header.Get(HeaderClientRequest)
	if given != "" && len(given) <= 64 && !strings.ContainsFunc(given, notRequestID) &&
		!strings.Contains(given, "sec_") && !strings.Contains(given, "eyJ") {
		return given
	}
	return rand.Text() // no letter of it is small: it cannot look like those
}

func notRequestID(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
}
