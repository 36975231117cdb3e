package dynamo

import (
	"context"
	"fmt"
	"math"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyturn/keyturn/internal/authority"
)

// query visits the items of one partition in order, from a sort key on, as long as visit says so. most bounds the items of
// one page; 0 leaves that to DynamoDB (1 MB).
func (s *Store) query(ctx context.Context, doing, pk, from string, most int, visit func(item) (more bool, err error)) error {
	condition, values := "pk = :pk", item{":pk": text(pk)}
	if from != "" {
		condition, values[":from"] = condition+" AND sk >= :from", text(from)
	}
	in := &dynamodb.QueryInput{
		TableName: &s.table, ConsistentRead: aws.Bool(true),
		KeyConditionExpression: &condition, ExpressionAttributeValues: values,
	}
	if most > 0 {
		in.Limit = aws.Int32(int32(min(most, math.MaxInt32)))
	}
	for {
		var out *dynamodb.QueryOutput
		err := s.insist(ctx, doing, func(ctx context.Context) (err error) {
			out, err = s.api.Query(ctx, in, once)
			return err
		})
		if err != nil {
			return err
		}
		for _, it := range out.Items {
			if more, err := visit(it); err != nil || !more {
				return err
			}
		}
		if len(out.LastEvaluatedKey) == 0 {
			return nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

// entries puts the items of a ledger, or of a subject, together again: a hash comes right after its entry.
type entries struct {
	s       *Store
	region  string // of a ledger; "" where the sort keys name it
	subject string
	found   []authority.Entry
	ends    []uint64 // the last sequence of each entry's batch
	hashed  []bool   // whether each entry came with a hash
}

func (es *entries) take(it item) error {
	region, seq, hash, ok := place(getText(it, keySK))
	if es.region != "" {
		ok = ok && region == ""
		region = es.region
	}
	if !ok {
		return es.s.broken(it)
	}
	if hash {
		if n := len(es.found); n > 0 && es.found[n-1].Seq == seq && es.found[n-1].Region == region {
			es.found[n-1].Secret, es.found[n-1].SecretExpires = getBytes(it, attrHash), getDate(it, expiresAt)
		}
		return nil // the hash of a copy that has expired, or not arrived yet
	}
	e := authority.Entry{
		Region: region, Seq: seq, Subject: es.subject, Data: getBytes(it, attrData), CopyExpires: getDate(it, expiresAt),
	}
	if e.Subject == "" {
		e.Subject = getText(it, attrSubject)
	}
	if e.Subject == "" || e.Data == nil {
		return es.s.broken(it)
	}
	end, _ := getNumber(it, attrEnd)
	_, hashed := getNumber(it, attrHashed)
	es.found, es.ends, es.hashed = append(es.found, e), append(es.ends, end), append(es.hashed, hashed)
	return nil
}

// Subject returns every entry of one subject, in one strongly consistent query. See authority.Store.
func (s *Store) Subject(ctx context.Context, subject string) ([]authority.Entry, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if !validName(subject) {
		return nil, fmt.Errorf("subject %.64q: %w", subject, authority.ErrNotFound)
	}
	var es entries
	err = s.visibly(ctx, "read "+subject, func(ctx context.Context) error {
		es = entries{s: s, subject: subject}
		err := s.query(ctx, "read "+subject, subjectPK(subject), "", 0, func(it item) (bool, error) {
			return true, es.take(it)
		})
		if err == nil && !s.seen.whole(s.region, subject, es.found) {
			err = errLagging
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s.seen.note(subject, es.found, es.hashed)
	if len(es.found) == 0 {
		return nil, fmt.Errorf("subject %s: %w", subject, authority.ErrNotFound)
	}
	return es.found, nil
}

// Ledger returns a part of one region's ledger. CopyExpires is not filled in: that is the subject's. See authority.Store.
func (s *Store) Ledger(ctx context.Context, region string, after uint64, limit int) ([]authority.Entry, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if !validRegion(region) || after == math.MaxUint64 || limit <= 0 {
		return nil, nil
	}
	var found []authority.Entry
	doing := "read the ledger of " + region
	err = s.visibly(ctx, doing, func(ctx context.Context) error {
		es := entries{s: s, region: region}
		err := s.query(ctx, doing, ledgerPK(region), ledgerSK(after+1), 2*limit+1, func(it item) (bool, error) {
			err := es.take(it)
			return len(es.found) <= limit, err
		})
		var whole bool
		found, whole = es.page(after, limit)
		if err == nil && !whole && region == s.region {
			err = errLagging
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// page cuts off what comes after a hole, and a batch at the end that is not complete: its other items are on their way. It
// reports whether nothing had to be cut off.
func (es *entries) page(after uint64, limit int) (found []authority.Entry, whole bool) {
	n := 0
	for n < len(es.found) && es.found[n].Seq == after+uint64(n)+1 {
		n++
	}
	whole = n == len(es.found)
	if n >= limit {
		return es.found[:limit], true
	}
	last := after + uint64(n)
	for n > 0 && es.ends[n-1] > last {
		n, whole = n-1, false
	}
	return es.found[:n], whole
}

// Page returns a part of a list. See authority.Store.
func (s *Store) Page(ctx context.Context, list, after string, limit int) ([]string, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if !validName(list) || limit <= 0 {
		return nil, nil
	}
	var names []string
	err = s.query(ctx, "page through "+list, listPK(list), after, limit+1, func(it item) (bool, error) {
		if name := getText(it, keySK); name != after {
			names = append(names, name)
		}
		return len(names) < limit, nil
	})
	return names, err
}

// Heads returns the head of each region. See authority.Store.
func (s *Store) Heads(ctx context.Context) (map[string]authority.Head, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return s.heads(ctx)
}

func (s *Store) heads(ctx context.Context) (map[string]authority.Head, error) {
	before := s.seen.last()
	heads := map[string]authority.Head{}
	var ours tip
	var others []string
	err := s.query(ctx, "read the heads", headPK, "", 0, func(it item) (bool, error) {
		region := getText(it, keySK)
		t, ok := readTip(it)
		if !ok {
			return false, s.broken(it)
		}
		heads[region] = t.head
		if region == s.region {
			ours = t
		} else {
			others = append(others, region)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	s.seen.learn(before, ours)
	s.seen.hear(others)
	return heads, nil
}
