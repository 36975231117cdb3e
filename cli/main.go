// Keyturn is the command line of keyturn: it calls the API of an authority or a sidecar, keeps contexts and secrets in a
// config file, issues licenses, and works on a stopped authority's data directory. What a command means is decided by the
// authority; this package reads what people type, tells them what came of it, and makes sure that no answer with a secret
// in it is lost.
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
