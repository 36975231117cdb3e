// Package foreign is how tests come to other people's programs: a folder that is filled once per machine, and a server that
// is started once per package. It knows none of these programs. Nothing but tests uses it.
package foreign

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/testport"
)

// startBudget is how long a program may take until it answers; tests of several packages may be starting theirs.
const startBudget = 90 * time.Second

// Server is a program that listens on loopback, for all tests of a package. The zero value is ready: the program starts when
// a test first needs it. A package's TestMain calls Stop after all tests.
type Server struct {
	once  sync.Once
	err   error
	port  *testport.Port
	leash io.Closer     // the program ends when this is closed: also when this process is killed
	ended chan struct{} // closed when it has
}

// URL starts the program where it does not run yet, and returns where it answers. command is its command line for a port of
// 127.0.0.1; what names it to people. Where it does not start, the test fails.
func (s *Server) URL(t testing.TB, what string, command func(port string) []string) string {
	t.Helper()
	s.once.Do(func() {
		for range 3 { // where ports cannot be kept, somebody else may be faster to take it
			if s.err = s.start(command); s.err == nil {
				return
			}
			s.Stop()
		}
	})
	if s.err != nil {
		t.Fatalf("%s: %v", what, s.err)
	}
	return "http://" + s.port.Address()
}

// Stop ends the program, if it was started, and waits until it is gone.
func (s *Server) Stop() {
	if s.ended == nil {
		return
	}
	_ = s.leash.Close()
	<-s.ended
	s.ended = nil
	s.port.Release()
}

// The shell holds the program on a leash: it ends it when its standard input ends.
const leashed = `"$@" </dev/null & pid=$!
exec 3<&0
{ read -r _ <&3; kill -9 $pid; } >/dev/null 2>&1 &
exec 3<&-
wait $pid`

func (s *Server) start(command func(port string) []string) error {
	var err error
	if s.port, err = testport.Take(); err != nil {
		return err
	}
	var said strings.Builder
	cmd := exec.Command("sh", append([]string{"-c", leashed, "sh"}, command(s.port.Number())...)...)
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
	if err := s.answers(); err != nil {
		s.Stop()
		return fmt.Errorf("it does not answer: %w\n%s", err, said.String())
	}
	return nil
}

// answers waits until the program accepts connections.
func (s *Server) answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), startBudget)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "tcp", s.port.Address())
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
