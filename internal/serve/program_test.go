package serve_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// program is the real keyturn: built when a test first asks for it, removed when all have run.
type program struct {
	once sync.Once
	path string
	err  error
}

var keyturn program

func (p *program) build(t *testing.T) string {
	t.Helper()
	p.once.Do(func() {
		dir, err := os.MkdirTemp("", "keyturn-test-")
		p.path, p.err = filepath.Join(dir, "keyturn"), err
		if err == nil {
			build := exec.Command("go", "build", "-o", p.path, "github.com/keyturn/keyturn/cli")
			build.Stderr = os.Stderr
			p.err = build.Run()
		}
	})
	if p.err != nil {
		t.Fatalf("build keyturn: %v", p.err)
	}
	return p.path
}

func TestMain(m *testing.M) {
	exit := m.Run()
	if keyturn.path != "" {
		_ = os.RemoveAll(filepath.Dir(keyturn.path))
	}
	os.Exit(exit)
}

// process is a running keyturn serve.
type process struct {
	*httpapi.Client
	transport *http.Transport
	command   *exec.Cmd
	pid       int
}

// spawn starts the real program on a data directory, and returns once it listens.
func spawn(t *testing.T, dataDir string) *process {
	t.Helper()
	path := keyturn.build(t)
	p := &process{transport: &http.Transport{}, command: exec.Command(path, "serve", "--data-dir", dataDir, "--listen", "127.0.0.1:0")}
	log := must(p.command.StderrPipe())(t)
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	p.pid = p.command.Process.Pid
	t.Cleanup(p.kill)
	url := listening(t, log)
	p.Client = must(httpapi.NewClient(url, httpapi.ClientOptions{Transport: p.transport, Timeout: 20 * time.Second}))(t)
	return p
}

// listening reads a log until it says where the program listens, and throws the rest away.
func listening(t *testing.T, log io.Reader) string {
	t.Helper()
	lines := bufio.NewScanner(log)
	said := ""
	for lines.Scan() {
		var line struct{ Message, URL string }
		_ = json.Unmarshal(lines.Bytes(), &line) // what is no JSON says why it did not start
		if line.Message == "listening" {
			go func() { _, _ = io.Copy(io.Discard, log) }()
			return line.URL
		}
		said += lines.Text() + "\n"
	}
	t.Fatalf("it does not listen:\n%s", said)
	return ""
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.command.Process.Kill()
	_ = p.command.Wait() // it was killed
	p.transport.CloseIdleConnections()
}

// as makes a host of the process, for the helpers of this package.
func (p *process) as() *host { return &host{Client: p.Client, transport: p.transport} }

func TestProgram_StopsWhenTheSystemSaysSo(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds and runs the real program")
	}
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		p := spawn(t, filepath.Join(t.TempDir(), "data"))
		bootstrap(t, p.as())
		p.transport.CloseIdleConnections()
		if err := p.command.Process.Signal(syscall.SIGHUP); err != nil { // of which nobody dies
			t.Fatal(err)
		}
		do[struct{}](t, p.as(), httpapi.Request{Path: "/livez"})
		if err := p.command.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := p.command.Wait(); err != nil {
			t.Errorf("%v: %v", signal, err)
		}
	}
}
