// Package e2e is what a whole deployment of keyturn has to do, seen from outside: over HTTP, by the answers alone. Run is
// the suite; any deployment can be its Target. It knows the contract of the API, and nothing of how it is kept.
//
// It has no errors of its own: what does not hold fails the test.
package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// API calls a deployment for a test. A call that gets no answer ends the test.
type API struct {
	T      testing.TB
	URL    string       // without a trailing slash
	Client *http.Client // nil: one that follows no redirects
}

// Option adds something to a request.
type Option func(*http.Request)

// Header sets a header.
func Header(name, value string) Option {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// Bearer shows a token (RFC 6750 §2.1). "" shows none.
func Bearer(token string) Option {
	return func(r *http.Request) {
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
	}
}

// Basic authenticates a client (RFC 6749 §2.3.1).
func Basic(id, secret string) Option {
	pair := url.QueryEscape(id) + ":" + url.QueryEscape(secret)
	return Header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
}

// JSON sends a body: text as it is, anything else encoded.
func JSON(body any) Option {
	return func(r *http.Request) {
		text, ok := body.(string)
		if !ok {
			b, err := json.Marshal(body)
			if err != nil {
				panic(err) // a test's own mistake
			}
			text = string(b)
		}
		send(r, "application/json", text)
	}
}

// Form sends a form of names and values in turn.
func Form(pairs ...string) Option {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return func(r *http.Request) { send(r, "application/x-www-form-urlencoded", values.Encode()) }
}

// Body sends bytes under a media type; "" for none.
func Body(media, text string) Option {
	return func(r *http.Request) { send(r, media, text) }
}

func send(r *http.Request, media, text string) {
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
}

// Answer is an answer, read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do calls and returns the answer, whatever its status.
func (a *API) Do(method, path string, options ...Option) Answer {
	a.T.Helper()
	r, err := http.NewRequestWithContext(a.T.Context(), method, a.URL+path, nil)
	if err != nil {
		a.T.Fatal(err)
	}
	for _, o := range options {
		o(r)
	}
	client := a.Client
	if client == nil {
		client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	resp, err := client.Do(r)
	if err != nil {
		a.T.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		a.T.Fatalf("%s %s: read the answer: %v", method, path, err)
	}
	return Answer{resp.StatusCode, resp.Header, body}
}

// Want is Do for a call that has to have a status.
func (a *API) Want(status int, method, path string, options ...Option) Answer {
	a.T.Helper()
	answer := a.Do(method, path, options...)
	if answer.Status != status {
		a.T.Fatalf("%s %s: status %d, want %d: %s", method, path, answer.Status, status, answer.Body)
	}
	return answer
}

// Token gets an access token; further pairs go into the form.
func (a *API) Token(id, secret string, pairs ...string) string {
	a.T.Helper()
	form := Form(append([]string{"grant_type", "client_credentials"}, pairs...)...)
	return a.Want(http.StatusOK, "POST", "/v1/oauth/token", Basic(id, secret), form).Text("access_token")
}

// Refused asks for a token, has to be told invalid_client, and returns the description.
func (a *API) Refused(id, secret string) string {
	a.T.Helper()
	answer := a.Want(http.StatusUnauthorized, "POST", "/v1/oauth/token", Basic(id, secret), Form("grant_type", "client_credentials"))
	if answer.Text("error") != "invalid_client" {
		a.T.Fatalf("a refused client got %s", answer.Body)
	}
	return answer.Text("error_description")
}

// Object is the body as an object; nil where it is none. Numbers are json.Number.
func (a Answer) Object() map[string]any {
	d := json.NewDecoder(bytes.NewReader(a.Body))
	d.UseNumber()
	var object map[string]any
	if d.Decode(&object) != nil {
		return nil
	}
	return object
}

// Text is a member of the body as text; "" where it is not there or null.
func (a Answer) Text(name string) string {
	switch v := a.Object()[name].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// Into decodes the body, and fails the test where it cannot.
func (a Answer) Into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		t.Fatalf("%v: %s", err, a.Body)
	}
}
