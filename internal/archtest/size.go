package archtest

import (
	"fmt"
	"go/ast"
	"slices"
)

// Limits of the hard column of the size table. The aims are in [Size.Print].
const (
	maxFile  = 500 // lines of a file that is no test
	maxFunc  = 80  // lines of a function that is in no test
	maxStore = 10  // methods of Store
	maxMain  = 60  // lines of the file that declares func main
	minTest  = 0.8 // lines of tests for each line of code
)

// Sized is something with a length in lines.
type Sized struct {
	// Where is a file, or a file and line with a function's name.
	Where string
	// Lines is its length, comments and empty lines included.
	Lines int
}

// Size is what the size table says about a tree, in lines unless said otherwise.
type Size struct {
	// Files and Funcs are those of code, longest first. Mains are the files that declare func main.
	Files, Funcs, Mains []Sized
	// Stores has each interface named Store; its Lines are methods.
	Stores []Sized
	// Undocumented is what [Tree.Undocumented] found.
	Undocumented []Finding
	// Code and Test count all lines of either. A package that imports testing outside its tests, as a suite for
	// adapters does, is test code; so are scripts.
	Code, Test int
	// Dependencies are the modules that the code imports directly.
	Dependencies []string
}

// Measure measures a tree; requires are the module paths that go.mod requires.
func (t *Tree) Measure(requires []string) Size {
	s := Size{Undocumented: t.Undocumented(), Dependencies: t.Dependencies(requires), Test: t.Scripts}
	for _, p := range t.Packages {
		suite := p.forTests()
		for _, f := range p.Files {
			if f.Test {
				s.Test += f.Lines
				continue
			}
			if suite {
				s.Test += f.Lines
			} else {
				s.Code += f.Lines
			}
			s.Files = append(s.Files, Sized{f.Path, f.Lines})
			s.addDecls(t, p, f)
		}
	}
	for _, list := range [][]Sized{s.Files, s.Funcs, s.Mains} {
		slices.SortStableFunc(list, func(a, b Sized) int { return b.Lines - a.Lines })
	}
	return s
}

func (s *Size) addDecls(t *Tree, p *Package, f *File) {
	for _, d := range f.AST.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			lines := t.Fset.Position(d.End()).Line - t.Fset.Position(d.Pos()).Line + 1
			s.Funcs = append(s.Funcs, Sized{t.where(d.Pos()) + " " + d.Name.Name, lines})
			if f.AST.Name.Name == "main" && d.Recv == nil && d.Name.Name == "main" {
				s.Mains = append(s.Mains, Sized{f.Path, f.Lines})
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if ts, ok := spec.(*ast.TypeSpec); ok && ts.Name.Name == "Store" && p.interfaceNamed("Store") != nil {
					s.Stores = append(s.Stores, Sized{t.where(ts.Pos()) + " Store", p.methods("Store")})
				}
			}
		}
	}
}

// interfaceNamed returns the interface that a package's code declares by this name, or nil.
func (p *Package) interfaceNamed(name string) *ast.InterfaceType {
	var found *ast.InterfaceType
	for _, f := range p.code() {
		ast.Inspect(f.AST, func(n ast.Node) bool {
			if ts, ok := n.(*ast.TypeSpec); ok && ts.Name.Name == name {
				if i, ok := ts.Type.(*ast.InterfaceType); ok {
					found = i
				}
			}
			return found == nil
		})
	}
	return found
}

// methods counts the methods of an interface and of those of the same package that it embeds; an interface of another
// package counts as one.
func (p *Package) methods(name string) int {
	i := p.interfaceNamed(name)
	if i == nil {
		return 1
	}
	n := 0
	for _, field := range i.Methods.List {
		switch e := field.Type.(type) {
		case *ast.FuncType:
			n += len(field.Names)
		case *ast.Ident:
			n += p.methods(e.Name)
		default:
			n++
		}
	}
	return n
}

// Broken returns what is over the hard column.
func (s Size) Broken() []Finding {
	var found []Finding
	for _, limit := range []struct {
		list []Sized
		max  int
		unit string
	}{
		{s.Files, maxFile, "lines in a file"},
		{s.Funcs, maxFunc, "lines in a function"},
		{s.Mains, maxMain, "lines in the file of func main, which is a stub over a value that tests can build"},
		{s.Stores, maxStore, "methods: the width of Store sets the price of every adapter"},
	} {
		for _, x := range limit.list {
			if x.Lines > limit.max {
				found = append(found, Finding{x.Where, fmt.Sprintf("%d, at most %d %s", x.Lines, limit.max, limit.unit)})
			}
		}
	}
	if s.ratio() < minTest {
		found = append(found, Finding{".", fmt.Sprintf("%d lines of tests for %d of code are %.2f, at least %.1f", s.Test, s.Code, s.ratio(), minTest)})
	}
	return append(found, s.Undocumented...)
}

// ratio is the lines of tests for each line of code; 1 where there is no code.
func (s Size) ratio() float64 {
	if s.Code == 0 {
		return 1
	}
	return float64(s.Test) / float64(s.Code)
}
