package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

const defaultRound = 2 * time.Second

// options of a run.
type options struct {
	role        string
	dir         string
	authority   string
	only        string
	credentials int
	connections int
	rounds      int
	round       time.Duration
}

// run is a server where a parent has started this process as one, else the whole measurement.
func run(ctx context.Context, o options) error {
	switch o.role {
	case "bare":
		return serveBare()
	case "authority":
		return serveAuthority(ctx, o.dir)
	case "sidecar":
		return serveSidecar(ctx, o)
	case "empty":
		return serveEmpty()
	}
	dir, err := os.MkdirTemp("", "keyturn-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // only figures were in it
	fmt.Printf("%-58s %10s %10s\n", "what", "budget", "measured")
	for _, m := range []struct {
		name    string
		measure func(context.Context, options, string) error
	}{{"writes", writes}, {"checks", checks}, {"seen", seen}, {"tokens", tokens}, {"sidecar", sidecars}, {"revocations", revocations}} {
		if o.only != "" && o.only != m.name {
			continue
		}
		if err := m.measure(ctx, o, dir); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

// report prints one line of the table.
func report(what, budget, measured string) {
	fmt.Printf("%-58s %10s %10s\n", what, budget, measured)
}
