// Command bench measures keyturn's budgets as ratios within one run: an authority and a bare endpoint that does only the
// unavoidable work take turns under the same load, each as a process of its own.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	o := options{}
	flag.StringVar(&o.role, "role", "", "internal: which server this process is")
	flag.StringVar(&o.dir, "dir", "", "internal: the data directory")
	flag.StringVar(&o.authority, "authority", "", "internal: the address of the authority")
	flag.StringVar(&o.only, "only", "", "which measurements to make: writes, checks, seen, tokens, sidecar or revocations; all where nothing is said")
	flag.IntVar(&o.credentials, "credentials", 100_000, "how many credentials the large cluster has")
	flag.IntVar(&o.connections, "connections", 32, "connections of the load")
	flag.IntVar(&o.rounds, "rounds", 7, "how often the two servers take turns")
	flag.DurationVar(&o.round, "round", defaultRound, "how long each turn takes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
