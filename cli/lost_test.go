package main_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// wire is what is between a user and the cluster. It breaks.
type wire struct {
	*httptest.Server
	lose   atomic.Int32 // so many answers to writes are lost after the authority has done its work
	refuse atomic.Int32 // so many writes are lost before they reach it
	hold   chan struct{}
	writes atomic.Int32
}

// behindWire puts a wire between u and its cluster.
func behindWire(t *testing.T, u *user) *wire {
	t.Helper()
	to, err := url.Parse(u.cluster.URL())
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{}
	proxy := httputil.NewSingleHostReverseProxy(to)
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get(httpapi.HeaderIdempotencyKey) == "" {
			proxy.ServeHTTP(rw, r)
			return
		}
		w.writes.Add(1)
		if w.refuse.Add(-1) >= 0 {
			panic(http.ErrAbortHandler)
		}
		answer := httptest.NewRecorder()
		proxy.ServeHTTP(answer, r)
		if w.hold != nil {
			<-w.hold
		}
		if w.lose.Add(-1) >= 0 {
			panic(http.ErrAbortHandler)
		}
		for name, values := range answer.Header() {
			rw.Header()[name] = values
		}
		rw.WriteHeader(answer.Code)
		_, _ = io.Copy(rw, answer.Body)
	}))
	t.Cleanup(w.Close)
	u.env["KEYTURN_SERVER"] = w.URL
	return w
}

func TestRotate_SurvivesLostAnswers(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	w := behindWire(t, u)
	before := u.version()
	for name, args := range rotations() {
		w.lose.Store(2) // the client asks again by itself
		u.must(args...)
		before = u.healed(before, name+", after two lost answers")

		w.lose.Store(1000)
		r := u.does(append(args, "--timeout", "1s")...)
		if r.exit != 5 || !strings.Contains(r.stderr, "run the same command again") || len(u.pending()) != 1 {
			t.Errorf("%s: exit %d, %v: %s", name, r.exit, u.pending(), r.stderr)
		}
		w.lose.Store(0)
		u.must(args...)
		before = u.healed(before, name+", after no answer at all")

		w.refuse.Store(1000)
		if r := u.does(append(args, "--timeout", "1s")...); r.exit != 5 {
			t.Errorf("%s: exit %d: %s", name, r.exit, r.stderr)
		}
		w.refuse.Store(0)
		u.must(args...)
		before = u.healed(before, name+", after it never arrived")
	}
}

func TestRotate_ProofThatCannotBeHadKeepsTheAnswer(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	args := rotations()["Window0"]
	u.step = func(name string) {
		if name == "saved" {
			u.cluster.Close() //nolint:errcheck // it is gone either way
		}
	}
	r := u.does(append(args, "--timeout", "1s")...)
	u.step = nil
	if r.exit != 5 || !strings.Contains(r.stderr, "nothing is lost for 24 hours") || len(u.pending()) != 1 {
		t.Errorf("exit %d, %v: %s", r.exit, u.pending(), r.stderr)
	}
}

func TestRotate_DefiniteRefusalForgetsTheRequest(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	u.must("credentials", "create", "--name", "x", "--expires-in", "1h")
	var made httpapi.Created
	if err := json.Unmarshal([]byte(u.must("credentials", "create", "--json", "--name", "y", "--expires-in", "1h").stdout), &made); err != nil {
		t.Fatal(err)
	}
	u.must("credentials", "revoke", made.ID)
	if r := u.does("credentials", "rotate", made.ID); r.exit != 3 || len(u.pending()) != 0 {
		t.Errorf("exit %d, %v: %s", r.exit, u.pending(), r.stderr)
	}
}

