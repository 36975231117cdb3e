// Package local starts moto's server for tests: a KMS on loopback. Nothing but tests uses it. It comes from PyPI; without
// Python a test is skipped by name, with CI=true it fails. It checks no policies, but binds the encryption context.
package local

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/keyturn/keyturn/internal/wheel"
)

const startBudget = 90 * time.Second

// Server is one server for all tests of a package. The zero value is ready: it starts when a test first needs it. A
// package's TestMain calls Stop after all tests.
type Server struct {
	once  sync.Once
	err   error
	addr  string
	leash io.Closer // the program ends when this is closed: also when this process is killed
	ended chan struct{}
}

// Endpoint starts the server where it does not run yet, and returns its URL.
func (s *Server) Endpoint(t testing.TB) string {
	t.Helper()
	bin := wheel.Venv(t, "moto==5.2.5", "flask", "flask-cors")
	s.once.Do(func() { s.err = s.start(filepath.Join(bin, "moto_server")) })
	if s.err != nil {
		t.Fatalf("moto: %v", s.err)
	}
	return "http://" + s.addr
}

// Key makes a KMS key in a region and returns a client there and the key's ARN.
func (s *Server) Key(t testing.TB, region string) (*kms.Client, string) {
	t.Helper()
	endpoint := s.Endpoint(t)
	client := kms.New(kms.Options{
		Region: region, BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	})
	made, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatalf("make a key: %v", err)
	}
	return client, *made.KeyMetadata.Arn
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

// The shell holds the program on a leash: it ends it when its standard input ends.
const leashed = `"$@" </dev/null & pid=$!
exec 3<&0
{ read -r _ <&3; kill -9 $pid; } >/dev/null 2>&1 &
exec 3<&-
wait $pid`

func (s *Server) start(program string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.addr = l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	_, port, _ := strings.Cut(s.addr, ":")
	var said strings.Builder
	cmd := exec.Command("sh", "-c", leashed, "sh", program, "-H", "127.0.0.1", "-p", port)
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
		return fmt.Errorf("%w\n%s", err, said.String())
	}
	return nil
}

// answers waits until the server answers.
func (s *Server) answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), startBudget)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/moto-api/", nil)
		if err != nil {
			return err
		}
		if a, err := http.DefaultClient.Do(r); err == nil {
			return a.Body.Close()
		}
		select {
		case <-tick.C:
		case <-s.ended:
			return fmt.Errorf("it ended")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
