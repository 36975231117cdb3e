package boot_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/keyturn/keyturn/functions/internal/boot"
	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/keys/vault"
)

const (
	region         = "eu-central-1"
	bootstrapToken = "a bootstrap token of the tests"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// clock is what time it is for all functions.
type clock struct{ seconds atomic.Int64 }

func (c *clock) now() time.Time          { return start.Add(time.Duration(c.seconds.Load()) * time.Second) }
func (c *clock) advance(d time.Duration) { c.seconds.Add(int64(d / time.Second)) }

// environment is that of a function.
type environment map[string]string

func newEnvironment() environment {
	return environment{
		"KEYTURN_TABLE": "keyturn", "KEYTURN_KEY": "alias/keyturn", "KEYTURN_BOOTSTRAP_TOKEN": bootstrapToken,
		"AWS_REGION": region, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
		"AWS_LAMBDA_FUNCTION_NAME": "keyturn",
	}
}

func (e environment) get(name string) string { return e[name] }

// logs is what all functions have written.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// stack is a deployed stack: all functions behind a gateway, over one store.
type stack struct {
	t     testing.TB
	env   environment
	store authority.Store
	vault keys.Sealer
	clock *clock
	logs  *logs
	apps  map[string]*boot.App
	used  *grants // what of the roles was needed
	// remote says that table and keys are behind a network: what is not available is asked again.
	remote bool
	// storeOf is the store as a function's role sees it; nil: every function has the whole store.
	storeOf func(role) authority.Store
}

func newStack(t testing.TB, store authority.Store) *stack {
	t.Helper()
	s := &stack{
		t: t, env: newEnvironment(), store: store, vault: new(vault.Memory), clock: &clock{}, logs: &logs{}, used: &grants{},
	}
	s.restart()
	return s
}

// restart puts every function into a new execution environment, where it may what its role in template.yaml lets it.
func (s *stack) restart() {
	s.t.Helper()
	s.apps = map[string]*boot.App{}
	tmpl := readTemplate(s.t, s.env["AWS_REGION"])
	for _, f := range boot.Functions() {
		role, store := tmpl.role(f.Name, s.used), s.store
		if s.storeOf != nil {
			store = s.storeOf(role)
		}
		a, err := boot.New(f, boot.Options{
			Env: s.env.get, Out: s.logs, Now: s.clock.now, Version: "test", Store: store, Sealer: sealer{s.vault, role},
		})
		if err != nil {
			s.t.Fatalf("%s: %v", f.Name, err)
		}
		a.Warm(s.t.Context())
		s.apps[f.Name] = a
	}
}

func openBolt(t testing.TB) authority.Store {
	t.Helper()
	store, err := bolt.Open(filepath.Join(t.TempDir(), "keyturn.db"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// invoke calls a function as the runtime does.
func (s *stack) invoke(function string, event []byte) ([]byte, error) {
	ctx := lambdacontext.NewContext(s.t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "11111111-2222-4333-8444-555555555555"})
	for tries := 1; ; tries++ {
		out, err := s.invokeOnce(ctx, function, event)
		if !s.remote || tries == 20 || !unavailable(out, err) {
			return out, err
		}
	}
}

func (s *stack) invokeOnce(ctx context.Context, function string, event []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return s.apps[function].Lambda().Invoke(ctx, event)
}

// unavailable reports what the contract tells clients to ask again: a machine that stands still for longer than a function
// waits for its table or its key brings it about at any moment.
func unavailable(out []byte, err error) bool {
	if err != nil {
		return strings.Contains(err.Error(), access.ErrUnavailable.Error())
	}
	return bytes.Contains(out, []byte(`"statusCode":503`)) && bytes.Contains(out, []byte("UNAVAILABLE")) ||
		bytes.Contains(out, []byte(`"errorMessage":`)) && bytes.Contains(out, []byte(access.ErrUnavailable.Error()))
}

// gateway is a REST API with the stage prod in front of the functions, routed as template.yaml has it: what no resource is
// there for goes to discovery.
func (s *stack) gateway() *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/prod")
		if !ok {
			http.Error(w, `{"message":"Forbidden"}`, http.StatusForbidden)
			return
		}
		function, resource := route(path)
		s.integrate(w, r, function, resource)
	}))
	s.t.Cleanup(server.Close)
	return server
}

// route finds the resource of a path, and the function behind it.
func route(path string) (function, resource string) {
	segments := strings.Split(path, "/")
	for _, f := range boot.Functions() {
		for _, pattern := range f.Routes {
			if slices.EqualFunc(strings.Split(pattern, "/"), segments, func(want, got string) bool {
				return want == got || strings.HasPrefix(want, "{") && got != ""
			}) {
				return f.Name, pattern
			}
		}
	}
	return "discovery", "/{proxy+}"
}

// integrate makes a proxy event of a request, and an HTTP answer of what the function returns.
func (s *stack) integrate(w http.ResponseWriter, r *http.Request, function, resource string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	path := strings.TrimPrefix(r.URL.EscapedPath(), "/prod")
	source, _, _ := net.SplitHostPort(r.RemoteAddr)
	header := r.Header.Clone()
	header["Host"], header["X-Forwarded-Proto"] = []string{r.Host}, []string{"http"}
	event, err := json.Marshal(map[string]any{
		"resource": resource, "path": path, "httpMethod": r.Method, "multiValueHeaders": header,
		"multiValueQueryStringParameters": r.URL.Query(), "body": base64.StdEncoding.EncodeToString(body), "isBase64Encoded": true,
		"requestContext": map[string]any{
			"path": r.URL.EscapedPath(), "stage": "prod", "domainName": r.Host, "identity": map[string]string{"sourceIp": source},
		},
	})
	if err != nil {
		s.t.Error(err)
	}
	out, err := s.invoke(function, event)
	if err != nil {
		s.t.Errorf("%s: %v", function, err)
	}
	var answer struct {
		StatusCode        int
		MultiValueHeaders http.Header
		Body              string
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		s.t.Errorf("%s answered %s", function, out)
	}
	for name, values := range answer.MultiValueHeaders {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, answer.Body)
	}
}
