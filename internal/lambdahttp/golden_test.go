package lambdahttp_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/lambdahttp"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// api is the whole API over a bootstrapped cluster, and what the golden requests need to know of it.
type api struct {
	http.Handler
	words map[string]string
}

func newAPI(t *testing.T) *api {
	t.Helper()
	dir := t.TempDir()
	custody, err := keys.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	store, err := bolt.Open(filepath.Join(dir, "keyturn.db"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := authority.Open(t.Context(), store, custody, authority.Options{Private: true, SoleWriter: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	h := httpapi.NewServer(a, httpapi.ServerOptions{Now: func() time.Time { return start }, Version: "test"})
	var done httpapi.Bootstrapped
	call(t, h, "/v1/bootstrap", "application/json", "{}", &done)
	var token httpapi.Token
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {done.ClientID}, "client_secret": {done.ClientSecret}}
	call(t, h, "/v1/oauth/token", "application/x-www-form-urlencoded", form.Encode(), &token)
	return &api{h, map[string]string{
		"client_id": done.ClientID, "client_secret": done.ClientSecret, "token": token.AccessToken,
		"basic": base64.StdEncoding.EncodeToString([]byte(done.ClientID + ":" + done.ClientSecret)),
	}}
}

func call(t *testing.T, h http.Handler, path, media, body string, into any) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://localhost"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", media)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if err := json.Unmarshal(w.Body.Bytes(), into); w.Code >= 300 || err != nil {
		t.Fatalf("%s: %d %s, %v", path, w.Code, w.Body, err)
	}
}

var base64Word = regexp.MustCompile(`\{\{base64 (.*?)\}\}`)

// fill puts the cluster's own words into a golden file.
func (a *api) fill(t *testing.T, file string) []byte {
	t.Helper()
	text := read(t, file)
	for name, value := range a.words {
		text = bytes.ReplaceAll(text, []byte("{{"+name+"}}"), []byte(value))
	}
	return base64Word.ReplaceAllFunc(text, func(b []byte) []byte {
		return []byte(base64.StdEncoding.EncodeToString(base64Word.FindSubmatch(b)[1]))
	})
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// answer is what a client gets.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

// changing are the parts of an answer that are new each time.
var changing = regexp.MustCompile(`eyJ[\w.-]+|sec_[0-9A-Za-z]{49}|(cli|clu|lic|peer)_[0-9a-z]{26}`)

func (a answer) settled() answer {
	header := a.Header.Clone()
	header.Del("Date") // net/http adds it, API Gateway too
	for name, values := range header {
		header.Set(name, changing.ReplaceAllString(strings.Join(values, ", "), "NEW"))
	}
	return answer{a.Status, header, changing.ReplaceAllString(a.Body, "NEW")}
}

// throughLambda sends a golden event.
func (a *api) throughLambda(t *testing.T, event []byte) answer {
	t.Helper()
	f := &lambdahttp.Function{Handler: a, Late: http.NotFoundHandler()}
	out, err := f.Invoke(context.Background(), event)
	if err != nil {
		t.Fatal(err)
	}
	return gateway(t, event, out)
}

// gateway is what API Gateway makes of a function's answer; it refuses members that it does not know.
func gateway(t *testing.T, event, out []byte) answer {
	t.Helper()
	var reply struct {
		StatusCode        int
		Headers           map[string]string
		MultiValueHeaders http.Header
		Body              string
		IsBase64Encoded   bool
	}
	d := json.NewDecoder(bytes.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&reply); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	two := bytes.Contains(event, []byte(`"version": "2.0"`))
	if two && reply.MultiValueHeaders != nil || !two && reply.Headers != nil {
		t.Fatalf("the answer has the form of the other payload: %s", out)
	}
	a := answer{reply.StatusCode, reply.MultiValueHeaders, reply.Body}
	if two {
		a.Header = http.Header{}
		for name, value := range reply.Headers {
			a.Header.Set(name, value)
		}
	}
	if reply.IsBase64Encoded {
		b, err := base64.StdEncoding.DecodeString(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		a.Body = string(b)
	}
	return a
}

// throughHTTP sends a golden request to the same handler over net/http, behind the prefix that the gateway takes off.
func (a *api) throughHTTP(t *testing.T, raw []byte, prefix string) answer {
	t.Helper()
	server := httptest.NewTLSServer(http.StripPrefix(prefix, a))
	defer server.Close()
	head, body, _ := bytes.Cut(raw, []byte("\n\n"))
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(append(head, "\n\n"...))))
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(server.URL + r.RequestURI)
	if err != nil {
		t.Fatal(err)
	}
	body = bytes.TrimSuffix(body, []byte("\n"))
	r.URL, r.RequestURI, r.Body, r.ContentLength = target, "", io.NopCloser(bytes.NewReader(body)), int64(len(body))
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	out, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	text, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{out.StatusCode, out.Header, string(text)}
}

// prefixOf is what stands before the API in a golden request.
func prefixOf(name string) string {
	switch {
	case strings.HasPrefix(name, "url-"), name == "rest-discovery-own-domain":
		return ""
	case name == "rest-discovery-base-path":
		return "/keys/eu"
	case name == "rest-get":
		return "/keys"
	}
	return "/prod"
}

// Each golden request gives the same status, headers and body through Lambda and through net/http.
func TestParity(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d golden events, %v", len(files), err)
	}
	statuses := map[int]bool{}
	a := newAPI(t)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			lambda := a.throughLambda(t, a.fill(t, file)).settled()
			direct := a.throughHTTP(t, a.fill(t, strings.TrimSuffix(file, ".json")+".http"), prefixOf(name)).settled()
			if diff := cmp.Diff(direct, lambda); diff != "" {
				t.Errorf("net/http (-) and Lambda (+) differ:\n%s", diff)
			}
			statuses[lambda.Status] = true
			if strings.Contains(name, "discovery") && !strings.Contains(lambda.Body, prefixOf(name)+"/v1/oauth/token") {
				t.Errorf("the endpoints are not at the address that was asked: %s", lambda.Body)
			}
		})
	}
	for _, want := range []int{200, 201, 400, 401, 404, 405, 415} {
		if !statuses[want] {
			t.Errorf("no golden request is answered with %d", want)
		}
	}
}
