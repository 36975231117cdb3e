package lambdahttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/keyturn/keyturn/internal/lambdahttp"
)

// seen is what a handler is given.
type seen struct {
	Method, Path, RequestURI, Host, Source, Body string
	TLS                                          bool
	Query                                        map[string][]string
	Header                                       http.Header
}

// see gives an event to a handler that looks at it.
func see(t *testing.T, event string) seen {
	t.Helper()
	var s seen
	f := &lambdahttp.Function{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s = seen{
			r.Method, r.URL.Path, r.RequestURI, r.Host, r.RemoteAddr, string(body),
			r.TLS != nil, r.URL.Query(), r.Header,
		}
	})}
	if _, err := f.Invoke(t.Context(), []byte(event)); err != nil {
		t.Fatalf("%s: %v", event, err)
	}
	return s
}

func TestEvent_Paths(t *testing.T) {
	t.Parallel()
	one := func(asked, path, resource, params string) string {
		return fmt.Sprintf(`{"httpMethod":"GET","resource":%q,"path":%q,"pathParameters":%s,"requestContext":{"path":%q,"stage":"prod"}}`,
			resource, path, params, asked)
	}
	two := func(raw, stage string) string {
		return fmt.Sprintf(`{"version":"2.0","rawPath":%q,"requestContext":{"stage":%q,"http":{"method":"GET"}}}`, raw, stage)
	}
	for name, c := range map[string]struct{ event, path, uri string }{
		"Stage":                  {one("/prod/v1/x", "/v1/x", "/{proxy+}", `{"proxy":"v1/x"}`), "/v1/x", "/prod/v1/x"},
		"StageIsPartOfThePath":   {one("/prod/prod/x", "/prod/x", "/{proxy+}", `{"proxy":"prod/x"}`), "/prod/x", "/prod/prod/x"},
		"Root":                   {one("/prod/", "/", "/", `null`), "/", "/prod/"},
		"OwnDomain":              {one("/v1/x", "/v1/x", "/{proxy+}", `{"proxy":"v1/x"}`), "/v1/x", "/v1/x"},
		"BasePath":               {one("/a/b/v1/x", "/a/b/v1/x", "/{proxy+}", `{"proxy":"v1/x"}`), "/v1/x", "/a/b/v1/x"},
		"BasePathAndStage":       {one("/a/prod/v1/x", "/a/prod/v1/x", "/v1/{name}", `{"name":"x"}`), "/v1/x", "/a/prod/v1/x"},
		"BasePathFixedResource":  {one("/a/v1/x", "/a/v1/x", "/v1/x", `null`), "/v1/x", "/a/v1/x"},
		"BasePathOfTheRoot":      {one("/a/", "/a/", "/", `null`), "/", "/a/"},
		"ResourceDoesNotFit":     {one("/v1/x", "/v1/x", "/{proxy+}", `null`), "/v1/x", "/v1/x"},
		"NoContext":              {`{"httpMethod":"GET","path":"/v1/x"}`, "/v1/x", "/v1/x"},
		"NoPath":                 {`{"httpMethod":"GET"}`, "/", "/"},
		"Encoded":                {one("/prod/v1/a%2Fb", "/v1/a%2Fb", "/{proxy+}", `{"proxy":"v1/a/b"}`), "/v1/a/b", "/prod/v1/a%2Fb"},
		"NotEncoded":             {one("/prod/v1/100%", "/v1/100%", "/{proxy+}", `{"proxy":"v1/100%"}`), "/v1/100%", "/prod/v1/100%25"},
		"HTTPStage":              {two("/prod/v1/x", "prod"), "/v1/x", "/prod/v1/x"},
		"HTTPStageIsAPrefixOnly": {two("/production/x", "prod"), "/production/x", "/production/x"},
		"HTTPStageAlone":         {two("/prod", "prod"), "/", "/prod/"},
		"HTTPMapping":            {two("/v1/x", "prod"), "/v1/x", "/v1/x"},
		"URL":                    {two("/v1/x", "$default"), "/v1/x", "/v1/x"},
		"URLRoot":                {two("", "$default"), "/", "/"},
	} {
		t.Run(name, func(t *testing.T) {
			if s := see(t, c.event); s.Path != c.path || s.RequestURI != c.uri {
				t.Errorf("= %q, %q, want %q, %q", s.Path, s.RequestURI, c.path, c.uri)
			}
		})
	}
}

func TestEvent_HeadersQueryBodySource(t *testing.T) {
	t.Parallel()
	s := see(t, `{"httpMethod":"PUT","path":"/","body":"aGk=","isBase64Encoded":true,
		"headers":{"host":"a.example","x-one":"2"},"multiValueHeaders":{"host":["a.example"],"x-one":["1","2"]},
		"queryStringParameters":{"q":"c&d"},"multiValueQueryStringParameters":{"q":["a b","c&d"]},
		"requestContext":{"identity":{"sourceIp":"192.0.2.1"},"domainName":"b.example"}}`)
	if s.Method != "PUT" || s.Body != "hi" || s.Host != "a.example" || s.Source != "192.0.2.1:0" || !s.TLS ||
		fmt.Sprint(s.Query["q"]) != "[a b c&d]" || fmt.Sprint(s.Header["X-One"]) != "[1 2]" || s.Header.Get("Host") != "" {
		t.Errorf("payload 1.0: %+v", s)
	}
	s = see(t, `{"httpMethod":"GET","path":"/","headers":{"X-Forwarded-Proto":"http"},"queryStringParameters":{"q":"1"},
		"requestContext":{"domainName":"b.example"}}`)
	if s.Host != "b.example" || s.TLS || fmt.Sprint(s.Query["q"]) != "[1]" {
		t.Errorf("payload 1.0 without multi-value members: %+v", s)
	}
	s = see(t, `{"version":"2.0","rawPath":"/","rawQueryString":"q=a%20b&q=c","headers":{"x-one":"1,2","host":"c.example"},"body":"hi",
		"requestContext":{"http":{"method":"POST","sourceIp":"2001:db8::1"},"stage":"$default"}}`)
	if s.Method != "POST" || s.Body != "hi" || s.Source != "[2001:db8::1]:0" || fmt.Sprint(s.Query["q"]) != "[a b c]" || s.Header.Get("X-One") != "1,2" {
		t.Errorf("payload 2.0: %+v", s)
	}
}

