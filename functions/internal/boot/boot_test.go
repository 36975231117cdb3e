package boot_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/keyturn/keyturn/functions/internal/boot"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/keys/vault"
)

func TestNew_ReportsEveryMistake(t *testing.T) {
	t.Parallel()
	env := environment{
		"KEYTURN_BOOTSTRAP_TOKEN": "short", "KEYTURN_VENDOR_KEYS": `[{"kty":"oct","k":"c2VjcmV0"}]`, "KEYTURN_LICENSE_ID": "cli_x",
		"KEYTURN_ISSUER": "auth.example.com/", "KEYTURN_TOKEN_ALG": "HS256", "KEYTURN_TOKEN_ISS": "me", "KEYTURN_LOG_LEVEL": "loud",
		"AWS_SECRET_ACCESS_KEY": "of the role",
	}
	_, err := boot.New(boot.Cluster(), boot.Options{Env: env.get, Out: io.Discard, Now: time.Now})
	if err == nil {
		t.Fatal("it starts")
	}
	for _, name := range []string{
		"KEYTURN_TABLE", "KEYTURN_KEY", "KEYTURN_BOOTSTRAP_TOKEN", "KEYTURN_VENDOR_KEYS", "KEYTURN_LICENSE_ID", "KEYTURN_ISSUER",
		"KEYTURN_TOKEN_ALG", "KEYTURN_TOKEN_ISS", "KEYTURN_LOG_LEVEL", "AWS_REGION", "AWS_ACCESS_KEY_ID",
	} {
		if strings.Count(err.Error(), "\n"+name+": ") != 1 {
			t.Errorf("%s is not reported once:\n%v", name, err)
		}
	}
	for _, value := range []string{"short", "c2VjcmV0", "of the role"} {
		if strings.Contains(err.Error(), value) {
			t.Errorf("the error repeats %q", value)
		}
	}
}

