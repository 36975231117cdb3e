package archtest

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// changed finds what a file does to package variables, its own package's and those of others.
func (s scope) changed(f *File) []Finding {
	var found []Finding
	ast.PreorderStack(f.AST, nil, func(n ast.Node, stack []ast.Node) bool {
		for _, target := range targets(n) {
			if name := s.root(target); name != "" {
				found = append(found, Finding{s.where(n.Pos()), name + " is changed here: " + whyState})
			}
		}
		if what := s.leaks(n, stack); what != "" {
			found = append(found, Finding{s.where(n.Pos()), what + ": " + whyState})
		}
		return true
	})
	return found
}

// targets returns what a node assigns to.
func targets(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		return n.Lhs // what := declares is no package variable
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			return slices.DeleteFunc([]ast.Expr{n.Key, n.Value}, func(e ast.Expr) bool { return e == nil })
		}
	case *ast.CallExpr:
		if len(n.Args) > 0 && (isIdent(n.Fun, "clear") || isIdent(n.Fun, "copy") || isIdent(n.Fun, "delete")) {
			return n.Args[:1]
		}
	}
	return nil
}

// root returns the name of the package variable that an expression is a part of, or "".
func (s scope) root(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		if v := s.variable(e); v != nil {
			return v.Name()
		}
	case *ast.SelectorExpr:
		if p := s.packageOf(e.X); p != "" {
			return foreign(p, e.Sel.Name)
		}
		return s.root(e.X)
	case *ast.IndexExpr:
		return s.root(e.X)
	case *ast.SliceExpr:
		return s.root(e.X)
	case *ast.StarExpr:
		return s.root(e.X)
	case *ast.ParenExpr:
		return s.root(e.X)
	}
	return ""
}

// foreign names a variable of another package. Those of other modules are spared: some libraries can only be
// configured that way.
func foreign(importPath, name string) string {
	first, _, _ := strings.Cut(importPath, "/")
	if strings.Contains(first, ".") && !ours(local(importPath)) {
		return ""
	}
	return local(importPath) + "." + name
}

// leaks says how a node lets a package variable out of sight, where others may change it.
func (s scope) leaks(n ast.Node, stack []ast.Node) string {
	switch n := n.(type) {
	case *ast.UnaryExpr:
		// The address of an element is common in loops that only read.
		if _, element := n.X.(*ast.IndexExpr); n.Op == token.AND && !element {
			if name := s.root(n.X); name != "" {
				return "the address of " + name + " is taken"
			}
		}
	case *ast.SelectorExpr:
		if name := s.root(n.X); name != "" && s.byAddress(n) {
			return name + "." + n.Sel.Name + " gets the address of " + name
		}
	case *ast.Ident:
		v := s.variable(n)
		if v != nil && isMap(v.Type()) && !s.reads(n, stack[len(stack)-1]) {
			return "the map " + v.Name() + " is passed on"
		}
	}
	return ""
}

// byAddress says that a method with a pointer receiver is called on a value.
func (s scope) byAddress(sel *ast.SelectorExpr) bool {
	m := s.info.Selections[sel]
	if m == nil || m.Kind() != types.MethodVal {
		return false
	}
	if _, pointer := m.Recv().Underlying().(*types.Pointer); pointer {
		return false
	}
	recv := m.Obj().(*types.Func).Signature().Recv()
	_, pointer := recv.Type().(*types.Pointer)
	return pointer
}

// reads says that a parent only reads the map that this name stands for. Writes through an index are found as
// assignments.
func (s scope) reads(id *ast.Ident, parent ast.Node) bool {
	switch p := parent.(type) {
	case *ast.IndexExpr:
		return p.X == id
	case *ast.RangeStmt:
		return p.X == id
	case *ast.AssignStmt:
		return slices.Contains(p.Lhs, ast.Expr(id)) // found already, as an assignment
	case *ast.CallExpr:
		if sel, ok := p.Fun.(*ast.SelectorExpr); ok {
			return s.packageOf(sel.X) == "maps" && slices.Contains([]string{"Keys", "Values", "All"}, sel.Sel.Name)
		}
		return isIdent(p.Fun, "len") || isIdent(p.Fun, "delete") || isIdent(p.Fun, "clear")
	case *ast.UnaryExpr:
		return true // found already, as an address
	case *ast.SelectorExpr:
		return p.X == id // a method of a named map
	}
	return false
}
