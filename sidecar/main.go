// Keyturn-sidecar runs on each host of a cluster: it joins with a key that works once, keeps a checked copy of the ledgers on
// disk, and answers token, introspection and forward-auth requests from memory, with or without the authority. What it answers
// is decided by internal/agent; this package reads what people type, and tells them what came of it.
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
