package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Process is a program that is started again on the same directory and, once it has one, on the same address.
type Process struct {
	Name string
	Dir  string // its data directory

	log     string // the file with what it logs
	address string // HOST:PORT; "": it has never run
	command func(listen string) *exec.Cmd
	running *exec.Cmd
	logged  chan struct{} // closed when its log has ended
}

// URL is where it answers, or did.
func (p *Process) URL() string { return "http://" + p.address }

// PID is its number; 0 while it does not run.
func (p *Process) PID() int {
	if p.running == nil {
		return 0
	}
	return p.running.Process.Pid
}

// Start runs the program and returns once it listens.
func (p *Process) Start(ctx context.Context) error {
	listen := p.address
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	cmd := p.command(listen)
	out, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		_ = file.Close()
		return err
	}
	p.running, p.logged = cmd, make(chan struct{})
	said := make(chan string, 1)
	go func(done chan struct{}) {
		defer close(done)
		defer file.Close() //nolint:errcheck // a log of a test
		listening(io.TeeReader(out, file), said)
	}(p.logged)
	select {
	case url := <-said:
		if url == "" {
			p.Kill()
			return fmt.Errorf("%s does not listen; its log ends with\n%s", p.Name, p.LogEnd())
		}
		p.address = strings.TrimPrefix(url, "http://")
		return nil
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("%s: %w", p.Name, ctx.Err())
	}
}

// listening reads a log to its end, and tells once where the program listens; "" where it never does.
func listening(log io.Reader, said chan<- string) {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	told := false
	for lines.Scan() {
		var line struct{ Message, URL string }
		_ = json.Unmarshal(lines.Bytes(), &line) // what is no JSON is for people
		if line.Message == "listening" && !told {
			told = true
			said <- line.URL
		}
	}
	if !told {
		said <- ""
	}
	_, _ = io.Copy(io.Discard, log)
}

// LogEnd is the last part of what it has logged.
func (p *Process) LogEnd() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-3000):])
}

// Ready waits until the program says that it can be used.
func (p *Process) Ready(ctx context.Context) error {
	t := &http.Transport{}
	defer t.CloseIdleConnections()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL()+"/readyz", nil)
		if err != nil {
			return err
		}
		if a, err := t.RoundTrip(r); err == nil {
			_ = a.Body.Close()
			if a.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; its log ends with\n%s", p.Name, ctx.Err(), p.LogEnd())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Kill is kill -9.
func (p *Process) Kill() { _ = p.end(os.Kill) }

// Stop tells the program to stop, and waits until it has.
func (p *Process) Stop() error { return p.end(syscall.SIGTERM) }

func (p *Process) end(s os.Signal) error {
	if p.running == nil {
		return nil
	}
	_ = p.running.Process.Signal(s)
	<-p.logged
	err := p.running.Wait()
	p.running = nil
	return err
}
