package dynamo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyturn/keyturn/internal/authority"
)

// errClaimed says that somebody else has a claim.
var errClaimed = fmt.Errorf("%w: claimed already", authority.ErrConflict)

// claimSlack is how much longer than the claim its item stays: the clock of an operation may be behind DynamoDB's.
const claimSlack = time.Hour

// claimItem is a claim as an item, and the condition under which it may be written.
func (s *Store) claimItem(c authority.Claim) (it item, condition string, values item) {
	it = key(claimPK(c.Key), s.region)
	it[attrOwner] = text(rand.Text())
	if c.Value != nil {
		it[attrValue] = bytesOf(c.Value)
	}
	it = date(it, attrUntil, c.ExpiresAt)
	it = date(it, attrYields, c.Yields)
	it = date(it, expiresAt, c.ExpiresAt.Add(claimSlack))
	return it, "attribute_not_exists(pk) OR u <= :at OR y <= :at", item{":at": number(c.At.Unix())}
}

// Claim takes c alone. A claim of another region counts as soon as it has arrived here. See authority.Store.
func (s *Store) Claim(ctx context.Context, c authority.Claim) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if !validName(c.Key) {
		return fmt.Errorf("claim: a key has at least one and at most %d bytes", maxName)
	}
	held, err := s.claims(ctx, c.Key)
	if err != nil {
		return err
	}
	for _, h := range held {
		if !h.Gives(c.At) {
			return errClaimed
		}
	}
	it, condition, values := s.claimItem(c)
	in := &dynamodb.PutItemInput{
		TableName: &s.table, Item: it, ConditionExpression: &condition, ExpressionAttributeValues: values,
		ReturnValuesOnConditionCheckFailure: allOld,
	}
	return s.insist(ctx, "claim", func(ctx context.Context) error {
		_, err := s.api.PutItem(ctx, in, once)
		var failed *types.ConditionalCheckFailedException
		if !errors.As(err, &failed) {
			return err
		}
		if getText(failed.Item, attrOwner) == getText(it, attrOwner) {
			return nil // an attempt whose answer was lost
		}
		return verdict{errClaimed}
	})
}

// Claimed returns the claim under key: of several regions' the one that holds longest. See authority.Store.
func (s *Store) Claimed(ctx context.Context, key string) (authority.Claim, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return authority.Claim{}, err
	}
	defer leave()
	var longest authority.Claim
	held, err := s.claims(ctx, key)
	for _, c := range held {
		if longest.Key == "" || c.ExpiresAt.After(longest.ExpiresAt) {
			longest = c
		}
	}
	if err == nil && longest.Key == "" {
		err = fmt.Errorf("claim: %w", authority.ErrNotFound)
	}
	return longest, err
}

func (s *Store) claims(ctx context.Context, key string) ([]authority.Claim, error) {
	var held []authority.Claim
	err := s.query(ctx, "read a claim", claimPK(key), "", 0, func(it item) (bool, error) {
		held = append(held, authority.Claim{Key: key, Value: getBytes(it, attrValue), ExpiresAt: getDate(it, attrUntil), Yields: getDate(it, attrYields)})
		return true, nil
	})
	return held, err
}
