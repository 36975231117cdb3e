// Command import loads an export of a cluster into a DynamoDB table that has none: with it a cluster moves from one machine
// to AWS without a new bootstrap, and a lost table comes back from any copy of the ledger.
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

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/dynamo"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/keys/kms"
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
	err := run(ctx, *table, *key, flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, "import:", err)
		stop()
		os.Exit(map[bool]int{true: 3, false: 1}[errors.Is(err, authority.ErrNotVouched)])
	}
}

func run(ctx context.Context, table, key, file string) error {
	aws, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	store, err := dynamo.Open(ctx, dynamodb.NewFromConfig(aws), table, aws.Region, dynamo.Options{})
	if err != nil {
		return err
	}
	custody := keys.NewSealed(kms.New(awskms.NewFromConfig(aws), key))
	err = loadFile(ctx, store, custody, file, os.Stdout)
	if err == nil {
		err = takeHome(ctx, store, custody, aws.Region, time.Now())
	}
	return errors.Join(err, store.Close())
}

// takeHome makes the region of the table the home: the one of the export is where the cluster came from. Where it is the same,
// nothing is written.
func takeHome(ctx context.Context, store authority.Store, custody authority.Custody, region string, now time.Time) error {
	a, err := authority.Open(ctx, store, custody, authority.Options{Region: region})
	if err != nil {
		return err
	}
	_, err = a.TakeHome(ctx, authority.Origin{At: now.UTC().Truncate(time.Second), Reason: "imported"})
	return err
}
