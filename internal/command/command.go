// Package command is how keyturn's programs meet the system: the signals that they are sent, and the version of their build.
package command

import (
	"cmp"
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// Run runs a program and returns its exit status. Its context ends when the person or the system wants it to stop. Its version is
// the one that the linker was told, or else what the go command knows of the build.
func Run(linked string, program func(ctx context.Context, version string) (exit int)) (exit int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	info, known := debug.ReadBuildInfo()
	if linked == "" && known {
		linked = info.Main.Version
	}
	return program(ctx, cmp.Or(linked, "(devel)"))
}

// Hasten lets a second signal to stop end the program at once, when the first one has ended the context of Run; until the
// function that it returns is called.
func Hasten(ctx context.Context) (undo func() bool) {
	return context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt, syscall.SIGTERM) })
}

// OnHangup calls reload at each SIGHUP, of which the program would die, until stop is called. What comes of it is for reload to
// log.
func OnHangup(reload func() error) (stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for range hangups {
			_ = reload()
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(hangups)
	}
}