func TestNew_Settings(t *testing.T) {
	t.Parallel()
	open := func(f boot.Function, change environment) error {
		env := newEnvironment()
		maps.Copy(env, change)
		_, err := boot.New(f, boot.Options{Env: env.get, Out: io.Discard, Now: time.Now})
		return err
	}
	for _, f := range boot.Functions() {
		if err := open(f, nil); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		err := open(f, environment{"KEYTURN_BOOTSTRAP_TOKEN": ""})
		if f.Boots != (err != nil) {
			t.Errorf("%s without a bootstrap token: %v", f.Name, err)
		}
	}
	digest := strings.Repeat("0a", 32)
	for token, ok := range map[string]bool{
		"sha256:" + digest: true, "sha256:" + digest[1:]: false, "sha256:" + strings.ToUpper(digest): false, "sha256:" + digest + "00": false,
	} {
		if err := open(boot.Cluster(), environment{"KEYTURN_BOOTSTRAP_TOKEN": token}); (err == nil) != ok {
			t.Errorf("bootstrap token %s: %v", token, err)
		}
	}
	key := `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	for _, c := range []struct {
		change environment
		ok     bool
	}{
		{environment{"KEYTURN_VENDOR_KEYS": "[]"}, true},
		{environment{"KEYTURN_VENDOR_KEYS": "[" + key + "]"}, true},
		{environment{"KEYTURN_VENDOR_KEYS": key}, false},
		{environment{"KEYTURN_VENDOR_KEYS": "[null]"}, false},
		{environment{"KEYTURN_ISSUER": "https://auth.example.com/prod"}, true},
		{environment{"KEYTURN_TOKEN_ALG": "EdDSA", "KEYTURN_TOKEN_ISS": "peer_id", "KEYTURN_LOG_LEVEL": "error"}, true},
		{environment{"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, true},
	} {
		if err := open(boot.Token(), c.change); (err == nil) != c.ok {
			t.Errorf("%v: %v", c.change, err)
		}
	}
}

// call sends a request through the gateway and returns the answer.
func (s *stack) call(method, path, media, body string, header ...string) (int, http.Header, string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.gateway().URL+"/prod"+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return a.StatusCode, a.Header, string(text)
}

func (s *stack) bootstrap() (done httpapi.Bootstrapped) {
	s.t.Helper()
	status, _, body := s.call("POST", "/v1/bootstrap", "application/json", "{}", "Keyturn-Bootstrap-Token", bootstrapToken, "Idempotency-Key", "the-bootstrap-of-the-tests-0123456789abcdef")
	if err := json.Unmarshal([]byte(body), &done); status != 201 || err != nil {
		s.t.Fatalf("bootstrap: %d %s", status, body)
	}
	return done
}

func (s *stack) token(id, secret string) (int, string) {
	s.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
	status, _, body := s.call("POST", "/v1/oauth/token", "application/x-www-form-urlencoded", form.Encode())
	var t httpapi.Token
	if err := json.Unmarshal([]byte(body), &t); err != nil {
		s.t.Fatalf("%s: %v", body, err)
	}
	return status, t.AccessToken
}

// line is one line of the log.
type line struct {
	Function, Level, Route, Code, Method, Source, Error, Secret, SecretVersion string
	RequestID                                                                  string `json:"request_id"`
	LambdaRequestID                                                            string `json:"lambda_request_id"`
	TraceID                                                                    string `json:"trace_id"`
	ClientID                                                                   string `json:"client_id"`
	Status, Requests, Accepted, Rotations, Revocations                         int
	StoreLatency                                                               []float64
	AWS                                                                        struct {
		Timestamp         int64
		CloudWatchMetrics []struct {
			Namespace  string
			Dimensions [][]string
			Metrics    []struct{ Name, Unit string }
		}
	} `json:"_aws"`
}

// lines are what was logged of requests; each of them is one JSON object on a line of its own.
func (s *stack) lines() (list []line) {
	s.t.Helper()
	for text := range strings.Lines(s.logs.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			s.t.Fatalf("%s: %v", text, err)
		}
		if l.Route != "" {
			list = append(list, l)
		}
	}
	return list
}

func TestLog_OneLineARequestAndNoSecret(t *testing.T) {
	t.Parallel()
	s := newStack(t, openBolt(t))
	first := s.bootstrap()
	_, token := s.token(first.ClientID, first.ClientSecret)
	bearer := []string{"Authorization", "Bearer " + token}
	_, _, rotated := s.call("POST", "/v1/cluster/credentials/rotate", "application/json", `{"window_seconds":60}`, bearer...)
	var second httpapi.Rotation
	if err := json.Unmarshal([]byte(rotated), &second); err != nil {
		t.Fatalf("%s: %v", rotated, err)
	}
	s.token(first.ClientID, first.ClientSecret)
	_, latest := s.token(second.ClientID, second.ClientSecret)
	_, _, made := s.call("POST", "/v1/credentials", "application/json", `{"scopes":["billing.read"]}`, "Authorization", "Bearer "+latest)
	var c httpapi.Created
	if err := json.Unmarshal([]byte(made), &c); err != nil {
		t.Fatalf("%s: %v", made, err)
	}
	s.token(c.ClientID, c.ClientSecret)
	s.call("DELETE", "/v1/credentials/"+c.ClientID+"?reason=private", "", "", "Authorization", "Bearer "+latest)
	s.call("GET", "/v1/nothing?secret="+c.ClientSecret, "", "")
	s.token(first.ClientID, "sec_"+strings.Repeat("x", 49))

	list := s.lines()
	if len(list) != 10 {
		t.Fatalf("%d lines for 10 requests:\n%s", len(list), s.logs)
	}
	for _, secret := range []string{
		first.ClientSecret, second.ClientSecret, c.ClientSecret, token, latest, bootstrapToken, "private", strings.Repeat("x", 49),
	} {
		if strings.Contains(s.logs.String(), secret) {
			t.Errorf("%.12s… stands in the log", secret)
		}
	}
	for i, want := range []struct {
		function, route, code, secret, version string
		rotations, revocations                 int
	}{
		{"cluster", "/v1/bootstrap", "OK", "", "", 0, 0},
		{"token", "/v1/oauth/token", "OK", "current", "1", 0, 0},
		{"rotate", "/v1/cluster/credentials/rotate", "OK", "", "", 1, 0},
		{"token", "/v1/oauth/token", "OK", "superseded", "1", 0, 0},
		{"token", "/v1/oauth/token", "OK", "current", "2", 0, 0},
		{"credentials", "/v1/credentials", "OK", "", "", 0, 0},
		{"token", "/v1/oauth/token", "OK", "current", "", 0, 0},
		{"credentials", "/v1/credentials/{client_id}", "OK", "", "", 0, 1},
		{"discovery", "other", "NOT_FOUND", "", "", 0, 0},
		{"token", "/v1/oauth/token", "UNAUTHORIZED", "", "", 0, 0},
	} {
		l := list[i]
		if l.Function != want.function || l.Route != want.route || l.Code != want.code || l.Secret != want.secret ||
			l.SecretVersion != want.version || l.Rotations != want.rotations || l.Revocations != want.revocations {
			t.Errorf("line %d: %+v, want %+v", i, l, want)
		}
		if l.LambdaRequestID != "11111111-2222-4333-8444-555555555555" || l.RequestID != l.LambdaRequestID || l.Source != "127.0.0.1" || l.Level != "info" {
			t.Errorf("line %d: %+v", i, l)
		}
		s.checkMetrics(l)
	}
}

// checkMetrics holds a line to the embedded metric format: every metric and dimension that it names is a member of the line.
func (s *stack) checkMetrics(l line) {
	s.t.Helper()
	var members map[string]any
	text, err := json.Marshal(l)
	if err == nil {
		err = json.Unmarshal(text, &members)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	folded := map[string]any{}
	for name, value := range members {
		folded[strings.ToLower(name)] = value
	}
	if l.AWS.Timestamp < start.UnixMilli() || len(l.AWS.CloudWatchMetrics) == 0 || l.Requests != 1 {
		s.t.Errorf("no metrics: %s", text)
	}
	for _, d := range l.AWS.CloudWatchMetrics {
		for _, m := range d.Metrics {
			if v := folded[strings.ToLower(m.Name)]; d.Namespace != "keyturn" || m.Unit == "" || v == nil || v == float64(0) {
				s.t.Errorf("metric %+v is %v: %s", m, v, text)
			}
		}
		for _, set := range d.Dimensions {
			for _, name := range set {
				if v, ok := folded[strings.ToLower(name)].(string); !ok || v == "" {
					s.t.Errorf("dimension %s is %q: %s", name, v, text)
				}
			}
		}
	}
}

func TestLog_LevelLeavesTheMetrics(t *testing.T) {
	t.Parallel()
	s := &stack{t: t, env: newEnvironment(), store: openBolt(t), vault: new(vault.Memory), clock: &clock{}, logs: &logs{}}
	s.env["KEYTURN_LOG_LEVEL"] = "error"
	s.restart()
	s.bootstrap()
	l := s.lines()
	if len(l) != 1 || l[0].RequestID != "" || l[0].Source != "" {
		t.Fatalf("%+v", l)
	}
	s.checkMetrics(l[0])
}

// failing is a store that fails as long as it is told to.
type failing struct {
	authority.Store
	broken atomic.Bool
}

var errCut = errors.New("the table is cut off")

func (f *failing) Page(ctx context.Context, list, after string, limit int) ([]string, error) {
	if f.broken.Load() {
		return nil, errCut
	}
	return f.Store.Page(ctx, list, after, limit)
}

func (f *failing) Subject(ctx context.Context, subject string) ([]authority.Entry, error) {
	if f.broken.Load() {
		return nil, errCut
	}
	return f.Store.Subject(ctx, subject)
}

// A function that cannot reach its store answers 503, and goes on by itself when it can.
func TestFunction_StoreAppearsLater(t *testing.T) {
	t.Parallel()
	store := &failing{Store: openBolt(t)}
	s := newStack(t, store)
	done := s.bootstrap()
	store.broken.Store(true)
	s.restart()
	if !strings.Contains(s.logs.String(), "not ready yet") {
		t.Error("the start says nothing")
	}
	if status, _, body := s.call("GET", "/livez", "", ""); status != 200 || body != `{"status":"ok"}` {
		t.Errorf("livez: %d %s", status, body)
	}
	status, header, body := s.call("GET", "/v1/cluster/identity", "", "", "X-Request-Id", "r-1")
	if status != 503 || header.Get("Retry-After") == "" || header.Get("Cache-Control") != "no-store" || header.Get("Keyturn-Request-Id") != "r-1" ||
		body != `{"error":"not available at the moment: try again","code":"UNAVAILABLE","request_id":"r-1"}` {
		t.Errorf("= %d %v %s", status, header, body)
	}
	if l := s.lines(); !strings.Contains(l[len(l)-1].Error, errCut.Error()) || l[len(l)-1].Level != "error" {
		t.Errorf("the cause is not logged: %+v", l[len(l)-1])
	}
	if status, _, body := s.call("POST", "/v1/oauth/token", "application/x-www-form-urlencoded", "grant_type=client_credentials"); status != 503 || !strings.Contains(body, "temporarily_unavailable") {
		t.Errorf("token: %d %s", status, body)
	}
	if status, _, body := s.call("GET", "/readyz", "", ""); status != 503 || !strings.Contains(body, `"checks"`) {
		t.Errorf("readyz: %d %s", status, body)
	}
	store.broken.Store(false)
	if status, _ := s.token(done.ClientID, done.ClientSecret); status != 200 {
		t.Errorf("afterwards: %d", status)
	}
}

// Another function's write is seen: at the latest a minute later what concerns the cluster, at once what concerns a secret.
func TestFunction_SeesWhatOthersWrite(t *testing.T) {
	t.Parallel()
	s := newStack(t, openBolt(t)) // every function has started before there was a cluster
	done := s.bootstrap()
	_, token := s.token(done.ClientID, done.ClientSecret)
	set := func() int {
		_, _, body := s.call("GET", "/.well-known/jwks.json", "", "")
		var keys struct{ Keys []any }
		if err := json.Unmarshal([]byte(body), &keys); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		return len(keys.Keys)
	}
	if set() != 1 {
		t.Fatal("no key set")
	}
	status, _, body := s.call("POST", "/v1/keys/rotate", "application/json", "", "Authorization", "Bearer "+token)
	var made httpapi.TokenKey
	if err := json.Unmarshal([]byte(body), &made); status != 201 || err != nil {
		t.Fatalf("%d %s", status, body)
	}
	s.clock.advance(59 * time.Second)
	if n := set(); n != 1 {
		t.Errorf("%d keys within the minute", n)
	}
	s.clock.advance(time.Second)
	if n := set(); n != 2 {
		t.Errorf("%d keys after a minute", n)
	}
	s.clock.advance(14 * time.Minute)
	_, next := s.token(done.ClientID, done.ClientSecret)
	head, _, _ := strings.Cut(next, ".")
	header, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil || !strings.Contains(string(header), made.Key.ID()) {
		t.Errorf("signed with another key after 15 minutes: %s, %v", header, err)
	}
	s.clock.advance(2 * time.Hour)
	if out, err := s.invoke("cluster", []byte(`{"version":"0","detail-type":"Scheduled Event","source":"aws.events"}`)); err != nil || string(out) != "{}" {
		t.Fatalf("the schedule: %s, %v", out, err)
	}
	s.clock.advance(time.Minute)
	if n := set(); n != 1 {
		t.Errorf("%d keys once the last token of the old one is dead", n)
	}
}

func TestRecover(t *testing.T) {
	t.Parallel()
	s := newStack(t, openBolt(t))
	if out, err := s.invoke("recover", []byte(`{"action":"recover"}`)); err == nil {
		t.Errorf("a recovery before there is a cluster: %s", out)
	}
	out, err := s.invoke("recover", []byte(`{"action":"bootstrap","issuer":"https://auth.example.com"}`))
	var done httpapi.Bootstrapped
	if err == nil {
		err = json.Unmarshal(out, &done)
	}
	if err != nil || done.Version != 1 || fmt.Sprint(done.Scopes) != "[admin]" {
		t.Fatalf("bootstrap: %s, %v", out, err)
	}
	if status, _ := s.token(done.ClientID, done.ClientSecret); status != 200 {
		t.Errorf("its secret: %d", status)
	}
	if _, _, body := s.call("GET", "/.well-known/openid-configuration", "", ""); !strings.Contains(body, `"issuer":"https://auth.example.com"`) {
		t.Errorf("the issuer is another one: %s", body)
	}
	if out, err := s.invoke("recover", []byte(`{"action":"bootstrap","issuer":"https://other.example.com"}`)); !errors.Is(err, authority.ErrAlreadyBootstrapped) {
		t.Errorf("a second bootstrap: %s, %v", out, err)
	}
	out, err = s.invoke("recover", []byte(`{"action":"recover","reason":"all are lost"}`))
	var next httpapi.Rotation
	if err == nil {
		err = json.Unmarshal(out, &next)
	}
	if err != nil || next.Version != 2 || len(next.Previous) != 1 {
		t.Fatalf("recover: %s, %v", out, err)
	}
	status, token := s.token(next.ClientID, next.ClientSecret)
	_, _, trail := s.call("GET", "/v1/audit", "", "", "Authorization", "Bearer "+token)
	if status != 200 || !strings.Contains(trail, `"action":"cluster.recover"`) || !strings.Contains(trail, "all are lost") {
		t.Errorf("%d, %s", status, trail)
	}
	for _, event := range []string{`{}`, `{"action":"destroy"}`, `{"action":"recover","more":1}`, `[]`, `"recover"`, `{"httpMethod":"POST","path":"/v1/bootstrap"}`} {
		if out, err := s.invoke("recover", []byte(event)); err == nil {
			t.Errorf("%s: %s", event, out)
		}
	}
	for _, secret := range []string{done.ClientSecret, next.ClientSecret} {
		if strings.Contains(s.logs.String(), secret) {
			t.Error("a secret stands in the log")
		}
	}
}

// slow is a store that answers when its caller gives up, and not before.
type slow struct {
	authority.Store
	on atomic.Bool
}

func (s *slow) Subject(ctx context.Context, subject string) ([]authority.Entry, error) {
	if s.on.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.Store.Subject(ctx, subject)
}

// told is a context that says when the function is cut off. Here nobody does it then: whether the answer is in time is a question for
// a clock that only moves when nothing else does, and internal/lambdahttp's tests ask it.
type told struct {
	context.Context
	end time.Time
}

func (c told) Deadline() (time.Time, bool) { return c.end, true }

// Shortly before a function is cut off, its client gets a clean 503.
func TestFunction_TimeIsUp(t *testing.T) {
	t.Parallel()
	store := &slow{Store: openBolt(t)}
	s := newStack(t, store)
	done := s.bootstrap()
	s.token(done.ClientID, done.ClientSecret)
	store.on.Store(true)
	ends, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ctx := lambdacontext.NewContext(told{ends, time.Now().Add(2 * time.Second)}, &lambdacontext.LambdaContext{AwsRequestID: "r-2"})
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {done.ClientID}, "client_secret": {done.ClientSecret}}
	event, err := json.Marshal(map[string]any{
		"httpMethod": "POST", "path": "/v1/oauth/token", "body": form.Encode(),
		"headers": map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.apps["token"].Lambda().Invoke(ctx, event)
	if err != nil || ends.Err() != nil {
		t.Fatalf("%v, %v", err, ends.Err())
	}
	for _, want := range []string{`"statusCode":503`, `temporarily_unavailable`, `UNAVAILABLE`, `r-2`, `Retry-After`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%s lacks %s", out, want)
		}
	}
}

// One role alone could not sign tokens and write records: the functions work with what template.yaml gives to each of them.
func TestFunctions_OpenOnlyTheirKeys(t *testing.T) {
	t.Parallel()
	s := newStack(t, openBolt(t))
	done := s.bootstrap()
	_, token := s.token(done.ClientID, done.ClientSecret)
	event, err := json.Marshal(map[string]any{
		"httpMethod": "POST", "path": "/v1/cluster/credentials/rotate", "headers": map[string]string{"Authorization": "Bearer " + token},
	})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := s.invoke("token", event); err != nil || !strings.Contains(string(out), `"statusCode":404`) {
		t.Errorf("the token function has the route: %s, %v", out, err)
	}
	if out, err := s.invoke("rotate", event); err != nil || !strings.Contains(string(out), `"statusCode":200`) {
		t.Errorf("rotate: %s, %v", out, err)
	}
}
