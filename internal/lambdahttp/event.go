package lambdahttp

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
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
	Headers, QueryStringParameters         json.RawMessage // of single values: read where there are no others
	MultiValueHeaders                      http.Header
	MultiValueQueryStringParameters        url.Values
	IsBase64Encoded                        bool
	RequestContext                         struct {
		Stage, Path, DomainName string
		Identity, HTTP          struct{ Method, SourceIP string }
	}
}

func (e *event) v2() bool { return e.Version == "2.0" && e.RequestContext.HTTP.Method != "" }

// request is what net/http would have made of the client's request.
func (e *event) request(ctx context.Context) (*http.Request, error) {
	body := e.Body
	if e.IsBase64Encoded {
		decoded, err := base64.StdEncoding.DecodeString(e.Body)
		if err != nil {
			return nil, err
		}
		body = string(decoded)
	}
	method, source, query := e.HTTPMethod, e.RequestContext.Identity.SourceIP, ""
	if values := either(e.MultiValueQueryStringParameters, e.QueryStringParameters); len(values) > 0 {
		query = url.Values(values).Encode()
	}
	if e.v2() {
		method, source, query = e.RequestContext.HTTP.Method, e.RequestContext.HTTP.SourceIP, e.RawQueryString
	}
	given := either(e.MultiValueHeaders, e.Headers)
	header := make(http.Header, len(given)+2)
	for name, values := range given {
		header[http.CanonicalHeaderKey(name)] = values
	}
	prefix, path := e.paths()
	u := &url.URL{Path: path, RawQuery: query}
	if plain, err := url.PathUnescape(path); err == nil {
		u.Path, u.RawPath = plain, path
	}
	r := &http.Request{
		Method: method, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header,
		Host: cmp.Or(header.Get("Host"), e.RequestContext.DomainName),
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
		RemoteAddr: net.JoinHostPort(source, "0"), RequestURI: prefix + u.RequestURI(),
	}
	if header.Get("X-Forwarded-Proto") != "http" { // the gateway sets it
		r.TLS = &tls.ConnectionState{}
	}
	header.Del("Host") // net/http keeps it apart
	return r.WithContext(ctx), nil
}

// either returns multi, or else what single has.
func either[M ~map[string][]string](multi M, single json.RawMessage) M {
	if multi != nil {
		return multi
	}
	var values map[string]string
	_ = json.Unmarshal(single, &values) // what is of another type counts as none
	multi = make(M, len(values))
	for name, value := range values {
		multi[name] = []string{value}
	}
	return multi
}

// paths cuts the path that was asked in two: what stands before the API (the stage, or a custom domain's base path), and the
// path in the API. A REST API leaves the base path in front of Path; there the resource tells what is ours.
func (e *event) paths() (prefix, path string) {
	asked, path := e.RequestContext.Path, e.Path
	if e.v2() {
		asked, path = e.RawPath, e.RawPath
		if stage := "/" + e.RequestContext.Stage; strings.HasPrefix(asked+"/", stage+"/") {
			path = strings.TrimPrefix(asked, stage)
		}
	} else if asked == path || !strings.HasSuffix(asked, path) {
		filled := strings.Split(e.Resource, "/")
		for i, s := range filled {
			if name, ok := strings.CutPrefix(s, "{"); ok {
				filled[i] = e.PathParameters[strings.TrimRight(name, "+}")]
			}
		}
		if known := strings.Join(filled, "/"); known != "" && strings.HasSuffix(path, known) {
			asked, path = path, known
		}
	}
	return strings.TrimSuffix(asked, path), cmp.Or(path, "/")
}

// reply is an answer for a gateway. Members beyond those that it knows are refused there.
type reply struct {
	Status  int               `json:"statusCode"`
	Headers map[string]string `json:"headers,omitempty"`           // 2.0
	Multi   http.Header       `json:"multiValueHeaders,omitempty"` // 1.0
	Body    string            `json:"body"`
	Base64  bool              `json:"isBase64Encoded"`
}

// recorder keeps what a handler writes.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = cmp.Or(w.status, status) }
func (w *recorder) Write(b []byte) (int, error) { w.WriteHeader(http.StatusOK); return w.body.Write(b) }

// record runs a handler, and returns its answer for the gateway that sent e.
func (e *event) record(h http.Handler, r *http.Request) reply {
	w := &recorder{header: http.Header{}}
	h.ServeHTTP(w, r)
	a := reply{Status: cmp.Or(w.status, http.StatusOK), Multi: w.header, Body: w.body.String()}
	if a.Base64 = !utf8.ValidString(a.Body); a.Base64 {
		a.Body = base64.StdEncoding.EncodeToString(w.body.Bytes())
	}
	if e.v2() {
		a.Multi, a.Headers = nil, make(map[string]string, len(w.header))
		for name, values := range w.header {
			a.Headers[name] = strings.Join(values, ", ")
		}
	}
	return a
}
