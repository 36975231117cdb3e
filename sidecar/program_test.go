package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/devcluster"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// built is the real keyturn-sidecar: built when a test first asks for it, removed when all have run.
type built struct {
	once sync.Once
	path string
	err  error
}

var keyturnSidecar built

func (b *built) program(t *testing.T) string {
	t.Helper()
	b.once.Do(func() {
		dir, err := os.MkdirTemp("", "keyturn-test-")
		b.path, b.err = filepath.Join(dir, "keyturn-sidecar"), err
		if err == nil {
			build := exec.Command("go", "build", "-ldflags", "-X main.version=v1.2.3-test", "-o", b.path, ".")
			build.Stderr = os.Stderr
			b.err = build.Run()
		}
	})
	if b.err != nil {
		t.Fatalf("build keyturn-sidecar: %v", b.err)
	}
	return b.path
}

func TestMain(m *testing.M) {
	exit := m.Run()
	if keyturnSidecar.path != "" {
		_ = os.RemoveAll(filepath.Dir(keyturnSidecar.path))
	}
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
	c, err := devcluster.Start(t.Context(), devcluster.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{c, t, &http.Client{Transport: &http.Transport{}, Timeout: 40 * time.Second}}
	t.Cleanup(w.http.CloseIdleConnections)
	return w
}

// call asks the authority as admin.
func (w *world) call(method, path string, body, into any) {
	w.t.Helper()
	client, err := httpapi.NewClient(w.URL(), httpapi.ClientOptions{Transport: w.http.Transport})
	if err != nil {
		w.t.Fatal(err)
	}
	tok, _, err := client.Token(w.t.Context(), httpapi.TokenParams{ClientID: w.ClientID(), ClientSecret: w.Secret().Reveal()})
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := client.Call(w.t.Context(), httpapi.Request{Method: method, Path: path, Bearer: tok.AccessToken, Body: body})
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

// authz asks a sidecar whether to let a client in.
func (w *world) authz(url string, c httpapi.Created) int {
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

// eventually polls until ok, for at most 30 seconds.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			w.t.Fatalf("never: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// result is what a command left.
type result struct {
	exit           int
	stdout, stderr string
}

// types runs the program to its end, with that on standard input and nothing of keyturn's in the environment but env.
func (w *world) types(stdin string, env []string, args ...string) result {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), keyturnSidecar.program(w.t), args...)
	cmd.Stdin, cmd.Env = strings.NewReader(stdin), append([]string{"PATH=" + os.Getenv("PATH")}, env...)
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

// process is a running keyturn-sidecar.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	dir   string
	url   string
	mu    sync.Mutex
	lines []string // of its log
	ended chan struct{}
}

// run starts the program and returns once it listens, and has a copy of the ledgers.
func (w *world) run(dir, stdin string, env []string, more ...string) *process {
	w.t.Helper()
	args := append([]string{"run", "--authority", w.URL(), "--data-dir", dir, "--listen", "127.0.0.1:0"}, more...)
	p := &process{t: w.t, dir: dir, ended: make(chan struct{}), cmd: exec.Command(keyturnSidecar.program(w.t), args...)}
	p.cmd.Stdin, p.cmd.Env = strings.NewReader(stdin), append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	log, err := p.cmd.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.ended })
	listens := make(chan string, 1)
	go p.read(log, listens)
	select {
	case p.url = <-listens:
	case <-p.ended:
		w.t.Fatalf("it does not listen:\n%s", p.log())
	}
	if strings.HasPrefix(p.url, "http://") {
		w.eventually("the sidecar is ready", func() bool {
			a, err := w.http.Get(p.url + "/readyz")
			if err == nil {
				_ = a.Body.Close()
			}
			return err == nil && a.StatusCode == 200
		})
	}
	return p
}

func (p *process) read(log io.Reader, listens chan<- string) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, lines.Text())
		p.mu.Unlock()
		var line struct{ Message, URL string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Message == "listening" {
			listens <- line.URL
		}
	}
	_ = p.cmd.Wait()
	close(p.ended)
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// stop sends a signal and returns the exit status.
func (p *process) stop(s os.Signal) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
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
