package main_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/serve"
)

// newFounder is somebody with an authority that is not bootstrapped and a config that is not there.
func newFounder(t *testing.T) *user {
	t.Helper()
	u := &user{t: t, clock: &clock{}}
	server, err := serve.Open(t.Context(), serve.Config{DataDir: t.TempDir() + "/data", Listen: "127.0.0.1:0", Now: u.clock.now})
	if err == nil {
		err = server.Listen(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	u.env = map[string]string{"KEYTURN_CONFIG": t.TempDir() + "/new/config.json", "KEYTURN_SERVER": server.URL()}
	return u
}

func TestBootstrap_SurvivesAStopAtEveryStep(t *testing.T) {
	t.Parallel()
	var steps []string
	for n := 0; ; n++ {
		u := newFounder(t)
		step := u.stopAt(n, "bootstrap", "--update-config")
		if step == "" {
			break
		}
		steps = append(steps, step)
		if step != "forgotten" {
			u.must("bootstrap", "--update-config")
		}
		delete(u.env, "KEYTURN_SERVER") // the context knows it
		if now := u.version(); now != 1 || len(u.pending())+len(u.litter()) > 0 {
			t.Errorf("stopped at %s: version %d, left over: %v %v", step, now, u.pending(), u.litter())
		}
	}
	want := []string{"prepared", "authenticated", "written", "answered", "saved", "proven", "delivered", "forgotten"}
	if d := cmp.Diff(want, steps); d != "" {
		t.Error(d)
	}
}

func TestBootstrap_WithoutAConfigTheSecretIsGivenAgain(t *testing.T) {
	t.Parallel()
	u := newFounder(t)
	u.stopAt(3, "bootstrap")
	if r := u.must("bootstrap"); !strings.Contains(r.stdout, "client_secret  sec_") {
		t.Error(r.stdout)
	}
	if r := u.does("bootstrap"); r.exit != 3 || len(u.pending()) > 0 {
		t.Errorf("exit %d, %v: %s", r.exit, u.pending(), r.stderr)
	}
}

// answers is a server that answers writes from a list, and remembers what it was sent. The last answer goes on for ever.
type answers struct {
	*httptest.Server
	mu    sync.Mutex
	list  []string // "409 CONFLICT", "200"
	sent  []string // key, token and body of each write
	token string   // what the token endpoint gives
}

func newAnswers(t *testing.T, list ...string) *answers {
	a := &answers{list: list, token: "t1"}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.URL.Path == "/v1/oauth/token" {
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"expires_in":60}`, a.token)
		return
	}
	body, _ := io.ReadAll(r.Body)
	a.sent = append(a.sent, r.Header.Get(httpapi.HeaderIdempotencyKey)+" "+r.Header.Get("Authorization")+" "+string(body))
	next := a.list[0]
	if len(a.list) > 1 {
		a.list = a.list[1:]
	}
	if next == "200" {
		_, _ = io.WriteString(w, `{"client_id":"cli_00000000000000000000000000-2","client_secret":"sec_x","version":2,"previous":[]}`)
		return
	}
	var status int
	var code string
	_, _ = fmt.Sscan(next, &status, &code)
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"error":"x","code":%q}`, code)
}

func (a *answers) user(t *testing.T) *user {
	return &user{t: t, clock: &clock{}, env: fakeEnv(t, a.URL)}
}

// TestOwed_WhatAnAnswerProves: which answers end a request, and which leave it written down.
func TestOwed_WhatAnAnswerProves(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before bool // an earlier run was cut off after it had written the request down
		list   []string
		exit   int
		owed   bool
		sent   int
	}{
		"Done":                   {false, []string{"200"}, 0, false, 1},
		"Refused":                {false, []string{"403 FORBIDDEN"}, 3, false, 1},
		"Conflict":               {false, []string{"409 CONFLICT"}, 3, false, 1},
		"TooMany":                {false, []string{"429 RATE_LIMITED"}, 3, false, 1},
		"NotFound":               {false, []string{"404 NOT_FOUND"}, 4, false, 1},
		"InternalMayHaveDoneIt":  {false, []string{"500 INTERNAL"}, 1, true, 1},
		"GatewayMayHaveDoneIt":   {false, []string{"502"}, 5, true, 1},
		"UnavailableThenDone":    {false, []string{"503 UNAVAILABLE", "200"}, 0, false, 2},
		"UnavailableThenRefused": {false, []string{"503 UNAVAILABLE", "422 IDEMPOTENCY_MISMATCH"}, 3, false, 2},
		"UnavailableThenLimited": {false, []string{"503 UNAVAILABLE", "429 RATE_LIMITED"}, 3, true, 2},
		"UnavailableThenRaced":   {false, []string{"503 UNAVAILABLE", "409 CONFLICT"}, 3, true, 2},
		"Replayed":               {true, []string{"200"}, 0, false, 1},
		"CollidesThenReplayed":   {true, []string{"409 CONFLICT", "409 CONFLICT", "200"}, 0, false, 3},
		"LimitedWhenReplayed":    {true, []string{"429 RATE_LIMITED"}, 3, true, 1},
		"RefusedWhenReplayed":    {true, []string{"403 FORBIDDEN"}, 3, false, 1},
		"NeverArrivedThenDone":   {true, []string{"401 UNAUTHORIZED", "200"}, 0, false, 2},
		"NeverArrivedAndRefused": {true, []string{"401 UNAUTHORIZED", "403 FORBIDDEN"}, 3, false, 2},
		"NeverArrivedNorAllowed": {true, []string{"401 UNAUTHORIZED"}, 3, true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newAnswers(t, c.list...)
			u := server.user(t)
			args := []string{"credentials", "rotate", "--window", "1h", "--timeout", "2s"}
			if c.before {
				if step := u.stopAt(2, args...); step != "written" {
					t.Fatal(step)
				}
				server.token = "t2"
			}
			r := u.does(args...)
			if r.exit != c.exit || len(u.pending()) > 0 != c.owed || len(server.sent) != c.sent {
				t.Errorf("exit %d, pending %v after %d requests: %s", r.exit, u.pending(), len(server.sent), r.stderr)
			}
			if c.owed != strings.Contains(r.stderr, "run the same command again") {
				t.Error(r.stderr)
			}
			keys := map[string]bool{}
			for _, s := range server.sent {
				keys[strings.Fields(s)[0]] = true
			}
			if len(keys) != 1 {
				t.Errorf("%d keys for one request", len(keys))
			}
			if c.before && !strings.Contains(server.sent[0], "Bearer t1 ") {
				t.Errorf("the first proof is not the first token: %s", server.sent[0])
			}
			if len(server.sent) == 2 && c.before && !strings.Contains(server.sent[1], "Bearer t2 ") {
				t.Errorf("the second proof is not a fresh token: %s", server.sent[1])
			}
		})
	}
}

