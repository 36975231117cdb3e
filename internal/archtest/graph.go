package archtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// Graph says for each package what it imports. A package of ours is written as its folder, as the go tool does
// ("./internal/id", the root "."), any other as its import path.
type Graph map[string][]string

// Imports returns the graph of the tree's packages, without what only tests import.
func (t *Tree) Imports() Graph {
	g := Graph{}
	for _, p := range t.Packages {
		node := local(Module + "/" + p.Dir)
		for _, f := range p.code() {
			g.add(node, importsOf(f)...)
		}
	}
	return g
}

// Merge adds every edge of other to g.
func (g Graph) Merge(other Graph) {
	for node, imports := range other {
		g.add(node, imports...)
	}
}

func (g Graph) add(node string, imports ...string) {
	all := append(g[node], imports...)
	slices.Sort(all)
	g[node] = slices.Compact(all)
}

func (g Graph) nodes() []string { return slices.Sorted(maps.Keys(g)) }

func importsOf(f *File) []string {
	var paths []string
	for _, spec := range f.AST.Imports {
		// The parser has accepted the literal, so it can be unquoted.
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, local(p))
		}
	}
	return paths
}

// local turns an import path of ours into a folder.
func local(importPath string) string {
	if importPath == Module || importPath == Module+"/." {
		return "."
	}
	if rest, ours := strings.CutPrefix(importPath, Module+"/"); ours {
		return "./" + rest
	}
	return importPath
}

func ours(node string) bool { return node == "." || strings.HasPrefix(node, "./") }

// GoList asks the go tool for everything that the packages below dir link, other modules' packages included; what
// packages of the standard library import is left out. Packages that do not build are listed as far as they go.
func GoList(ctx context.Context, dir string) (Graph, error) {
	out, err := run(ctx, dir, "go", "list", "-e", "-deps", "-json=ImportPath,Imports,Standard", "./...")
	if err != nil {
		return nil, err
	}
	g := Graph{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
			Standard   bool
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return g, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the answer of go list: %w", err)
		}
		if p.Standard {
			continue
		}
		for _, imp := range p.Imports {
			g.add(local(p.ImportPath), local(imp))
		}
	}
}

// run returns what a command prints; its error carries what the command complained about.
func run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, args[0], err, bytes.TrimSpace(complaint.Bytes()))
	}
	return out, nil
}
