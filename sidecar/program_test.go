package main_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/devcluster"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/program"
	"github.com/keyturn/keyturn/internal/testport"
)

// programs are the real ones.
var programs = program.Set{Args: []string{
	"-ldflags", "-s -w -X main.version=v1.2.3-test", "github.com/keyturn/keyturn/cli", "github.com/keyturn/keyturn/sidecar",
}}

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "4") // most of them wait for others
	exit := m.Run()
	programs.Remove()
	os.Exit(exit)
}

// world is an authority, and somebody who runs sidecars.
type world struct {
	*devcluster.Cluster
	t    *testing.T
	http *http.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs the real program")
	}
	c, err := devcluster.Start(t.Context(), devcluster.Options{Dir: t.TempDir(), Listen: testport.Hold(t)}) // where it may come back
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{c, t, &http.Client{Transport: &http.Transport{}, Timeout: 2 * time.Minute}}
	t.Cleanup(w.http.CloseIdleConnections)
	return w
}

// Up hides Cluster.Up: connections to what listened there before may look as if they could be used again.
func (w *world) Up(ctx context.Context) error {
	w.http.CloseIdleConnections()
	return w.Cluster.Up(ctx)
}

// call asks the authority as admin.
func (w *world) call(method, path string, body, into any) {
	w.t.Helper()
	client, err := httpapi.NewClient(w.URL(), httpapi.ClientOptions{Transport: w.http.Transport, Timeout: time.Minute})
	if err != nil {
		w.t.Fatal(err)
	}
	tok, _, err := client.Token(w.t.Context(), httpapi.TokenParams{ClientID: w.ClientID(), ClientSecret: w.Secret().Reveal()})
	if err != nil {
		w.t.Fatal(err)
	}
	once := http.Header{}
	if method == http.MethodPost { // asked again, by a client that has patience, it is done once
		once.Set(httpapi.HeaderIdempotencyKey, rand.Text()+rand.Text())
	}
	a, err := client.Call(w.t.Context(), httpapi.Request{Method: method, Path: path, Bearer: tok.AccessToken, Body: body, Header: once})
	if err == nil && into != nil {
		err = a.Decode(into)
	}
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
}

func (w *world) joinKey() string {
	w.t.Helper()
	var made struct {
		JoinKey string `json:"join_key"`
	}
	w.call(http.MethodPost, "/v1/join-keys", map[string]any{"max_scopes": []string{"admin"}}, &made)
	return made.JoinKey
}

func (w *world) create(scopes ...string) (made httpapi.Created) {
	w.t.Helper()
	w.call(http.MethodPost, "/v1/credentials", httpapi.CreateRequest{Scopes: scopes}, &made)
	return made
}

// authz asks a sidecar whether to let a client in, until it can tell: on a machine that stands still it may have asked its
// authority in vain.
func (w *world) authz(url string, c httpapi.Created) (status int) {
	w.t.Helper()
	w.eventually("an answer that is not 503", func() bool {
		status = w.authzOnce(url, c)
		return status != http.StatusServiceUnavailable
	})
	return status
}

func (w *world) authzOnce(url string, c httpapi.Created) int {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, url+"/authz", http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	r.SetBasicAuth(c.ClientID, c.ClientSecret)
	a, err := w.http.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = a.Body.Close()
	return a.StatusCode
}

// eventually polls until ok, for a time that no machine needs. Many look by starting a program: seldom.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Minute)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			w.t.Fatalf("never: %s", what)
		case <-time.After(150 * time.Millisecond):
		}
	}
}

// result is what a command left.
type result struct {
	exit           int
	stdout, stderr string
}

// command is the program with that on standard input, and nothing of keyturn's in the environment but env.
func (w *world) command(stdin string, env, args []string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.Command(programs.Path(w.t, "sidecar"), args...)
	cmd.Stdin, cmd.Env = strings.NewReader(stdin), append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	return cmd
}

// types runs the program to its end.
func (w *world) types(stdin string, env []string, args ...string) result {
	w.t.Helper()
	cmd := w.command(stdin, env, args)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// does is types without standard input and environment.
func (w *world) does(args ...string) result { w.t.Helper(); return w.types("", nil, args...) }

// run starts the program and returns once it listens, and has a copy of the ledgers.
func (w *world) run(dir, stdin string, env []string, more ...string) *program.Process {
	w.t.Helper()
	args := append([]string{"run", "--authority", w.URL(), "--data-dir", dir, "--listen", "127.0.0.1:0"}, more...)
	p, err := program.Start(w.t.Context(), w.command(stdin, env, args), filepath.Join(w.t.TempDir(), "log"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.Kill)
	if strings.HasPrefix(p.URL, "http://") {
		if err := p.Ready(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
	return p
}

// joins is run for a host that has not joined yet.
func (w *world) joins(dir string, more ...string) *program.Process {
	w.t.Helper()
	return w.run(dir, "", []string{"KEYTURN_JOIN_KEY=" + w.joinKey()}, more...)
}

// status is what `keyturn-sidecar status` prints.
func (w *world) status(dir string) (s httpapi.SidecarStatus) {
	w.t.Helper()
	r := w.does("status", "--data-dir", dir)
	if err := json.Unmarshal([]byte(r.stdout), &s); r.exit != 0 || err != nil {
		w.t.Fatalf("status: exit %d, %v\n%s%s", r.exit, err, r.stdout, r.stderr)
	}
	return s
}
