package archtest

import (
	"go/ast"
	"go/token"
)

// Undocumented returns every package and every exported name without a doc comment: functions, types, methods of
// exported types, methods of exported interfaces, constants and variables (where the comment of their group will do).
func (t *Tree) Undocumented() []Finding {
	var found []Finding
	for _, p := range t.Packages {
		files := p.code()
		documented := len(files) == 0
		for _, f := range files {
			documented = documented || f.AST.Doc.Text() != ""
		}
		if !documented {
			found = append(found, Finding{p.Dir, "the package has no comment: say what it is for and what it refuses to know"})
		}
		for _, f := range files {
			for _, name := range bare(f) {
				found = append(found, Finding{t.where(name.Pos()), name.Name + " has no comment: give parameters, units, errors and the RFC's section"})
			}
		}
	}
	return found
}

// bare returns the exported names of a file that lack a comment.
func bare(f *File) []*ast.Ident {
	var names []*ast.Ident
	for _, d := range f.AST.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && exportedReceiver(d) && d.Doc.Text() == "" {
				names = append(names, d.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				names = append(names, bareSpec(d, spec)...)
			}
		}
	}
	return names
}

func bareSpec(d *ast.GenDecl, spec ast.Spec) []*ast.Ident {
	var names []*ast.Ident
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if !s.Name.IsExported() {
			return nil
		}
		if s.Doc.Text() == "" && (d.Lparen != token.NoPos || d.Doc.Text() == "") {
			names = append(names, s.Name)
		}
		if i, ok := s.Type.(*ast.InterfaceType); ok {
			names = append(names, bareFields(i.Methods)...)
		}
	case *ast.ValueSpec:
		if s.Doc.Text() == "" && s.Comment.Text() == "" && d.Doc.Text() == "" {
			names = exported(s.Names)
		}
	}
	return names
}

func bareFields(list *ast.FieldList) []*ast.Ident {
	var names []*ast.Ident
	for _, m := range list.List {
		if m.Doc.Text() == "" && m.Comment.Text() == "" {
			names = append(names, exported(m.Names)...)
		}
	}
	return names
}

func exported(names []*ast.Ident) []*ast.Ident {
	var out []*ast.Ident
	for _, n := range names {
		if n.IsExported() {
			out = append(out, n)
		}
	}
	return out
}

// exportedReceiver says that a function is no method, or a method of an exported type.
func exportedReceiver(fn *ast.FuncDecl) bool {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return true
	}
	for e := fn.Recv.List[0].Type; ; {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}
