package serve_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/program"
)

// keyturn is the real program.
var keyturn = program.Set{Args: []string{"github.com/keyturn/keyturn/cli"}}

func TestMain(m *testing.M) {
	exit := m.Run()
	keyturn.Remove()
	os.Exit(exit)
}

// process is a running keyturn serve.
type process struct {
	*program.Process
	*host
}

// spawn starts the real program on a data directory, and returns once it listens.
func spawn(t *testing.T, dataDir string) *process {
	t.Helper()
	cmd := exec.Command(keyturn.Path(t, "cli"), "serve", "--data-dir", dataDir, "--listen", "127.0.0.1:0")
	p := &process{must(program.Start(t.Context(), cmd, dataDir+".log"))(t), &host{transport: &http.Transport{}}}
	t.Cleanup(p.kill)
	p.Client = must(httpapi.NewClient(p.URL, httpapi.ClientOptions{Transport: p.transport, Timeout: time.Minute}))(t)
	return p
}

// kill is kill -9.
func (p *process) kill() {
	p.Kill()
	p.transport.CloseIdleConnections()
}

func TestProgram_StopsWhenTheSystemSaysSo(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds and runs the real program")
	}
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		p := spawn(t, filepath.Join(t.TempDir(), "data"))
		bootstrap(t, p.host)
		p.transport.CloseIdleConnections()
		if err := p.Signal(syscall.SIGHUP); err != nil { // of which nobody dies
			t.Fatal(err)
		}
		do[struct{}](t, p.host, httpapi.Request{Path: "/livez"})
		if err := p.End(signal); err != nil {
			t.Errorf("%v: %v", signal, err)
		}
	}
}
