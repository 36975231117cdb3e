package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// maxInput is the size, in bytes, of a file that a person names: what the API takes.
const maxInput = 64 << 10

// input reads a small file, or standard input where the name is "-".
func (a *App) input(name string) ([]byte, error) {
	var r io.Reader = a.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		r = f
	}
	b, err := unless(a, func() ([]byte, error) { return io.ReadAll(io.LimitReader(r, maxInput+1)) })
	if err == nil && len(b) > maxInput {
		err = fmt.Errorf("%s is larger than %d KiB", name, maxInput>>10)
	}
	return b, err
}

// secretLine reads one line from standard input, without showing it on a terminal.
func (a *App) secretLine(prompt string) (string, error) {
	f, ok := a.Stdin.(*os.File)
	if !ok || !a.isTerminal(f) {
		return a.line()
	}
	_, _ = fmt.Fprint(a.Stderr, prompt+": ")
	before, err := term.GetState(int(f.Fd()))
	if err != nil {
		return "", err
	}
	line, err := unless(a, func() ([]byte, error) { return term.ReadPassword(int(f.Fd())) })
	if err != nil {
		err = errors.Join(err, term.Restore(int(f.Fd()), before))
	}
	_, _ = fmt.Fprintln(a.Stderr)
	return string(bytes.TrimSpace(line)), err
}

// line reads one line from standard input.
func (a *App) line() (string, error) {
	line, err := unless(a, func() ([]byte, error) {
		return bufio.NewReader(io.LimitReader(a.Stdin, maxInput)).ReadBytes('\n')
	})
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return string(bytes.TrimSpace(line)), nil
}

// unless waits for a read, but not when the program is to stop: then the read is left behind, and the process ends.
func unless(a *App, read func() ([]byte, error)) ([]byte, error) {
	type result struct {
		b   []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		b, err := read()
		done <- result{b, err}
	}()
	select {
	case r := <-done:
		return r.b, r.err
	case <-a.Context.Done():
		return nil, errInterrupted
	}
}
