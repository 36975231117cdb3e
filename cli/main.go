// Keyturn is the command line of keyturn: it calls the API of an authority or a sidecar, keeps contexts and secrets in a
// config file, issues licenses, and works on a stopped authority's data directory. What a command means is decided by the
// authority; this package reads what people type, tells them what came of it, and makes sure that no answer with a secret
// in it is lost.
package main

import (
	"context"
	"os"
	"time"

	"github.com/keyturn/keyturn/internal/command"
)

var version string // set by the linker: make build

func main() {
	os.Exit(command.Run(version, func(ctx context.Context, version string) int {
		app := App{
			Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
			Env: os.Getenv, Now: time.Now, Context: ctx, Version: version,
		}
		return app.Run(os.Args[1:])
	}))
}
