package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keyturn/keyturn/internal/duration"
)

// data writes to standard output. Whoever reads an error knows that what was printed may not have arrived.
func (a *App) data(text string) error {
	a.screen.mu.Lock()
	defer a.screen.mu.Unlock()
	a.screen.clear()
	if _, err := a.Stdout.Write([]byte(text)); err != nil {
		return fmt.Errorf("write to standard output: %w", err)
	}
	return nil
}

// wire writes an answer as it came, with exactly one newline after it.
func (a *App) wire(answer []byte) error {
	return a.data(string(bytes.TrimRight(answer, "\n")) + "\n")
}

// table lays rows out in columns that are as wide as they have to be. The last column is not padded.
func table(rows [][]string) string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// moment prints an instant for a person: when, and how far away. The zero instant is "-".
func moment(at, now time.Time) string {
	if at.IsZero() {
		return "-"
	}
	at, now = at.UTC().Truncate(time.Second), now.UTC().Truncate(time.Second)
	text := at.Format(time.RFC3339)
	switch {
	case at.After(now):
		return text + " (in " + duration.Human(at.Sub(now)) + ")"
	case at.Before(now):
		return text + " (" + duration.Human(now.Sub(at)) + " ago)"
	}
	return text + " (now)"
}

// or is text, or a dash where there is none.
func or(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// deref is what a value that may be null says.
func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// plain takes line breaks and escape sequences out of a text that somebody else wrote.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// shellWords prints arguments so that a shell reads them back.
func shellWords(args []string) string {
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = shellWord(arg)
	}
	return strings.Join(words, " ")
}

func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,@%+") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
