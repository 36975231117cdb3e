package archtest

import (
	"go/ast"
	"path"
	"slices"
	"strconv"
)

const whyClock = "time is an input, captured once per operation: take a time.Time, or an option that defaults to time.Now"

// Clock returns the places that read the clock outside commands, tests, and what is only for tests. A call of time.Now, Since or Until is one.
// Naming time.Now without calling it is fine where that sets an option's default: assigned, returned or given to a
// field inside a function; not as a package variable, and not as an argument.
func (t *Tree) Clock() []Finding {
	var found []Finding
	for _, p := range t.Packages {
		if p.forTests() {
			continue
		}
		for _, f := range p.code() {
			if f.AST.Name.Name != "main" {
				found = append(found, t.clockIn(f)...)
			}
		}
	}
	return found
}

func (t *Tree) clockIn(f *File) []Finding {
	name := importName(f, "time")
	if name == "" {
		return nil
	}
	var found []Finding
	ast.PreorderStack(f.AST, nil, func(n ast.Node, stack []ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if ok && isIdent(sel.X, name) && slices.Contains([]string{"Now", "Since", "Until"}, sel.Sel.Name) &&
			!isDefault(stack) {
			found = append(found, Finding{t.where(sel.Pos()), "time." + sel.Sel.Name + ": " + whyClock})
		}
		return true
	})
	return found
}

// isDefault says whether a value below this stack of nodes is used as a default.
func isDefault(stack []ast.Node) bool {
	if !slices.ContainsFunc(stack, func(n ast.Node) bool { _, ok := n.(*ast.FuncDecl); return ok }) {
		return false
	}
	switch stack[len(stack)-1].(type) {
	case *ast.AssignStmt, *ast.KeyValueExpr, *ast.ReturnStmt:
		return true
	}
	return false
}

// importName returns the name by which a file refers to an import, or "" when it does not import it.
func importName(f *File, importPath string) string {
	for _, spec := range f.AST.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err != nil || p != importPath {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(importPath)
	}
	return ""
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}
