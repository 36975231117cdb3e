package dynamo

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Check looks at the table as such, and says what is wrong with it: it is not there or not ready, its key is another one,
// or nothing in it ever expires. It takes the right to describe the table and its time to live.
func (s *Store) Check(ctx context.Context) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := s.checkKey(ctx); err != nil {
		return err
	}
	var out *dynamodb.DescribeTimeToLiveOutput
	err = s.insist(ctx, "look at the time to live", func(ctx context.Context) (err error) {
		out, err = s.api.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: &s.table}, once)
		return err
	})
	if err != nil {
		return err
	}
	ttl := out.TimeToLiveDescription
	if ttl == nil || ttl.TimeToLiveStatus != types.TimeToLiveStatusEnabled && ttl.TimeToLiveStatus != types.TimeToLiveStatusEnabling {
		return fmt.Errorf("table %s has no time to live: switch it on for the attribute %s, or superseded hashes stay for ever", s.table, expiresAt)
	}
	if name := aws.ToString(ttl.AttributeName); name != expiresAt {
		return fmt.Errorf("table %s has its time to live on the attribute %s, not on %s", s.table, name, expiresAt)
	}
	return nil
}

func (s *Store) checkKey(ctx context.Context) error {
	var out *dynamodb.DescribeTableOutput
	err := s.insist(ctx, "look at the table", func(ctx context.Context) (err error) {
		out, err = s.api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &s.table}, once)
		return err
	})
	if err != nil {
		return err
	}
	t := out.Table
	if t == nil || t.TableStatus != types.TableStatusActive && t.TableStatus != types.TableStatusUpdating {
		return fmt.Errorf("table %s is not ready", s.table)
	}
	typeOf := map[string]types.ScalarAttributeType{}
	for _, a := range t.AttributeDefinitions {
		typeOf[aws.ToString(a.AttributeName)] = a.AttributeType
	}
	found := ""
	for _, k := range t.KeySchema {
		name := aws.ToString(k.AttributeName)
		found += fmt.Sprintf(" %s (%s, %s)", name, k.KeyType, typeOf[name])
	}
	if want := " pk (HASH, S) sk (RANGE, S)"; found != want {
		return fmt.Errorf("table %s has the key%s, keyturn's has%s: this is another table", s.table, found, want)
	}
	return nil
}