func TestOwed_TheRequestIsWrittenDownAsItIsSent(t *testing.T) {
	t.Parallel()
	server := newAnswers(t, "200")
	u := server.user(t)
	u.stopAt(2, "credentials", "rotate", "--reason", "it's time")
	dir := strings.TrimSuffix(u.env["KEYTURN_CONFIG"], "config.json") + "pending"
	left := slices.DeleteFunc(u.pending(), func(name string) bool { return strings.HasPrefix(name, ".") })
	if len(left) != 1 {
		t.Fatal(left)
	}
	text, err := os.ReadFile(dir + "/" + left[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"token":"t1"`, `"command":"keyturn credentials rotate --reason 'it'\\''s time'"`, `"path":"/v1/cluster/credentials/rotate"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(string(text), "sec_") {
		t.Error("the secret is in it")
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Error(info.Mode(), err)
	}
}

func TestOwed_NoPlaceToWriteSendsNothing(t *testing.T) {
	t.Parallel()
	server := newAnswers(t, "200")
	u := server.user(t)
	blocked := t.TempDir() + "/file"
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	u.env["KEYTURN_CONFIG"] = blocked + "/config.json"
	if r := u.does("credentials", "rotate"); r.exit == 0 || len(server.sent) > 0 {
		t.Errorf("exit %d after %d requests: %s", r.exit, len(server.sent), r.stderr)
	}
	delete(u.env, "KEYTURN_CONFIG")
	if r := u.does("credentials", "rotate"); r.exit != 2 || len(server.sent) > 0 || !strings.Contains(r.stderr, "--config") {
		t.Errorf("exit %d after %d requests: %s", r.exit, len(server.sent), r.stderr)
	}
}

func TestOwed_LimitsAreKept(t *testing.T) {
	t.Parallel()
	server := newAnswers(t, "503 UNAVAILABLE")
	u := server.user(t)
	took := time.Hour
	for range 4 { // a machine that stands still takes longer, but not every time
		start := time.Now()
		if r := u.does("credentials", "rotate", "--timeout", "1s"); r.exit != 5 {
			t.Fatalf("exit %d", r.exit)
		}
		if took = min(took, time.Since(start)); took < 9*time.Second {
			return
		}
	}
	t.Errorf("%s at least", took)
}
