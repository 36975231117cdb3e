package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/serve"
)

// ImportCmd loads an export into an empty data directory.
type ImportCmd struct {
	DataDir string `required:"" help:"The data directory, which has no cluster yet; made where it is missing." placeholder:"D"`
	File    string `arg:"" optional:"" default:"-" help:"The export; - or nothing reads standard input."`
}

// Run checks and loads all of it, or nothing.
func (c *ImportCmd) Run(a *App) error {
	var from io.Reader = a.Stdin
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return &failure{what: "import", why: err}
		}
		defer func() { _ = f.Close() }()
		from = f
	}
	what := "import into " + c.DataDir
	return a.screen.during(what, func() error {
		done, err := serve.Import(a.Context, c.DataDir, from)
		if err != nil {
			return &failure{what: what, why: err, next: whileServing(err)}
		}
		a.screen.note("imported %s: %d records, %d live secrets; start it with: keyturn serve --data-dir %s",
			done.Cluster, done.Records, done.Hashes, shellWord(c.DataDir))
		return a.data(fmt.Sprintln(done.Cluster))
	})
}

// whileServing is what to do about a data directory that is in use.
func whileServing(err error) string {
	if errors.Is(err, bolt.ErrLocked) {
		return "stop the keyturn serve that has it, and run this again"
	}
	return ""
}
