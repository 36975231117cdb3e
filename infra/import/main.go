// Command import loads an export of a cluster into a DynamoDB table that has none: with it a cluster moves from one machine
// to AWS without a new bootstrap, and a lost table comes back from any copy of the ledger: `keyturn-sidecar export` writes
// down that of a host.
//
//	import -table T -key K [F]
//
// T is the table's name and K the KMS key that seals the keys of the functions; F is the export, else standard input. The
// account and the region are those of the AWS configuration. Where the ledger does not trust a key of the functions yet, the
// command prints what makes the old authority vouch for one, and exits with 3; with another error it exits with 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
)

func main() {
	table := flag.String("table", "", "name of the DynamoDB `table`")
	key := flag.String("key", "", "ARN, id or alias of the KMS `key` of the functions")
	flag.Parse()
	if *table == "" || *key == "" || flag.NArg() > 1 {
		fmt.Fprintln(os.Stderr, "import: want -table T -key K and at most one file")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, *table, *key, flag.Arg(0), time.Now)
	if err != nil {
		fmt.Fprintln(os.Stderr, "import:", err)
		stop()
		os.Exit(map[bool]int{true: 3, false: 1}[errors.Is(err, authority.ErrNotVouched)])
	}
}