func TestFunction_AnswersBinary(t *testing.T) {
	t.Parallel()
	f := &lambdahttp.Function{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("X-Two", "1")
		w.Header().Add("X-Two", "2")
		_, _ = w.Write([]byte{0xff, 0xfe})
	})}
	for _, event := range []string{`{"httpMethod":"GET"}`, `{"version": "2.0","requestContext":{"http":{"method":"GET"}}}`} {
		out, err := f.Invoke(t.Context(), []byte(event))
		if err != nil {
			t.Fatal(err)
		}
		a := gateway(t, []byte(event), out)
		if a.Status != 200 || a.Body != "\xff\xfe" || strings.Join(a.Header.Values("X-Two"), ", ") != "1, 2" {
			t.Errorf("= %+v of %s", a, out)
		}
	}
}

func TestFunction_OtherEvents(t *testing.T) {
	t.Parallel()
	tick := `{"version":"0","detail-type":"Scheduled Event","source":"aws.events","resources":["x"],"detail":{}}`
	f := &lambdahttp.Function{Handler: http.NotFoundHandler()}
	for _, event := range []string{tick, `{}`, `[]`, `"x"`, `null`, `x`} {
		if out, err := f.Invoke(t.Context(), []byte(event)); err == nil {
			t.Errorf("%s = %s", event, out)
		}
	}
	f.Other = func(_ context.Context, event json.RawMessage) (any, error) {
		if string(event) != tick {
			return nil, errors.New("not that")
		}
		return map[string]int{"n": 1}, nil
	}
	if out, err := f.Invoke(t.Context(), []byte(tick)); err != nil || string(out) != `{"n":1}` {
		t.Errorf("= %s, %v", out, err)
	}
	if _, err := f.Invoke(t.Context(), []byte(`{}`)); err == nil || err.Error() != "not that" {
		t.Errorf("= %v", err)
	}
	if out, err := f.Invoke(t.Context(), []byte(`{"httpMethod":"GET","body":"%","isBase64Encoded":true}`)); err == nil {
		t.Errorf("a body that is not base64: %s", out)
	}
	if _, err := (&lambdahttp.Function{Other: f.Other}).Invoke(t.Context(), []byte(`{"httpMethod":"GET"}`)); err == nil {
		t.Error("a function without a handler took an HTTP request")
	}
}

// A handler hears 500 ms before the function's end that its time is up. One that does not listen is answered for.
func TestFunction_Deadline(t *testing.T) {
	t.Parallel()
	late := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		status  int
		took    time.Duration
	}{
		"InTime": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, 204, 0},
		"Listens": {func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			w.WriteHeader(418)
		}, 418, 2500 * time.Millisecond},
		"DoesNotListen": {func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(10 * time.Second)
			w.WriteHeader(200)
		}, 503, 2750 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				begin := time.Now()
				f := &lambdahttp.Function{Handler: c.handler, Late: late}
				event := []byte(`{"httpMethod":"GET","path":"/"}`)
				out, err := f.Invoke(ctx, event)
				if err != nil {
					t.Fatal(err)
				}
				if a := gateway(t, event, out); a.Status != c.status || time.Since(begin) != c.took {
					t.Errorf("= %d after %v, want %d after %v", a.Status, time.Since(begin), c.status, c.took)
				}
				time.Sleep(20 * time.Second) // a late handler ends too
			})
		})
	}
}

func TestInvocation(t *testing.T) {
	t.Parallel()
	ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "r-1"})
	//lint:ignore SA1029 it is the runtime's key
	ctx = context.WithValue(ctx, "x-amzn-trace-id", "Root=1-2-3")
	if id, trace := lambdahttp.Invocation(ctx); id != "r-1" || trace != "Root=1-2-3" {
		t.Errorf("= %q, %q", id, trace)
	}
	if id, trace := lambdahttp.Invocation(t.Context()); id != "" || trace != "" {
		t.Errorf("outside: %q, %q", id, trace)
	}
}

func FuzzFunction(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		f.Add(read(f, file))
	}
	f.Add([]byte(`{"httpMethod":"\n","path":"//..","resource":"/{x+}{","requestContext":{"path":"/%zz"}}`))
	fn := &lambdahttp.Function{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "" || r.Body == nil || r.RequestURI == "" {
			panic("not a request as net/http makes it")
		}
		_, _ = io.Copy(w, r.Body)
	})}
	f.Fuzz(func(t *testing.T, event []byte) {
		out, err := fn.Invoke(t.Context(), event)
		if err == nil && !json.Valid(out) {
			t.Errorf("= %s", out)
		}
	})
}
