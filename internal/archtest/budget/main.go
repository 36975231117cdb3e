// Command budget prints the size thermometer of the module that it is run in: for each row of the size table what to
// aim for, the hard limit and the state of things, then the worst offenders.
//
// Exit status: 0 where every hard limit holds, 1 where one is broken, 2 where the source cannot be read.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/keyturn/keyturn/internal/archtest"
)

func main() {
	broken, err := budget(context.Background(), os.Stdout)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "budget:", err)
		os.Exit(2)
	case broken:
		os.Exit(1)
	}
}

func budget(ctx context.Context, w io.Writer) (broken bool, err error) {
	root, err := archtest.Root(".")
	if err != nil {
		return false, err
	}
	tree, err := archtest.Load(os.DirFS(root))
	if err != nil {
		return false, err
	}
	_, requires, err := archtest.GoMod(ctx, root)
	if err != nil {
		return false, err
	}
	size := tree.Measure(requires)
	return len(size.Broken()) > 0, size.Print(w)
}
