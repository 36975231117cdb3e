package main_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	keyturn "github.com/keyturn/keyturn/cli"
)

// stage is an App that writes to memory.
func stage(ctx context.Context, env map[string]string, stdout, stderr io.Writer) keyturn.App {
	return keyturn.App{
		Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr, Env: func(name string) string { return env[name] },
		Now: time.Now, Context: ctx, Version: "v0.0.0-test",
	}
}

func TestDemo_OnATerminal(t *testing.T) {
	t.Parallel()
	// Time stands still from the rotation until the sign of life is seen: on a slow machine the window would be over by then.
	const label = "waiting for the window to close: "
	var rotated, waits atomic.Int64
	stdout := &trigger{at: " 8.", then: func() { rotated.CompareAndSwap(0, time.Now().UnixNano()) }}
	stderr := &trigger{at: label, then: func() { waits.CompareAndSwap(0, time.Now().UnixNano()) }}
	a := stage(t.Context(), nil, stdout, stderr)
	a.Now = func() time.Time {
		now, from, to := time.Now(), rotated.Load(), waits.Load()
		switch {
		case from == 0:
			return now
		case to == 0:
			return time.Unix(0, from)
		}
		return now.Add(time.Duration(from - to))
	}
	a.Terminal = func(any) bool { return true }
	if exit := a.Run([]string{"demo"}); exit != 0 {
		t.Fatalf("exit %d\n%s%s", exit, stdout, stderr)
	}
	if n := strings.Count(stdout.String(), "\x1b[32m✓\x1b[0m "); n != 47 {
		t.Errorf("%d green signs, want 47", n)
	}
	if !regexp.MustCompile(label + `[1-5]s left`).MatchString(stderr.String()) {
		t.Errorf("it does not tell how long the wait is:\n%q", stderr.String())
	}
}

// brokenPipe fails after so many writes, as a pipe does whose reader has gone.
type brokenPipe struct{ left int }

func (p *brokenPipe) Write(b []byte) (int, error) {
	if p.left--; p.left < 0 {
		return 0, errors.New("broken pipe")
	}
	return len(b), nil
}

func TestDemo_FailsWhereItCannotTell(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	if exit := stage(t.Context(), nil, &brokenPipe{left: 3}, &stderr).Run([]string{"demo"}); exit != 1 {
		t.Errorf("exit %d\n%s", exit, &stderr)
	}
}

func TestDemo_FailsAtTheFirstThingThatDoesNotHold(t *testing.T) {
	t.Parallel()
	var late atomic.Bool
	stdout, stderr := &trigger{at: " 9.", then: func() { late.Store(true) }}, &bytes.Buffer{}
	a := stage(t.Context(), nil, stdout, stderr)
	a.Now = func() time.Time { // the window is over before anybody could use it
		if late.Load() {
			return time.Now().Add(time.Minute)
		}
		return time.Now()
	}
	if exit := a.Run([]string{"demo"}); exit != 1 || !strings.Contains(stdout.String(), "    FAILED this secret is version 1") ||
		!strings.Contains(stderr.String(), "keyturn: demo, step 9: ") || strings.Contains(stdout.String(), "10.") {
		t.Errorf("exit %d\n%s%s", exit, stdout, stderr)
	}
}

func TestDemo_StopsWhenItIsToldTo(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	stdout := &trigger{at: " 9.", then: cancel}
	if exit := stage(ctx, nil, stdout, &stderr).Run([]string{"demo"}); exit != 1 || strings.Contains(stdout.String(), "10.") {
		t.Errorf("exit %d\n%s%s", exit, stdout, &stderr)
	}
}

// trigger does something once a text has been written.
type trigger struct {
	bytes.Buffer
	at   string
	then func()
}

func (w *trigger) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(w.at)) {
		w.then()
	}
	return w.Buffer.Write(b)
}

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
