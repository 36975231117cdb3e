package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/dynamo"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/keys/kms"
)

// run loads a file, or standard input where it has no name, into a table, with keys that a KMS key seals.
func run(ctx context.Context, table, key, file string, now func() time.Time) error {
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
		err = takeHome(ctx, store, custody, aws.Region, now())
	}
	return errors.Join(err, store.Close())
}

// takeHome makes the region of the table the home: the one of the export is where the cluster came from. It publishes a token
// key that the functions can open, so that they issue tokens at once. What is so already is not written again.
func takeHome(ctx context.Context, store authority.Store, custody authority.Custody, region string, now time.Time) error {
	a, err := authority.Open(ctx, store, custody, authority.Options{Region: region})
	if err != nil {
		return err
	}
	at := now.UTC().Truncate(time.Second)
	if _, err := a.TakeHome(ctx, authority.Origin{At: at, Reason: "imported"}); err != nil {
		return err
	}
	return a.EnsureKeys(ctx, at)
}
