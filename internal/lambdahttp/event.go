package lambdahttp

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// event has what is read of either payload; names differ from those in JSON by their case alone.
type event struct {
	Version, Body, RawPath, RawQueryString string // Raw: 2.0
	HTTPMethod, Path, Resource             string // 1.0
	PathParameters                         map[string]string
	Headers, QueryStringParameters         map[string]string
	MultiValueHeaders                      http.Header
	MultiValueQueryStringParameters        url.Values
	IsBase64Encoded                        bool
	RequestContext                         struct {
		Stage, Path, DomainName string
		Identity, HTTP          struct{ Method, SourceIP string }
	}
}

func (e *event) v2() bool     { return e.Version == "2.0" && e.RequestContext.HTTP.Method != "" }
func (e *event) isHTTP() bool { return e.v2() || e.HTTPMethod != "" }

// request is what net/http would have made of the client's request.
func (e *event) request(ctx context.Context) (*http.Request, error) {
	body, err := []byte(e.Body), error(nil)
	if e.IsBase64Encoded {
		if body, err = base64.StdEncoding.DecodeString(e.Body); err != nil {
			return nil, fmt.Errorf("the event's body: %w", err)
		}
	}
	method, source, query := e.HTTPMethod, e.RequestContext.Identity.SourceIP, e.query()
	if e.v2() {
		method, source, query = e.RequestContext.HTTP.Method, e.RequestContext.HTTP.SourceIP, e.RawQueryString
	}
	header := http.Header{"Host": {e.RequestContext.DomainName}}
	for name, value := range e.Headers {
		header.Set(name, value)
	}
	for name, values := range e.MultiValueHeaders {
		header[http.CanonicalHeaderKey(name)] = values
	}
	prefix, path := e.paths()
	u := &url.URL{Path: path, RawQuery: query}
	if plain, err := url.PathUnescape(path); err == nil {
		u.Path, u.RawPath = plain, path
	}
	r := &http.Request{
		Method: method, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header, Host: header.Get("Host"),
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
		RemoteAddr: net.JoinHostPort(source, "0"), RequestURI: prefix + u.RequestURI(),
	}
	if header.Get("X-Forwarded-Proto") != "http" { // the gateway sets it
		r.TLS = &tls.ConnectionState{}
	}
	header.Del("Host") // net/http keeps it apart
	return r.WithContext(ctx), nil
}

func (e *event) query() string {
	values := e.MultiValueQueryStringParameters
	if values == nil {
		values = url.Values{}
	}
	for name, value := range e.QueryStringParameters {
		if !values.Has(name) {
			values.Set(name, value)
		}
	}
	return values.Encode()
}

// paths cuts the path that was asked in two: what stands before the API (the stage, or a custom domain's base path), and the
// path in the API. A REST API leaves the base path in front of Path; there the resource tells what is ours.
func (e *event) paths() (prefix, path string) {
	filled := strings.Split(e.Resource, "/")
	for i, s := range filled {
		if name, ok := strings.CutPrefix(s, "{"); ok {
			filled[i] = e.PathParameters[strings.TrimRight(name, "+}")]
		}
	}
	known, asked := strings.Join(filled, "/"), e.RequestContext.Path
	switch stage := "/" + e.RequestContext.Stage; {
	case e.v2():
		known, asked = e.RawPath, e.RawPath
		if strings.HasPrefix(asked+"/", stage+"/") {
			known = strings.TrimPrefix(asked, stage)
		}
	case strings.HasSuffix(asked, e.Path) && asked != e.Path || known == "" || !strings.HasSuffix(e.Path, known):
		known = e.Path
	default:
		asked = e.Path
	}
	prefix = strings.TrimSuffix(asked, known)
	if known == "" {
		known = "/"
	}
	return prefix, known
}

// recorder keeps an answer until the handler is done.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func record(h http.Handler, r *http.Request) *recorder {
	w := &recorder{header: http.Header{}}
	h.ServeHTTP(w, r)
	w.WriteHeader(http.StatusOK)
	return w
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// reply is w for the gateway that sent e. Other members than these are refused there.
func (e *event) reply(w *recorder) any {
	body, isBase64 := w.body.String(), !utf8.Valid(w.body.Bytes())
	if isBase64 {
		body = base64.StdEncoding.EncodeToString(w.body.Bytes())
	}
	out := map[string]any{"statusCode": w.status, "body": body, "isBase64Encoded": isBase64, "multiValueHeaders": w.header}
	if e.v2() {
		joined := map[string]string{}
		for name, values := range w.header {
			joined[name] = strings.Join(values, ", ")
		}
		delete(out, "multiValueHeaders")
		out["headers"] = joined
	}
	return out
}
