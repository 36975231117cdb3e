package main

import (
	"bufio"
	"fmt"
	"os"

	"golang.org/x/term"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// ExportCmd prints the copy of the ledgers, for a lost authority.
type ExportCmd struct {
	directory
}

// Run prints JSON lines. The last one is {"next_cursor":null}: where it is missing, the export is not whole.
func (c *ExportCmd) Run(a *App) error {
	dir, err := c.path(a)
	if err != nil {
		return err
	}
	if f, ok := a.Stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		_, _ = fmt.Fprintln(a.Stderr, "warning: this prints the hashes of all secrets: keep them in a file that only you can read: "+
			"(umask 077; keyturn-sidecar export > F)")
	}
	out := bufio.NewWriterSize(a.Stdout, 64<<10)
	lines := httpapi.NewExportWriter(out)
	if err := agent.Export(a.Context, dir, a.Now, lines.Page); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := lines.End(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("export: write to standard output: %w", err)
	}
	return nil
}
