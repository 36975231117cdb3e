package archtest

import (
	"go/ast"
	"go/token"
	"go/types"
	"path"
	"strings"
)

const whyState = "a package has no mutable state: two clusters in one process, and parallel tests, must not meet in it"

// State returns every init function and every package variable that can change: one that is assigned anywhere but in
// its declaration, whose address is taken, that holds a channel or something of sync, or that is a map which is more
// than a table to look things up in. Sentinel errors, compiled expressions, embedded files and tables are fine.
// Variables of tests are not looked at.
func (t *Tree) State() []Finding {
	var found []Finding
	for _, p := range t.Packages {
		found = append(found, t.inits(p)...)
		s := t.resolve(p)
		for _, f := range p.code() {
			found = append(found, s.declared(f)...)
			found = append(found, s.changed(f)...)
		}
	}
	return found
}

func (t *Tree) inits(p *Package) []Finding {
	var found []Finding
	for _, f := range p.Files {
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				found = append(found, Finding{t.where(fn.Pos()), "init function: importing a package must do nothing; build values where they are used"})
			}
		}
	}
	return found
}

// scope is one package with its names resolved.
type scope struct {
	*Tree
	info *types.Info
}

// resolve finds out what each name in a package refers to. Imports are hollow and every complaint of the type checker
// is dropped: what matters are the package's own variables, and for those that is enough.
func (t *Tree) resolve(p *Package) scope {
	s := scope{t, &types.Info{
		Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
	}}
	var files []*ast.File
	for _, f := range p.code() {
		files = append(files, f.AST)
	}
	conf := types.Config{Importer: hollow{}, Error: func(error) {}, DisableUnusedImportCheck: true, FakeImportC: true}
	_, _ = conf.Check(p.Dir, t.Fset, files, s.info)
	return s
}

type hollow struct{}

// Import implements types.Importer with packages that declare nothing.
func (hollow) Import(importPath string) (*types.Package, error) {
	p := types.NewPackage(importPath, path.Base(importPath))
	p.MarkComplete()
	return p, nil
}

// packageOf returns the import path that a name stands for, or "".
func (s scope) packageOf(e ast.Expr) string {
	if id, ok := e.(*ast.Ident); ok {
		if p, ok := s.info.Uses[id].(*types.PkgName); ok {
			return p.Imported().Path()
		}
	}
	return ""
}

// variable returns the package variable that a name stands for, or nil.
func (s scope) variable(id *ast.Ident) *types.Var {
	v, ok := s.info.Uses[id].(*types.Var)
	if !ok || v.Parent() == nil || v.Pkg() == nil || v.Parent() != v.Pkg().Scope() {
		return nil
	}
	return v
}

// declared judges the declarations of package variables alone.
func (s scope) declared(f *File) []Finding {
	var found []Finding
	for _, d := range f.AST.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.VAR {
			continue
		}
		for _, spec := range decl.Specs {
			v := spec.(*ast.ValueSpec)
			for i, name := range v.Names {
				if what := s.fault(v, i); what != "" && name.Name != "_" {
					found = append(found, Finding{s.where(name.Pos()), name.Name + " " + what + ": " + whyState})
				}
			}
		}
	}
	return found
}

func (s scope) fault(v *ast.ValueSpec, i int) string {
	var value ast.Expr
	if len(v.Values) == len(v.Names) {
		value = v.Values[i]
	}
	if what := s.holds(v.Type); what != "" {
		return what
	}
	if what := s.holds(value); what != "" {
		return what
	}
	obj := s.info.Defs[v.Names[i]]
	if obj == nil || !isMap(obj.Type()) {
		return ""
	}
	if lit, ok := value.(*ast.CompositeLit); value == nil || isMake(value) || ok && len(lit.Elts) == 0 {
		return "is a map that starts empty"
	}
	if v.Names[i].IsExported() {
		return "is an exported map, which every importer can write to"
	}
	return ""
}

// holds looks for what exists to be changed, in a type or in the value that a variable starts with.
func (s scope) holds(e ast.Expr) (what string) {
	if e == nil {
		return ""
	}
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit, *ast.FuncType:
			return false
		case *ast.ChanType:
			what = "holds a channel"
		case *ast.SelectorExpr:
			p := s.packageOf(n.X)
			// A OnceValue is a constant that is computed late.
			if (p == "sync" || p == "sync/atomic") && !strings.HasPrefix(n.Sel.Name, "OnceValue") {
				what = "holds a " + p + "." + n.Sel.Name
			}
		}
		return what == ""
	})
	return what
}

func isMap(t types.Type) bool {
	_, ok := t.Underlying().(*types.Map)
	return ok
}

func isMake(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	return ok && isIdent(call.Fun, "make")
}
