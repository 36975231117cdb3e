package archtest

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// traces are forms that name a machine, a registry or a key wherever they are met. They are written so that no line of
// this file has the form itself.
var traces = []struct {
	form *regexp.Regexp
	what string
}{
	{regexp.MustCompile(`(?:^|[^\w./~$}-])/(?:home|Users)/\w`), "a path of somebody's machine"},
	{regexp.MustCompile(`(?:^|[^\w./~$}-])/(?:root|work)/\w`), "a path of somebody's machine"},
	{regexp.MustCompile(`\b[A-Z]:\\{1,2}Users\\`), "a path of somebody's machine"},
	{regexp.MustCompile(`(?i)\b(?:artifactory|nexus|goproxy)[\w-]*\.[a-z]|\.(?:jfrog\.io|pkg\.dev)\b`), "a host of a package registry"},
	{regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----`), "a private key"},
}

// Traces returns the lines of a file that hold a path of a machine, a host of a registry, a private key, or one of the
// words that [Local] found. The finding does not repeat what it found.
func Traces(name string, text []byte, local []string) []Finding {
	var found []Finding
	n := 0
	for line := range bytes.Lines(text) {
		n++
		for _, what := range traced(line, local) {
			found = append(found, Finding{fmt.Sprintf("%s:%d", name, n), what + " has no place in a commit"})
		}
	}
	return found
}

func traced(line []byte, local []string) []string {
	var what []string
	for _, t := range traces {
		if t.form.Match(line) {
			what = append(what, t.what)
		}
	}
	for _, word := range local {
		if bytes.Contains(line, []byte(word)) {
			what = append(what, "a path or host of this machine")
		}
	}
	slices.Sort(what)
	return slices.Compact(what)
}

// Dependencies returns those of the required modules whose packages the code imports directly, sorted. What only tests
// import is none, nor is what only packages for tests do.
func (t *Tree) Dependencies(requires []string) []string {
	var modules []string
	for _, p := range t.Packages {
		if p.forTests() {
			continue
		}
		for _, f := range p.code() {
			for _, imp := range importsOf(f) {
				if m := longest(requires, imp); m != "" {
					modules = append(modules, m)
				}
			}
		}
	}
	slices.Sort(modules)
	return slices.Compact(modules)
}

// longest returns the longest of the modules that an import path is in, or "".
func longest(modules []string, importPath string) string {
	best := ""
	for _, m := range modules {
		if len(m) > len(best) && (importPath == m || strings.HasPrefix(importPath, m+"/")) {
			best = m
		}
	}
	return best
}

// Unnamed returns the modules whose full path a text does not name.
func Unnamed(modules []string, text string) []string {
	words := strings.FieldsFunc(text, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./~", r)
	})
	named := map[string]bool{}
	for _, w := range words {
		named[strings.Trim(w, "./")] = true
	}
	return slices.DeleteFunc(slices.Clone(modules), func(m string) bool { return named[m] })
}
