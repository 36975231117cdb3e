package main

import (
	"bufio"
	"bytes"
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
	b, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err == nil && len(b) > maxInput {
		err = fmt.Errorf("%s is larger than %d KiB", name, maxInput>>10)
	}
	return b, err
}

// secretLine reads one line from standard input, without showing it on a terminal.
func (a *App) secretLine(prompt string) (string, error) {
	f, ok := a.Stdin.(*os.File)
	if !ok || !a.isTerminal(f) {
		line, err := bufio.NewReader(io.LimitReader(a.Stdin, maxInput)).ReadBytes('\n')
		if err != nil && err != io.EOF {
			return "", err
		}
		return string(bytes.TrimSpace(line)), nil
	}
	_, _ = fmt.Fprint(a.Stderr, prompt+": ")
	line, err := term.ReadPassword(int(f.Fd()))
	_, _ = fmt.Fprintln(a.Stderr)
	return string(bytes.TrimSpace(line)), err
}
