package program

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/keyturn/keyturn/internal/backoff"
)

// patience is how long a program may take to listen, and then to be ready.
const patience = time.Minute

// Process is a program that listens, and logs JSON lines to standard error.
type Process struct {
	URL string // where it listens; http, https or unix

	cmd   *exec.Cmd
	log   string        // the file
	ended chan struct{} // closed when it has ended and its log is whole
	err   error         // how it has
}

// Start runs a command and returns once it listens. What it logs is added to a file.
func Start(ctx context.Context, cmd *exec.Cmd, log string) (*Process, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	out, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	p := &Process{cmd: cmd, log: log, ended: make(chan struct{})}
	listens := make(chan string, 1)
	go func() {
		defer close(p.ended)
		defer file.Close() //nolint:errcheck // a log of a test
		listening(io.TeeReader(out, file), listens)
		p.err = cmd.Wait()
	}()
	select {
	case p.URL = <-listens:
		return p, nil
	case <-p.ended:
		return nil, p.failed(errors.New("it does not listen"))
	case <-ctx.Done():
		p.Kill()
		return nil, p.failed(ctx.Err())
	}
}

// listening reads a log to its end, and tells where the program listens.
func listening(log io.Reader, listens chan<- string) {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Message, URL string }
		_ = json.Unmarshal(lines.Bytes(), &line) // what is no JSON is for people
		if line.Message == "listening" {
			listens <- line.URL
			break
		}
	}
	_, _ = io.Copy(io.Discard, log) // the file gets it
}

func (p *Process) failed(err error) error {
	log := p.Log()
	return fmt.Errorf("%w; its log ends with\n%s", err, log[max(0, len(log)-3000):])
}

// Log is what it has logged.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// PID is its number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ready waits until the program, which listens by http, says that it can be used.
func (p *Process) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t := &http.Transport{}
	defer t.CloseIdleConnections()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/readyz", nil)
		if err != nil {
			return err
		}
		if a, err := t.RoundTrip(r); err == nil {
			_ = a.Body.Close()
			if a.StatusCode == http.StatusOK {
				return nil
			}
		}
		if !backoff.Wait(ctx, 20*time.Millisecond) {
			return p.failed(fmt.Errorf("it is not ready: %w", ctx.Err()))
		}
	}
}

// Signal sends it a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// End sends it a signal and waits until it has ended. The error is nil where its exit status is 0, also if it had ended before.
func (p *Process) End(s os.Signal) error {
	if err := p.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return p.err
}

// Kill is kill -9.
func (p *Process) Kill() { _ = p.End(os.Kill) }
