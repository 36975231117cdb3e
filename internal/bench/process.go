package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// process is a server that runs as a child.
type process struct {
	*exec.Cmd
	address string
	started time.Duration // from the start of the process to its address
}

// start runs this program in a role and waits until it says where it listens.
func start(ctx context.Context, role, dir string, more ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{"-role", role, "-dir", dir}, more...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%s did not start: %w", role, err)
	}
	return &process{cmd, strings.TrimSpace(line), time.Since(begin)}, nil
}

// stop ends the process.
func (p *process) stop() {
	_ = p.Process.Kill()
	_ = p.Wait()
}

// settle waits until the process has little to do: less than a tenth of a processor for half a second.
func (p *process) settle(ctx context.Context) error {
	for {
		before, err := p.ticks()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
		after, err := p.ticks()
		if err != nil || after-before < 5 {
			return err
		}
	}
}

// ticks is how long the process has run, in hundredths of a second.
func (p *process) ticks() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", p.Process.Pid, len(fields))
	}
	var user, system int
	_, err = fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
	return user + system, err
}

// anonymous is the process's anonymous memory in MB: RssAnon, without the mapped file.
func (p *process) anonymous() (string, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			var kb int
			if _, err := fmt.Sscan(value, &kb); err != nil {
				return "", err
			}
			return fmt.Sprintf("%d MB", kb>>10), nil
		}
	}
	return "", fmt.Errorf("no RssAnon for process %d", p.Process.Pid)
}
