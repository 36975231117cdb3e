// Package archtest holds the rules that keyturn's source has to keep, as functions over a parsed source tree: who may
// import whom, who may read the clock, what state a package may have, what is documented, how big things get.
//
// Its tests apply every rule to the whole repository, so that a broken rule is a failing test that says why the rule
// is there. Each rule is proven by a small tree under testdata that breaks it.
//
// The package knows names of folders and syntax. It refuses to know what the code does. A rule that is broken is a
// [Finding], never an error; an error means that the source could not be read.
package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Module is the module path that go.mod has to declare, and the prefix of every import of our own.
const Module = "github.com/keyturn/keyturn"

// Tree is the parsed source of one module. Folders named testdata or vendor and those that start with a dot or an
// underscore are not part of it, as for the go tool. Build constraints are not applied: a rule holds on every system.
type Tree struct {
	// Fset resolves the positions of all files.
	Fset *token.FileSet
	// Packages has one entry for each folder with Go files, in the order of Dir.
	Packages []*Package
	// Scripts counts the lines of txtar files below testdata: scenarios for commands, and trees like those that prove
	// the rules of this package.
	Scripts int

	byDir map[string]*Package
}

// Package is one folder of Go files, tests included.
type Package struct {
	// Dir is the folder, slash-separated and relative to the module's root, which is ".".
	Dir string
	// Files are in the order of their names.
	Files []*File
}

// File is one Go file.
type File struct {
	// Path is slash-separated and relative to the module's root.
	Path string
	// Lines counts all lines, comments and empty ones too.
	Lines int
	// Test says that the name ends in _test.go.
	Test bool
	// AST is the parsed file with its comments.
	AST *ast.File
}

// Finding is one place that breaks a rule.
type Finding struct {
	// Where is a file and line, a file, or a folder.
	Where string
	// What says what is wrong there and why that matters.
	What string
}

// String returns the finding as one line of text.
func (f Finding) String() string { return f.Where + ": " + f.What }

// Load parses every Go file below the root of fsys. It returns the first error of reading or parsing.
func Load(fsys fs.FS) (*Tree, error) {
	t := &Tree{Fset: token.NewFileSet(), byDir: map[string]*Package{}}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && skipped(name):
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		return t.add(fsys, name)
	})
	if err != nil {
		return nil, fmt.Errorf("load source: %w", err)
	}
	slices.SortFunc(t.Packages, func(a, b *Package) int { return strings.Compare(a.Dir, b.Dir) })
	return t, nil
}

func skipped(dir string) bool {
	base := path.Base(dir)
	return dir != "." && (base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_"))
}

// add takes in one file: Go source outside testdata, a script inside.
func (t *Tree) add(fsys fs.FS, name string) error {
	data := strings.Contains("/"+name, "/testdata/")
	goFile := path.Ext(name) == ".go" && !data
	if !goFile && (path.Ext(name) != ".txtar" || !data) {
		return nil
	}
	src, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	if !goFile {
		t.Scripts += count(src)
		return nil
	}
	file, err := parser.ParseFile(t.Fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(name)
	if t.byDir[dir] == nil {
		t.byDir[dir] = &Package{Dir: dir}
		t.Packages = append(t.Packages, t.byDir[dir])
	}
	t.byDir[dir].Files = append(t.byDir[dir].Files, &File{
		Path: name, Lines: count(src), Test: strings.HasSuffix(name, "_test.go"), AST: file,
	})
	return nil
}

// count counts lines, the last one also without a newline.
func count(src []byte) int {
	n := bytes.Count(src, []byte("\n"))
	if len(src) > 0 && src[len(src)-1] != '\n' {
		n++
	}
	return n
}

func (t *Tree) where(pos token.Pos) string {
	p := t.Fset.Position(pos)
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// code returns the files that are no tests.
func (p *Package) code() []*File {
	return slices.DeleteFunc(slices.Clone(p.Files), func(f *File) bool { return f.Test })
}

// forTests reports whether only tests use the package, as a suite for adapters: its code imports testing.
func (p *Package) forTests() bool {
	return slices.ContainsFunc(p.code(), func(f *File) bool { return importName(f, "testing") != "" })
}
