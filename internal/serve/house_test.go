package serve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/serve"
)

// quiet is a server without a network, so that a bubble's clock moves.
type quiet struct {
	*serve.Server
	t   *testing.T
	log *logged
	end func()
}

// keepHouse opens a server and lets it keep house until the test ends.
func keepHouse(t *testing.T, c serve.Config) *quiet {
	t.Helper()
	q := &quiet{t: t, log: &logged{}}
	c.Log = zerolog.New(q.log)
	letGo(c.DataDir)
	q.Server = must(serve.Open(t.Context(), c))(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		q.KeepHouse(ctx)
	}()
	q.end = func() {
		cancel()
		<-done
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	}
	return q
}

// ask calls the handler and returns the body of a 2xx answer.
func (q *quiet) ask(r *http.Request) []byte {
	q.t.Helper()
	r.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	q.Handler().ServeHTTP(w, r)
	if w.Code > 299 {
		q.t.Fatalf("%s %s: %d %s", r.Method, r.URL.Path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

func (q *quiet) call(method, path, bearer, body string, into any) {
	q.t.Helper()
	r := httptest.NewRequestWithContext(q.t.Context(), method, path, strings.NewReader(body))
	r.Host = "localhost" // without a token, bootstrap is for callers on this host
	r.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	if err := json.Unmarshal(q.ask(r), into); err != nil {
		q.t.Fatal(err)
	}
}

func (q *quiet) token(id, secret string) string {
	q.t.Helper()
	r := httptest.NewRequestWithContext(q.t.Context(), "POST", "/v1/oauth/token", strings.NewReader("grant_type=client_credentials"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(id, secret)
	var answer httpapi.Token
	if err := json.Unmarshal(q.ask(r), &answer); err != nil {
		q.t.Fatal(err)
	}
	return answer.AccessToken
}

func (q *quiet) metric(name string) string {
	q.t.Helper()
	text := q.ask(httptest.NewRequestWithContext(q.t.Context(), "GET", "/metrics", http.NoBody))
	for line := range bytes.Lines(text) {
		if value, ok := strings.CutPrefix(string(line), name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return "missing"
}

// keys are the algorithms of the key set.
func (q *quiet) keys() (algs []string) {
	q.t.Helper()
	var set jwk.Set
	q.call("GET", "/.well-known/jwks.json", "", "", &set)
	for _, k := range set.Keys {
		algs = append(algs, k.Alg())
	}
	return algs
}

func TestHouse_SweepsEveryMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := keepHouse(t, config(t))
		defer q.end()
		var b httpapi.Bootstrapped
		q.call("POST", "/v1/bootstrap", "", "{}", &b)
		var done httpapi.Rotation
		q.call("POST", "/v1/cluster/credentials/rotate", q.token(b.ClientID, b.ClientSecret), `{"window_seconds":90}`, &done)
		const swept = "keyturn_store_swept_total"
		time.Sleep(60 * time.Second)
		synctest.Wait()
		if got := q.metric(swept); got != "0" {
			t.Errorf("%s were swept within the window", got)
		}
		time.Sleep(60 * time.Second)
		synctest.Wait()
		if got := q.metric(swept); got != "1" {
			t.Errorf("%s were swept, want the hash of the superseded secret", got)
		}
	})
}

func TestHouse_TurnsTokenKeysOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := config(t)
		c.SignAtOnce = false
		q := keepHouse(t, c)
		var b httpapi.Bootstrapped
		q.call("POST", "/v1/bootstrap", "", "{}", &b)
		time.Sleep(time.Hour)
		q.end()

		c.TokenAlg = "EdDSA"
		q = keepHouse(t, c)
		defer q.end()
		algorithm := func() string {
			header, _, _ := strings.Cut(q.token(b.ClientID, b.ClientSecret), ".")
			return map[string]string{"eyJhbGciOiJFUzI1NiIs": "ES256", "eyJhbGciOiJFZERTQSIs": "EdDSA"}[header[:20]]
		}
		if got := strings.Join(q.keys(), " "); got != "ES256 EdDSA" {
			t.Errorf("at the start the key set is %s", got)
		}
		if got := algorithm(); got != "ES256" {
			t.Errorf("a key that nobody can have seen yet signs: %s", got)
		}
		time.Sleep(16 * time.Minute)
		if got := algorithm(); got != "EdDSA" {
			t.Errorf("a quarter of an hour later %s signs", got)
		}
		if got := strings.Join(q.keys(), " "); got != "ES256 EdDSA" {
			t.Errorf("while old tokens live the key set is %s", got)
		}
		time.Sleep(62 * time.Minute)
		synctest.Wait()
		if got := strings.Join(q.keys(), " "); got != "EdDSA" {
			t.Errorf("once they are dead the key set is %s", got)
		}
	})
}

func TestHouse_PublishesAKeyOnceTheClockIsRight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := config(t)
		q := keepHouse(t, c)
		var b httpapi.Bootstrapped
		q.call("POST", "/v1/bootstrap", "", "{}", &b)
		q.end()

		c.TokenAlg = "EdDSA"
		c.Now = func() time.Time { return time.Now().Add(-2 * time.Minute) }
		q = keepHouse(t, c)
		defer q.end()
		if got := strings.Join(q.keys(), " "); got != "ES256" || len(q.log.lines(t, "cannot publish a token key")) != 1 {
			t.Errorf("with a wrong clock the key set is %s:\n%s", got, q.log)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if got := strings.Join(q.keys(), " "); got != "ES256 EdDSA" {
			t.Errorf("once it is right the key set is %s", got)
		}
	})
}

func TestHouse_SaysTroubleOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := config(t)
		q := keepHouse(t, c)
		defer q.end()
		synctest.Wait()
		blocked := filepath.Join(c.DataDir, "license.json") // by a directory: root writes over everything else
		if err := os.MkdirAll(filepath.Join(blocked, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		var b httpapi.Bootstrapped
		q.call("POST", "/v1/bootstrap", "", "{}", &b)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n := len(q.log.lines(t, "cannot write down the license")); n != 1 {
			t.Errorf("it was said %d times in five minutes:\n%s", n, q.log)
		}
		if err := os.RemoveAll(blocked); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if text, err := os.ReadFile(blocked); err != nil || !bytes.Contains(text, []byte(b.LicenseID)) {
			t.Errorf("it did not heal: %s, %v", text, err)
		}
	})
}
