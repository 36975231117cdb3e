// Keyturn-sidecar runs on each host of a cluster: it joins with a key that works once, keeps a checked copy of the ledgers on
// disk, and answers token, introspection and forward-auth requests from memory, with or without the authority. What it answers
// is decided by internal/agent; this package reads what people type, and tells them what came of it.
package main

import (
	"cmp"
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

var version string // set by the linker: make build

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	app := App{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Env: os.Getenv, Now: time.Now, Context: ctx, Version: ofBuild(),
	}
	exit := app.Run(os.Args[1:])
	stop()
	os.Exit(exit)
}

// ofBuild is the version that the linker was told, or else what the go command knows of it.
func ofBuild() string {
	info, ok := debug.ReadBuildInfo()
	if version != "" || !ok || info.Main.Version == "" {
		return cmp.Or(version, "(devel)")
	}
	return info.Main.Version
}
