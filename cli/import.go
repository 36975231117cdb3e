package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/serve"
)

// ImportCmd loads an export, or what sidecars have, into an empty data directory.
type ImportCmd struct {
	DataDir string   `required:"" help:"The data directory, which has no cluster (any more); made where it is missing and a file is loaded." placeholder:"D"`
	File    string   `arg:"" optional:"" help:"The export; - or nothing reads standard input."`
	From    []string `sep:"none" help:"Instead of a file: the address of a sidecar, http(s)://HOST:PORT or unix:PATH, whose copy is taken; may be given again, and better is. D has to hold the cluster's ledger.key." placeholder:"URL"`
}

// Run checks and loads all of it, or nothing.
func (c *ImportCmd) Run(a *App) error {
	what := "import into " + c.DataDir
	load := c.fromFile
	switch {
	case len(c.From) > 0 && c.File != "":
		return usage("import takes a file or --from, not both")
	case len(c.From) > 0:
		load = c.fromFleet
	}
	return a.screen.during(what, func() error {
		done, err := load(a)
		var said *failure
		if errors.As(err, &said) {
			return err
		}
		if err != nil {
			return &failure{what: what, why: err, next: c.next(err)}
		}
		a.screen.note("imported %s: %d records, %d live secrets; start it with: keyturn serve --data-dir %s",
			done.Cluster, done.Records, done.Hashes, shellWord(c.DataDir))
		return a.data(fmt.Sprintln(done.Cluster))
	})
}

func (c *ImportCmd) fromFile(a *App) (authority.Imported, error) {
	var from io.Reader = a.Stdin
	if c.File != "" && c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return authority.Imported{}, err
		}
		defer func() { _ = f.Close() }()
		from = f
	}
	return serve.Import(a.Context, c.DataDir, from)
}

func (c *ImportCmd) fromFleet(a *App) (authority.Imported, error) {
	copies := make([]serve.Copy, len(c.From))
	for i, from := range c.From {
		client, err := a.copyOf(from)
		if err != nil {
			return authority.Imported{}, usage("--from " + from + ": " + err.Error())
		}
		copies[i] = serve.Copy{Name: from, Client: client}
	}
	done, err := serve.ImportFleet(a.Context, c.DataDir, copies, a.Now)
	if err != nil {
		return authority.Imported{}, err
	}
	if done.Complete.IsZero() {
		a.screen.warn("no sidecar can prove how much of the ledgers it has: compare with others before you rely on it")
	} else {
		a.screen.note("nothing is missing that was written before %s; what was written later is there as far as these sidecars "+
			"have heard of it. A sidecar that has heard more has to be told: keyturn-sidecar resync", moment(done.Complete, a.Now()))
	}
	return done.Imported, nil
}

// copyOf is how to ask a sidecar for its copy of the ledgers.
func (a *App) copyOf(from string) (*httpapi.Client, error) {
	var transport http.RoundTripper
	server := from
	if strings.HasPrefix(from, "unix:") {
		server, transport = agent.Dial(from)
	}
	client, err := httpapi.NewClient(server, httpapi.ClientOptions{Timeout: time.Duration(a.flags.Timeout), Transport: transport})
	if err == nil && client.Plain() {
		a.screen.warn("%s is not encrypted: who listens on the way sees the hashes of all secrets", from)
	}
	return client, err
}

// next is what to do about an import that failed.
func (c *ImportCmd) next(err error) string {
	var refused *httpapi.Error
	switch {
	case errors.Is(err, bolt.ErrDamaged):
		return "move the damaged file away, and run this again"
	case errors.Is(err, serve.ErrForeign), errors.Is(err, httpapi.ErrPage):
		return "leave that one out, or look at what answers there"
	case errors.As(err, &refused) && refused.Status == http.StatusUnauthorized:
		return "look at the log of that sidecar: its clock or this one is wrong, or it does not know this ledger key"
	case errors.Is(err, httpapi.ErrUnreachable):
		return "check the address, or leave that one out"
	}
	return whileServing(err)
}

// whileServing is what to do about a data directory that is in use.
func whileServing(err error) string {
	if errors.Is(err, bolt.ErrLocked) {
		return "stop the keyturn serve that has it, and run this again"
	}
	return ""
}
