// Command zips builds the Lambda functions and packs each of them, the same bytes every time: `go run ./infra/zips`.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
)

func main() {
	var b build
	flag.StringVar(&b.arch, "arch", "arm64", "arm64, x86_64, or host for the one of this machine")
	flag.StringVar(&b.out, "out", filepath.Join("bin", "functions"), "the folder for the zips, each with its program beside it")
	flag.StringVar(&b.version, "version", "unknown", "what the functions say that their version is")
	flag.Parse()
	switch b.arch {
	case "x86_64":
		b.arch = "amd64"
	case "host":
		b.arch = runtime.GOARCH
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	names := flag.Args()
	if len(names) == 0 {
		names = functions()
	}
	for _, name := range names {
		size, err := b.function(ctx, name)
		if err != nil {
			fmt.Fprintf(os.Stderr, "zips: %s: %s\n", name, err)
			os.Exit(1)
		}
		fmt.Printf("%-12s %6.2f MB\n", name, float64(size)/1e6)
		if size > maxZip {
			fmt.Fprintf(os.Stderr, "zips: %s: more than the %d MB of the budget\n", name, maxZip/1000/1000)
			os.Exit(1)
		}
	}
}
