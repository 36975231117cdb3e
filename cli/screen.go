package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// screen is standard error: notes, warnings, and, on a terminal, a sign of life for whoever waits.
type screen struct {
	app *App

	mu      sync.Mutex
	label   string
	drawn   bool
	waiting time.Time // when the first wait of this command began
}

// The sign of life comes after a second and turns ten times in one.
const (
	spinAfter = time.Second
	spinEvery = 100 * time.Millisecond
	spinSigns = `|/-\`
)

// isTerminal reports whether a stream is a terminal.
func (a *App) isTerminal(stream any) bool {
	if a.Terminal != nil {
		return a.Terminal(stream)
	}
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// interactive reports whether somebody is there to be asked.
func (a *App) interactive() bool { return a.isTerminal(a.Stdin) && a.isTerminal(a.Stderr) }

// lively reports whether standard error takes colours and moving signs.
func (s *screen) lively() bool {
	return s.app.isTerminal(s.app.Stderr) && s.app.Env("NO_COLOR") == "" && s.app.Env("TERM") != "dumb"
}

// note tells a person something beside the data.
func (s *screen) note(format string, args ...any) { s.print(fmt.Sprintf(format, args...)) }

// warn is a note that wants to be seen.
func (s *screen) warn(format string, args ...any) {
	s.problem("warning:", fmt.Sprintf(format, args...))
}

// problem prints a text behind a word in colour.
func (s *screen) problem(word, text string) {
	if s.lively() {
		colour := "33"
		if word != "warning:" {
			colour = "31"
		}
		word = "\x1b[" + colour + "m" + word + "\x1b[0m"
	}
	s.print(word + " " + text)
}

func (s *screen) print(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	_, _ = fmt.Fprintln(s.app.Stderr, line)
}

// clear takes the sign of life away. The caller holds the lock.
func (s *screen) clear() {
	if s.drawn {
		_, _ = fmt.Fprint(s.app.Stderr, "\r\x1b[K")
		s.drawn = false
	}
}

// during runs work, and shows on a terminal that it is still running once the command's waits have lasted a second.
func (s *screen) during(label string, work func() error) error {
	if !s.lively() {
		return work()
	}
	s.mu.Lock()
	if s.waiting.IsZero() {
		s.waiting = time.Now()
	}
	s.label = label
	s.mu.Unlock()
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		s.spin(done)
	}()
	err := work()
	close(done)
	<-gone
	return err
}

// relabel changes what the sign of life says.
func (s *screen) relabel(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.label = fmt.Sprintf(format, args...)
}

func (s *screen) spin(done <-chan struct{}) {
	tick := time.NewTicker(spinEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-done:
			s.mu.Lock()
			s.clear()
			s.mu.Unlock()
			return
		case <-tick.C:
			s.draw(i)
		}
	}
}

func (s *screen) draw(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.waiting) < spinAfter {
		return
	}
	label := strings.TrimSpace(s.label)
	_, _ = fmt.Fprintf(s.app.Stderr, "\r\x1b[K%c %s", spinSigns[i%len(spinSigns)], label)
	s.drawn = true
}
