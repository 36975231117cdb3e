package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are what an operator reads when something is wrong.
func pages(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("../docs/runbooks/*.md")
	if err != nil || len(found) < 5 {
		t.Fatalf("runbooks: %v, %v", found, err)
	}
	return append(found, "../docs/operations.md", "../docs/forward-auth.md")
}

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// stubs stand in for every program that the pages use. The two of keyturn are the real ones, which are asked for help only: a
// command or a flag that does not exist is an error even so.
func stubs(t *testing.T, bad string) string {
	t.Helper()
	dir := t.TempDir()
	for name, real := range map[string]string{"keyturn": programs.Path(t, "cli"), "keyturn-sidecar": programs.Path(t, "sidecar")} {
		write(t, filepath.Join(dir, name), "#!/bin/sh\n"+real+` "$@" --help >/dev/null 2>&1 || echo "`+name+` $*" >>'`+bad+"'\n", 0o700)
	}
	write(t, filepath.Join(dir, "sudo"), "#!/bin/sh\n[ \"$1\" = -u ] && shift 2\nexec \"$@\"\n", 0o700)
	for _, name := range []string{"aws", "curl", "go", "grep", "install", "mv", "rm", "sed", "ssh", "systemctl"} {
		write(t, filepath.Join(dir, name), "#!/bin/sh\n", 0o700)
	}
	return dir
}

// TestDocs_CommandsParse runs every line of shell that the pages show, with stubs in place of what it would do.
func TestDocs_CommandsParse(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the real programs")
	}
	bad := filepath.Join(t.TempDir(), "bad")
	path := stubs(t, bad)
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := shellBlock.FindAllSubmatch(text, -1)
		if len(blocks) == 0 {
			t.Errorf("%s shows no command", page)
		}
		for _, block := range blocks {
			cmd := exec.CommandContext(t.Context(), "/bin/bash", "-c", "command_not_found_handle() { echo \"unknown: $*\" >>'"+bad+"'; }\n"+string(block[1]))
			cmd.Dir, cmd.Env = t.TempDir(), []string{"PATH=" + path}
			if out, _ := cmd.CombinedOutput(); len(out) > 0 && !regexp.MustCompile(`^(works\n)*$`).Match(out) { // stubs find nothing: the exit status says nothing
				t.Errorf("%s:\n%s\n%s", page, block[1], out)
			}
			if wrong, err := os.ReadFile(bad); err == nil {
				t.Errorf("%s: no such command or flag:\n%s", page, wrong)
				_ = os.Remove(bad)
			}
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^):#]*)(#[^)]*)?\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// TestDocs_LinksLeadSomewhere: a file that is there, and a heading in it.
func TestDocs_LinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			target := page
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(page), m[1])
			}
			there, err := os.ReadFile(target)
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			found := m[2] == ""
			for _, h := range heading.FindAllStringSubmatch(string(there), -1) {
				found = found || "#"+anchor(h[1]) == m[2]
			}
			if !found {
				t.Errorf("%s: %s has no heading for %s", page, target, m[2])
			}
		}
	}
}

// anchor is how a heading is called in a link: lower case, dashes for spaces, and nothing else but letters, digits and dashes.
func anchor(h string) string {
	h = strings.ReplaceAll(strings.ToLower(h), " ", "-")
	return regexp.MustCompile(`[^a-z0-9-]`).ReplaceAllString(h, "")
}
