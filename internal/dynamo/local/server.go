// Package local starts DynamoDB Local for tests, and makes tables there as template.yaml does in an account. Nothing but
// tests uses it.
//
// The program comes from Maven Central, once, into the user's cache directory. Where Java or Maven is missing, tests are
// skipped by name; with CI=true they fail.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Version is that of DynamoDB Local.
const Version = "3.1.0"

// startBudget is how long the program may take until it answers; tests of several packages may be starting theirs.
const startBudget = 90 * time.Second

// Server is one DynamoDB Local in memory, for all tests of a package. The zero value is ready: it starts when a test first
// needs it. A package's TestMain calls Stop after all tests.
type Server struct {
	once  sync.Once
	err   error
	addr  string
	leash io.Closer     // the program ends when this is closed: also when this process is killed
	ended chan struct{} // closed when it has

	mu     sync.Mutex
	tables int
}

// missing is the error where a tool is not installed here.
type missing struct{ tool string }

func (m missing) Error() string { return m.tool + " is not installed" }

// Endpoint starts the server where it does not run yet, and returns its URL. Without Java or Maven it skips the test, and
// fails it with CI=true.
func (s *Server) Endpoint(t testing.TB) string {
	t.Helper()
	s.once.Do(func() { s.err = s.start() })
	var m missing
	if errors.As(s.err, &m) && os.Getenv("CI") != "true" {
		t.Skipf("skipped, needs DynamoDB Local %s: %v", Version, s.err)
	}
	if s.err != nil {
		t.Fatalf("DynamoDB Local %s: %v", Version, s.err)
	}
	return "http://" + s.addr
}

// Stop ends the server, if it was started, and waits until it is gone.
func (s *Server) Stop() {
	if s.ended == nil {
		return
	}
	_ = s.leash.Close()
	<-s.ended
	s.ended = nil
}

func (s *Server) start() error {
	for _, tool := range []string{"java", "mvn", "sh"} {
		if _, err := exec.LookPath(tool); err != nil {
			return missing{tool}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	jars, err := install(ctx)
	if err != nil {
		return err
	}
	for range 3 { // somebody else may be faster to take the port
		if err = s.launch(ctx, jars); err == nil {
			return nil
		}
		s.Stop()
	}
	return err
}

// The shell holds the program on a leash: it ends it when its standard input ends.
const leashed = `"$@" </dev/null & pid=$!
exec 3<&0
{ read -r _ <&3; kill -9 $pid; } >/dev/null 2>&1 &
exec 3<&-
wait $pid`

func (s *Server) launch(ctx context.Context, jars string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	s.addr = l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	var said strings.Builder
	cmd := exec.Command("sh", "-c", leashed, "sh",
		"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m", "-cp", filepath.Join(jars, "*"),
		"software.amazon.dynamodb.services.local.main.ServerRunner", "-inMemory", "-disableTelemetry", "-port", port)
	cmd.Stdout, cmd.Stderr = &said, &said
	if s.leash, err = cmd.StdinPipe(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	s.ended = ended
	go func() {
		_ = cmd.Wait() // it was killed, or said why it could not start
		close(ended)
	}()
	if err := s.answers(ctx); err != nil {
		s.Stop()
		return fmt.Errorf("it does not answer: %w\n%s", err, said.String())
	}
	return nil
}

// answers waits until the program accepts connections.
func (s *Server) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startBudget)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "tcp", s.addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-tick.C:
		case <-s.ended:
			return errors.New("it ended")
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}
