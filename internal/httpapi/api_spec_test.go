package httpapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn/internal/httpapi"
)

const specFile = "../../docs/openapi.yaml"

// spec is docs/openapi.yaml, ready to hold answers against.
type spec struct {
	doc      map[string]any
	compiler *jsonschema.Compiler

	mu      sync.Mutex
	schemas map[string]*jsonschema.Schema
	used    map[string]int // how many answers of each status an operation gave, as "GET /livez 200"
}

var loadSpec = sync.OnceValues(func() (*spec, error) {
	text, err := os.ReadFile(specFile)
	if err != nil {
		return nil, err
	}
	var doc map[string]any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	plain, err := json.Marshal(doc) // the validator knows JSON's own types only
	if err != nil {
		return nil, err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(plain))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("mem:///openapi.json", value); err != nil {
		return nil, err
	}
	return &spec{doc: value.(map[string]any), compiler: c, schemas: map[string]*jsonschema.Schema{}, used: map[string]int{}}, nil
})

func theSpec(t testing.TB) *spec {
	t.Helper()
	s, err := loadSpec()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pointer joins the steps of a JSON pointer (RFC 6901 §3).
func pointer(steps ...string) string {
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	var b strings.Builder
	for _, s := range steps {
		b.WriteString("/" + escape.Replace(s))
	}
	return b.String()
}

// at follows steps from the root, and references on the way. It returns the value and where it stands.
func (s *spec) at(steps ...string) (any, []string) {
	var value any = s.doc
	var way []string
	for _, step := range steps {
		object, _ := value.(map[string]any)
		next, ok := object[step]
		if !ok {
			return nil, nil
		}
		value, way = next, append(way, step)
		if o, ok := value.(map[string]any); ok {
			if ref, ok := o["$ref"].(string); ok && len(o) == 1 {
				value, way = s.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
			}
		}
	}
	return value, slices.Clone(way)
}

// check holds a value against the schema at those steps.
func (s *spec) check(value any, steps ...string) error {
	_, way := s.at(steps...)
	if way == nil {
		return fmt.Errorf("%s is not in %s", pointer(steps...), specFile)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	where := pointer(way...)
	schema := s.schemas[where]
	if schema == nil {
		var err error
		if schema, err = s.compiler.Compile("mem:///openapi.json#" + (&url.URL{Path: where}).EscapedPath()); err != nil {
			return err
		}
		s.schemas[where] = schema
	}
	return schema.Validate(value)
}

// operation finds what a request is in the file: its path, and its method if that is there.
func (s *spec) operation(r *http.Request) (path, method string) {
	paths := s.doc["paths"].(map[string]any)
	names := slices.Collect(maps.Keys(paths))
	slices.SortFunc(names, func(a, b string) int { return strings.Count(a, "{") - strings.Count(b, "{") })
	for _, name := range names {
		if !fitsPath(name, r.URL.EscapedPath()) {
			continue
		}
		method := strings.ToLower(r.Method)
		if method == "head" {
			method = "get"
		}
		if _, ok := paths[name].(map[string]any)[method]; ok && r.Method == strings.ToUpper(r.Method) {
			return name, method
		}
		return name, ""
	}
	return "", ""
}

func fitsPath(pattern, path string) bool {
	a, b := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] && (!strings.HasPrefix(a[i], "{") || b[i] == "") {
			return false
		}
	}
	return true
}

// answered holds one exchange against the file.
func (s *spec) answered(r *http.Request, sent []byte, resp *http.Response, body []byte) error {
	errs := s.everywhere(resp, body)
	path, method := s.operation(r)
	status := strconv.Itoa(resp.StatusCode)
	switch {
	case path == "" && resp.StatusCode != 404:
		return fmt.Errorf("a path that is not in the file got %s", status)
	case path != "" && method == "" && resp.StatusCode != 405 && resp.StatusCode != 404:
		return fmt.Errorf("a method that is not in the file got %s", status)
	case method == "":
		return errors.Join(errs, s.plainError(path, body, r.Method == http.MethodHead))
	}
	s.mu.Lock()
	s.used[strings.ToUpper(method)+" "+path+" "+status]++
	s.mu.Unlock()
	response := []string{"paths", path, method, "responses", status}
	if found, _ := s.at(response...); found == nil {
		return fmt.Errorf("%s %s: status %s is not in the file: %s", method, path, status, body)
	}
	errs = errors.Join(errs, s.headers(resp, response))
	if r.Method == http.MethodHead {
		return errs
	}
	errs = errors.Join(errs, s.body(resp.Header.Get("Content-Type"), body, response))
	takes, _ := s.at("paths", path, method, "requestBody")
	if takes != nil && resp.StatusCode < 300 && len(sent) > 0 && r.Header.Get("Content-Type") == "application/json" {
		if err := s.json(sent, "paths", path, method, "requestBody", "content", "application/json", "schema"); err != nil {
			errs = errors.Join(errs, fmt.Errorf("it was accepted: %w", err))
		}
	}
	return errs
}

// everywhere is what holds for each answer.
func (s *spec) everywhere(resp *http.Response, body []byte) error {
	requestID := resp.Header.Get(httpapi.HeaderRequestID)
	var errs error
	if requestID == "" {
		errs = errors.New("the answer has no request id")
	}
	var e struct {
		Code      *string `json:"code"`
		RequestID string  `json:"request_id"`
	}
	if resp.StatusCode >= 400 && json.Unmarshal(body, &e) == nil && e.Code != nil {
		want := ""
		if resp.StatusCode >= 500 {
			want = requestID
		}
		if e.RequestID != want {
			errs = errors.Join(errs, fmt.Errorf("request_id is %q in the body of a %d", e.RequestID, resp.StatusCode))
		}
	}
	return errs
}

