package main_test

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/serve"
)

// TestReadme_SessionRunsAsPrinted (keyturn is on the PATH as testscript puts it there) runs every command of the README's session, in order and in one shell, against a real
// authority, and compares what it prints with what the README says, but for what differs from run to run.
func TestReadme_SessionRunsAsPrinted(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	url := serveReadme(t, dir)
	script, want := session(string(readme), url)
	if strings.Count(want, "\n") < 20 {
		t.Fatalf("the README's session is gone: %q", want)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", "set -e -o pipefail\n"+script)
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+dir, "HOME="+dir)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.String(), problems.String())
	}
	if diff := cmp.Diff(steady(want, url), steady(out.String(), url)); diff != "" {
		t.Errorf("README and reality (-README +real):\n%s", diff)
	}
}

func serveReadme(t *testing.T, dir string) (url string) {
	t.Helper()
	s, err := serve.Open(t.Context(), serve.Config{DataDir: dir + "/data", Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil { // the test's context ends before this
			t.Error(err)
		}
	})
	return s.URL()
}

var console = regexp.MustCompile("(?s)```console\n(.*?)```")

// session takes the README's console blocks apart: what is typed, and what is printed.
func session(readme, url string) (script, printed string) {
	for _, block := range console.FindAllStringSubmatch(readme, -1) {
		for line := range strings.Lines(block[1]) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				script += strings.ReplaceAll(command, "http://127.0.0.1:8080", url)
				if strings.Contains(command, "head -c") {
					script += "echo\n"
				}
				continue
			}
			printed += line
		}
	}
	return script, printed
}

// steady replaces what differs from run to run, and gives columns that depend on it one width.
func steady(s, url string) string {
	s = strings.ReplaceAll(s, url, "http://127.0.0.1:8080")
	for _, r := range []struct{ pattern, with string }{
		{`(cli|clu|peer|lic)_[0-9a-z]{26}`, "${1}_X"},
		{`sec_[0-9A-Za-z]{49}`, "sec_X"},
		{`cli_01[0-9a-z]*`, "cli_01"},
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, "T"},
		{`\(in [^)]*\)`, "(in D)"},
		{` {2,}`, "  "},
	} {
		s = regexp.MustCompile(r.pattern).ReplaceAllString(s, r.with)
	}
	return sortRows(s)
}

// sortRows puts the rows of a list of credentials in one order: those of one second come in any.
func sortRows(s string) string {
	lines := strings.Split(s, "\n")
	for start := 0; start < len(lines); start++ {
		end := start
		for end < len(lines) && strings.HasPrefix(lines[end], "cli_X") {
			end++
		}
		slices.Sort(lines[start:end])
		start = max(start, end-1)
	}
	return strings.Join(lines, "\n")
}
