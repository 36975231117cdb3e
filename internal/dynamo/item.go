package dynamo

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyturn/keyturn/internal/authority"
)

// What lies where. A hash is an item of its own beside its entry, so that it can expire alone.
//
//	pk             sk                     attributes
//	L#<region>     <20 digits>            s d e        an entry of the ledger; e is the last sequence of its batch
//	L#<region>     <20 digits>#h          s x expires_at
//	S#<subject>    <region>#<20 digits>   d h expires_at the subject's copy
//	S#<subject>    <region>#<20 digits>#h x expires_at
//	H              <region>               n x w        the head; w says which subjects its batch touched, and where
//	D#<list>       <subject>                           a list has the subject
//	C#<key>        <region>               v u y o expires_at
//	N#<region>     <name>                 n            a counter
const (
	keyPK     = "pk"
	keySK     = "sk"
	expiresAt = "expires_at" // the TTL attribute: seconds since 1970

	attrSubject = "s"
	attrData    = "d"
	attrEnd     = "e"
	attrHash    = "x" // of a secret; in the head the ledger's sum
	attrNumber  = "n"
	attrWrote   = "w"
	attrValue   = "v"
	attrUntil   = "u"
	attrYields  = "y"
	attrHashed  = "h" // 1 where the entry came with a hash
	attrOwner   = "o"

	headPK     = "H"
	hashSuffix = "#h"
)

type item = map[string]types.AttributeValue

func ledgerPK(region string) string   { return "L#" + region }
func subjectPK(subject string) string { return "S#" + subject }
func listPK(list string) string       { return "D#" + list }
func claimPK(key string) string       { return "C#" + key }
func counterPK(region string) string  { return "N#" + region }

func ledgerSK(seq uint64) string              { return fmt.Sprintf("%020d", seq) }
func copySK(region string, seq uint64) string { return region + "#" + ledgerSK(seq) }

func key(pk, sk string) item { return item{keyPK: text(pk), keySK: text(sk)} }

func text(s string) types.AttributeValue    { return &types.AttributeValueMemberS{Value: s} }
func bytesOf(b []byte) types.AttributeValue { return &types.AttributeValueMemberB{Value: b} }

func number[T int | int64 | uint64](n T) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: fmt.Sprint(n)}
}

// date sets an attribute to an instant; the zero instant is none.
func date(it item, attr string, t time.Time) item {
	if !t.IsZero() {
		it[attr] = number(t.Unix())
	}
	return it
}

func getText(it item, attr string) string {
	s, _ := it[attr].(*types.AttributeValueMemberS)
	if s == nil {
		return ""
	}
	return s.Value
}

func getBytes(it item, attr string) []byte {
	b, _ := it[attr].(*types.AttributeValueMemberB)
	if b == nil {
		return nil
	}
	return b.Value
}

func getNumber(it item, attr string) (n uint64, ok bool) {
	v, _ := it[attr].(*types.AttributeValueMemberN)
	if v == nil {
		return 0, false
	}
	n, err := strconv.ParseUint(v.Value, 10, 64)
	return n, err == nil
}

func getDate(it item, attr string) time.Time {
	v, _ := it[attr].(*types.AttributeValueMemberN)
	if v == nil {
		return time.Time{}
	}
	n, err := strconv.ParseInt(v.Value, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

// place reads the sequence at the end of a sort key, and whether the item is a hash.
func place(sk string) (region string, seq uint64, hash, ok bool) {
	sk, hash = strings.CutSuffix(sk, hashSuffix)
	if i := strings.LastIndexByte(sk, '#'); i >= 0 {
		region, sk = sk[:i], sk[i+1:]
	}
	seq, err := strconv.ParseUint(sk, 10, 64)
	return region, seq, hash, err == nil && len(sk) == len(ledgerSK(0))
}

func (s *Store) broken(it item) error {
	return fmt.Errorf("table %s: the item %s / %s is not as keyturn writes it", s.table, getText(it, keyPK), getText(it, keySK))
}

// put is the action that writes a whole item, under a condition where that is not empty.
func (s *Store) put(it item, condition string, values item) types.TransactWriteItem {
	p := &types.Put{TableName: &s.table, Item: it}
	if condition != "" {
		p.ConditionExpression, p.ReturnValuesOnConditionCheckFailure = &condition, allOld
	}
	if len(values) > 0 {
		p.ExpressionAttributeValues = values
	}
	return types.TransactWriteItem{Put: p}
}

func (s *Store) update(k item, update, condition string, values item) types.TransactWriteItem {
	return types.TransactWriteItem{Update: &types.Update{
		TableName: &s.table, Key: k, UpdateExpression: &update, ConditionExpression: &condition,
		ExpressionAttributeValues: values, ReturnValuesOnConditionCheckFailure: allOld,
	}}
}

const allOld = types.ReturnValuesOnConditionCheckFailureAllOld

// checkBatch refuses what no caller should ever ask for.
func checkBatch(b authority.Batch) error {
	if len(b.Entries) == 0 {
		return fmt.Errorf("append: a batch without entries")
	}
	for i, e := range b.Entries {
		switch {
		case e.Region != b.Region || e.Seq != b.After.Seq+uint64(i)+1:
			return fmt.Errorf("append: entry %d is %s:%d in a batch for %s after %d", i, e.Region, e.Seq, b.Region, b.After.Seq)
		case !validRegion(e.Region) || !validName(e.Subject):
			return fmt.Errorf("append: entry %d: a region and a subject have names, of at most %d bytes", i, maxName)
		}
		for _, l := range e.Lists {
			if !validName(l) {
				return fmt.Errorf("append: entry %d: a list has a name, of at most %d bytes", i, maxName)
			}
		}
	}
	return nil
}

// maxName is the longest name in bytes: a sort key takes 1024.
const maxName = 512

func validName(name string) bool {
	return name != "" && len(name) <= maxName && utf8.ValidString(name)
}

// validRegion says whether region can stand before a sequence in a sort key: names have to sort before those that they
// begin, and '#' sorts before all that is allowed here.
func validRegion(region string) bool {
	for _, c := range []byte(region) {
		if c != '-' && c != '_' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return validName(region)
}
