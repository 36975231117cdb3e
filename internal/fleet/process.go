package fleet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/keyturn/keyturn/internal/program"
	"github.com/keyturn/keyturn/internal/testport"
)

// Process is a program that is started again on the same directory and on the same address, which nobody else gets meanwhile.
type Process struct {
	Name string
	Dir  string // its data directory

	log     string // the file with what it logs
	port    *testport.Port
	command func(listen string) *exec.Cmd
	running *program.Process // nil: it does not
}

// URL is where it answers, or will, or did.
func (p *Process) URL() string { return "http://" + p.port.Address() }

// PID is its number; 0 while it does not run.
func (p *Process) PID() int {
	if p.running == nil {
		return 0
	}
	return p.running.PID()
}

// Start runs the program and returns once it listens.
func (p *Process) Start(ctx context.Context) (err error) {
	p.running, err = program.Start(ctx, p.command(p.port.Address()), p.log)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	return nil
}

// LogEnd is the last part of what it has logged.
func (p *Process) LogEnd() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-3000):])
}

// Ready waits until the program, which runs, says that it can be used.
func (p *Process) Ready(ctx context.Context) error {
	if err := p.running.Ready(ctx); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	return nil
}

// Kill is kill -9.
func (p *Process) Kill() { _ = p.end(os.Kill) }

// Stop tells the program to stop, and waits until it has.
func (p *Process) Stop() error { return p.end(syscall.SIGTERM) }

func (p *Process) end(s os.Signal) error {
	if p.running == nil {
		return nil
	}
	err := p.running.End(s)
	p.running = nil
	return err
}