func (s *spec) plainError(path string, body []byte, head bool) error {
	if head {
		return nil
	}
	shape := "Error"
	if strings.HasPrefix(path, "/v1/oauth/") {
		shape = "OAuthError"
	}
	return s.json(body, "components", "schemas", shape)
}

func (s *spec) headers(resp *http.Response, response []string) error {
	list, _ := s.at(append(response, "headers")...)
	headers, _ := list.(map[string]any)
	var errs error
	for name := range headers {
		header, _ := s.at(append(slices.Clone(response), "headers", name)...)
		required, _ := header.(map[string]any)["required"].(bool)
		value := resp.Header.Values(name)
		if len(value) == 0 && !required {
			continue
		}
		if len(value) != 1 {
			errs = errors.Join(errs, fmt.Errorf("header %s is there %d times", name, len(value)))
			continue
		}
		if err := s.check(value[0], append(slices.Clone(response), "headers", name, "schema")...); err != nil {
			errs = errors.Join(errs, fmt.Errorf("header %s: %w", name, err))
		}
	}
	for _, name := range []string{"Location", "Retry-After", "WWW-Authenticate", httpapi.HeaderReplayed} {
		if _, known := headers[name]; !known && resp.Header.Get(name) != "" {
			errs = errors.Join(errs, fmt.Errorf("header %s is not in the file for this answer", name))
		}
	}
	return errs
}

func (s *spec) body(media string, body []byte, response []string) error {
	content, _ := s.at(append(slices.Clone(response), "content")...)
	if content == nil {
		if len(body) > 0 || media != "" {
			return fmt.Errorf("a body that is not in the file: %s", body)
		}
		return nil
	}
	steps := append(slices.Clone(response), "content", media, "schema")
	if media != "application/jsonl" {
		return s.json(body, steps...)
	}
	var errs error
	for line := range bytes.Lines(body) {
		errs = errors.Join(errs, s.json(line, steps...))
	}
	return errs
}

func (s *spec) json(text []byte, steps ...string) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("not JSON: %w: %s", err, text)
	}
	if err := s.check(value, steps...); err != nil {
		return fmt.Errorf("%w in %s", err, text)
	}
	return nil
}

// checkedClient is a client that holds every answer against the file.
func checkedClient(t testing.TB, s *httptest.Server) *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     checked{t, theSpec(t), s.Client().Transport},
	}
}

type checked struct {
	t    testing.TB
	spec *spec
	next http.RoundTripper
}

func (c checked) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		sent, _ = io.ReadAll(r.Body)
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	resp, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if err := c.spec.answered(r, sent, resp, body); err != nil {
		c.t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	return resp, nil
}

func TestSpec_HasEveryRouteAndNoOther(t *testing.T) {
	t.Parallel()
	want := map[string][]string{}
	for path, item := range theSpec(t).doc["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			if method != "parameters" {
				want[path] = append(want[path], strings.ToUpper(method))
			}
		}
	}
	routes := httpapi.Routes()
	for _, list := range []map[string][]string{want, routes} {
		for path := range list {
			slices.Sort(list[path])
		}
	}
	if diff := cmp.Diff(want, routes); diff != "" {
		t.Errorf("the file (-) and the server (+) have different routes:\n%s", diff)
	}
}

// Each reference leads somewhere, each schema compiles, each example fits, and each component is used.
func TestSpec_IsSound(t *testing.T) {
	t.Parallel()
	s := theSpec(t)
	used := map[string]bool{}
	var walk func(value any)
	walk = func(value any) {
		switch v := value.(type) {
		case []any:
			for _, one := range v {
				walk(one)
			}
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				used[ref] = true
				if found, _ := s.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...); found == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, one := range v {
				walk(one)
			}
		}
	}
	walk(s.doc)
	components := s.doc["components"].(map[string]any)
	for kind, list := range components {
		for name := range list.(map[string]any) {
			if ref := "#/components/" + kind + "/" + name; !used[ref] && kind != "securitySchemes" {
				t.Errorf("%s is used nowhere", ref)
			}
		}
	}
	for name, schema := range components["schemas"].(map[string]any) {
		_ = s.check(nil, "components", "schemas", name) // compiles it
		examples, _ := schema.(map[string]any)["examples"].([]any)
		for _, example := range examples {
			if err := s.check(example, "components", "schemas", name); err != nil {
				t.Errorf("the example of %s: %v", name, err)
			}
		}
	}
}

// The file refuses what it does not know: else the other tests prove nothing.
func TestSpec_RefusesUnknownMembers(t *testing.T) {
	t.Parallel()
	s := theSpec(t)
	for name, text := range map[string]string{
		"Error":         `{"error":"x","code":"INTERNAL","detail":"y"}`,
		"Introspection": `{"active":false,"sub":"x"}`,
		"Token":         `{"access_token":"a.b.c","token_type":"Bearer","expires_in":1,"scope":"","more":1}`,
		"ExportLine":    `{"next_cursor":null,"more":1}`,
	} {
		if s.json([]byte(text), "components", "schemas", name) == nil {
			t.Errorf("%s takes %s", name, text)
		}
	}
	example := s.doc["components"].(map[string]any)["schemas"].(map[string]any)["Credential"].(map[string]any)["examples"].([]any)[0]
	with := maps.Clone(example.(map[string]any))
	with["hash"] = "x"
	for _, name := range []string{"Credential", "Created", "SharedCredential"} {
		if s.check(with, "components", "schemas", name) == nil {
			t.Errorf("%s takes an unknown member", name)
		}
	}
}