func TestCreate_TheSecretIsGivenAgain(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	args := []string{"credentials", "create", "--name", "job", "--json"}
	for n := range 5 {
		step := u.stopAt(n, args...)
		r := u.must(args...)
		var made httpapi.Created
		if err := json.Unmarshal([]byte(r.stdout), &made); err != nil || made.ClientSecret == "" {
			t.Errorf("%s: %v %s", step, err, r.stdout)
		}
		if jobs := strings.Count(u.must("credentials", "list").stdout, " job "); step != "delivered" && jobs != n+1 {
			t.Errorf("stopped at %s: %d credentials after %d commands", step, jobs, n+1)
		}
		if left := u.pending(); len(left) > 0 {
			t.Errorf("%s: %v", step, left)
		}
	}
}

func TestCreate_AnOutputThatFailsKeepsTheAnswer(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	a := app(func(name string) string { return u.env[name] }, strings.NewReader(""), full{}, io.Discard)
	if exit := a.Run([]string{"credentials", "create", "--name", "job"}); exit != 1 || len(u.pending()) != 1 {
		t.Fatalf("exit %d, %v", exit, u.pending())
	}
	if r := u.must("credentials", "create", "--name", "job"); !strings.Contains(r.stdout, "sec_") {
		t.Error(r.stdout)
	}
	if n := strings.Count(u.must("credentials", "list").stdout, " job "); n != 1 {
		t.Errorf("%d credentials", n)
	}
}

// full is a disk without space.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestRotate_TwoAtOnceTakeTurns(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	before := u.version()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			one := *u
			if r := one.does("credentials", "rotate", "--update-config", "--window", "0"); r.exit != 0 {
				t.Errorf("exit %d: %s", r.exit, r.stderr)
			}
		})
	}
	wg.Wait()
	if now := u.version(); now != before+4 {
		t.Errorf("version %d became %d", before, now)
	}
}

func TestRotate_WaitsForAnotherOnlySoLong(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	w := behindWire(t, u)
	w.hold = make(chan struct{})
	done := make(chan int)
	go func() {
		one := *u
		done <- one.does("credentials", "rotate", "--update-config").exit
	}()
	for deadline := time.Now().Add(time.Minute); w.writes.Load() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("no request came")
		}
		time.Sleep(time.Millisecond) // poll
	}
	r := u.does("credentials", "rotate", "--update-config", "--timeout", "1s")
	if r.exit != 1 || !strings.Contains(r.stderr, "waiting for another keyturn") {
		t.Errorf("exit %d: %s", r.exit, r.stderr)
	}
	close(w.hold)
	if exit := <-done; exit != 0 {
		t.Errorf("the first one: exit %d", exit)
	}
}

func TestRotate_AConfigThatCannotBeWrittenIsFoundBefore(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Log("root may write anywhere: a folder in the lock's place stands in for what cannot be replaced")
	}
	u := newUser(t)
	before := u.version()
	config := u.env["KEYTURN_CONFIG"]
	blocked := filepath.Join(filepath.Dir(config), ".config.json.lock")
	if err := os.MkdirAll(filepath.Join(blocked, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := u.does("credentials", "rotate", "--update-config", "--window", "0")
	if r.exit != 1 || !strings.Contains(r.stderr, "cannot be written") || len(u.pending()) != 0 {
		t.Errorf("exit %d, %v: %s", r.exit, u.pending(), r.stderr)
	}
	if now := u.version(); now != before {
		t.Errorf("version %d became %d all the same", before, now)
	}
}

func TestRotate_TheProofWaitsForWhoHasNotHeardYet(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	to, err := url.Parse(u.cluster.URL())
	if err != nil {
		t.Fatal(err)
	}
	var deaf atomic.Int32 // so many tokens are refused after the rotation
	proxy := httputil.NewSingleHostReverseProxy(to)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/oauth/token" && deaf.Add(-1) >= 0 {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"invalid_client","code":"UNAUTHORIZED"}`)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	u.env["KEYTURN_SERVER"] = server.URL
	before := u.version()
	u.step = func(name string) {
		if name == "saved" {
			deaf.Store(3)
		}
	}
	u.must(rotations()["Window0"]...)
	u.step = nil
	u.healed(before, "refused for a moment")
}
