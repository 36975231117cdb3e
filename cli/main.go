// Keyturn is the command line of keyturn: it calls the API of an authority or a sidecar, keeps contexts and secrets in a
// config file, issues licenses, and works on a stopped authority's data directory. What a command means is decided by the
// authority; this package reads what people type, tells them what came of it, and makes sure that no answer with a secret
// in it is lost.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	app := App{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Env: os.Getenv, Now: time.Now, Context: ctx, Version: version(),
	}
	exit := app.Run(os.Args[1:])
	stop()
	os.Exit(exit)
}

// version is what the build says of itself.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
