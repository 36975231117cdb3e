package dynamo

import (
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyturn/keyturn/internal/authority"
)

// action is one item that a transaction touches.
type action struct {
	write  types.TransactWriteItem
	pk, sk string
	// failed says what it means that the condition did not hold, given the item that is there (nil: none): an error for
	// the whole batch, another action, or nil to leave this one out.
	failed func(there item) (*action, error)
}

// plan is a transaction in the making. No item is in it twice: DynamoDB refuses that.
type plan struct {
	s       *Store
	actions []action
	core    int // so many of the actions come before the dates of earlier entries
	has     map[[2]string]bool
}

func (p *plan) add(a action) {
	p.actions = append(p.actions, a)
	p.has[[2]string{a.pk, a.sk}] = true
}

// plan lays out a batch. What can fail for good comes first, the head before all: its failure is the reason of others.
func (s *Store) plan(b authority.Batch) (*plan, error) {
	p := &plan{s: s, has: map[[2]string]bool{}}
	entries, expiries := merge(b)
	p.head(b, entries)
	for _, c := range b.Claims {
		if err := p.claim(c); err != nil {
			return nil, err
		}
	}
	if err := p.limits(b.Limits); err != nil {
		return nil, err
	}
	end := headOf(b).Seq
	for _, e := range entries {
		p.entry(e, end)
	}
	p.core = len(p.actions)
	for _, x := range expiries {
		p.expire(s.seen.narrow(x))
	}
	return p, nil
}

// overflow takes off the dates that find no room in one transaction.
func (p *plan) overflow() []action {
	fits := min(len(p.actions), MaxActions)
	rest := p.actions[fits:]
	p.actions = slices.Clip(p.actions[:fits])
	return rest
}

// merge puts together what concerns the same entry: the earliest date wins.
func merge(b authority.Batch) ([]authority.Entry, []authority.Expiry) {
	entries := append([]authority.Entry(nil), b.Entries...)
	var expiries []authority.Expiry
	at := map[ref]int{}
	for _, x := range b.Expiries {
		if i := x.Seq - b.After.Seq - 1; x.Region == b.Region && x.Seq > b.After.Seq && i < uint64(len(entries)) {
			if e := &entries[i]; e.Subject == x.Subject {
				e.SecretExpires, e.CopyExpires = earlier(e.SecretExpires, x.Secret), earlier(e.CopyExpires, x.Copy)
			}
			continue
		}
		i, twice := at[ref{x.Region + "\x00" + x.Subject, x.Seq}]
		if !twice {
			at[ref{x.Region + "\x00" + x.Subject, x.Seq}] = len(expiries)
			expiries = append(expiries, x)
			continue
		}
		expiries[i].Secret, expiries[i].Copy = earlier(expiries[i].Secret, x.Secret), earlier(expiries[i].Copy, x.Copy)
	}
	return entries, expiries
}

// earlier returns the earlier of two dates. Zero is no date.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// head is the comparison and the swap.
func (p *plan) head(b authority.Batch, entries []authority.Entry) {
	head := headOf(b)
	it := key(headPK, b.Region)
	it[attrNumber], it[attrHash] = number(head.Seq), bytesOf(head.Sum)
	it[attrWrote] = &types.AttributeValueMemberM{Value: wroteBy(entries)}
	condition, values := "attribute_not_exists(pk)", item(nil)
	if b.After.Seq > 0 || len(b.After.Sum) > 0 {
		condition = "n = :n AND x = :x"
		values = item{":n": number(b.After.Seq), ":x": bytesOf(append([]byte{}, b.After.Sum...))}
	}
	p.add(action{
		write: p.s.put(it, condition, values), pk: headPK, sk: b.Region,
		failed: func(item) (*action, error) {
			return nil, fmt.Errorf("%w: the head of %s is not %d", authority.ErrConflict, b.Region, b.After.Seq)
		},
	})
}

func (p *plan) claim(c authority.Claim) error {
	if !validName(c.Key) {
		return fmt.Errorf("claim: a key has at least one and at most %d bytes", maxName)
	}
	a := action{pk: claimPK(c.Key), sk: p.s.region, failed: func(item) (*action, error) { return nil, errClaimed }}
	if p.has[[2]string{a.pk, a.sk}] {
		return errClaimed
	}
	it, condition, values := p.s.claimItem(c)
	a.write = p.s.put(it, condition, values)
	p.add(a)
	return nil
}

// entry writes an entry into the ledger and beside its subject, with its hash, and puts the subject into lists.
func (p *plan) entry(e authority.Entry, end uint64) {
	s := p.s
	ledger := key(ledgerPK(e.Region), ledgerSK(e.Seq))
	ledger[attrSubject], ledger[attrData], ledger[attrEnd] = text(e.Subject), bytesOf(e.Data), number(end)
	p.add(action{
		write: s.put(ledger, "attribute_not_exists(pk)", nil), pk: ledgerPK(e.Region), sk: ledgerSK(e.Seq),
		failed: func(item) (*action, error) {
			return nil, fmt.Errorf("append: table %s: the ledger of %s has an entry %d beyond its head", s.table, e.Region, e.Seq)
		},
	})
	beside := key(subjectPK(e.Subject), copySK(e.Region, e.Seq))
	beside[attrData] = bytesOf(e.Data)
	if e.Secret != nil {
		beside[attrHashed] = number(1)
	}
	p.write(date(beside, expiresAt, e.CopyExpires))
	if e.Secret != nil {
		of := key(ledgerPK(e.Region), ledgerSK(e.Seq)+hashSuffix)
		of[attrSubject], of[attrHash] = text(e.Subject), bytesOf(e.Secret)
		p.write(date(of, expiresAt, e.SecretExpires))
		of = key(subjectPK(e.Subject), copySK(e.Region, e.Seq)+hashSuffix)
		of[attrHash] = bytesOf(e.Secret)
		p.write(date(of, expiresAt, e.SecretExpires))
	}
	for _, l := range e.Lists {
		if !p.has[[2]string{listPK(l), e.Subject}] {
			p.write(key(listPK(l), e.Subject))
		}
	}
}

// write is an action that cannot fail.
func (p *plan) write(it item) {
	p.add(action{write: p.s.put(it, "", nil), pk: getText(it, keyPK), sk: getText(it, keySK)})
}

// expire moves the dates of an earlier entry forward. Where an item is gone, or has an earlier date, there is nothing to do,
// and there never will be.
func (p *plan) expire(x authority.Expiry) {
	if !validRegion(x.Region) || !validName(x.Subject) {
		return
	}
	sk := copySK(x.Region, x.Seq)
	if !x.Copy.IsZero() {
		p.moveForward(subjectPK(x.Subject), sk, "", x.Copy)
	}
	if !x.Secret.IsZero() {
		p.moveForward(subjectPK(x.Subject), sk+hashSuffix, "", x.Secret)
		p.moveForward(ledgerPK(x.Region), ledgerSK(x.Seq)+hashSuffix, x.Subject, x.Secret)
	}
}

func (p *plan) moveForward(pk, sk, subject string, to time.Time) {
	if p.has[[2]string{pk, sk}] {
		return // another subject names the same entry: at most one of them is right, and its condition tells
	}
	condition := "attribute_exists(pk) AND (attribute_not_exists(expires_at) OR expires_at >= :t)"
	values := item{":t": number(to.Unix())}
	if subject != "" {
		condition, values[":s"] = condition+" AND s = :s", text(subject)
	}
	p.add(action{
		write: p.s.update(key(pk, sk), "SET expires_at = :t", condition, values), pk: pk, sk: sk, failed: leftOut,
	})
}

func leftOut(item) (*action, error) { return nil, nil }

// checks make sure that the batch before is there as a whole: see visible.go. A copy that is gone is nothing to wait for.
func (p *plan) checks(before map[string]uint64) []action {
	var checks []action
	for subject, seq := range before {
		pk, sk := subjectPK(subject), copySK(p.s.region, seq)
		if p.has[[2]string{pk, sk}] {
			continue
		}
		condition := "attribute_exists(pk)"
		checks = append(checks, action{pk: pk, sk: sk, failed: leftOut, write: types.TransactWriteItem{
			ConditionCheck: &types.ConditionCheck{TableName: &p.s.table, Key: key(pk, sk), ConditionExpression: &condition},
		}})
	}
	return checks
}

// elsewhere makes sure that no other region holds a claim, as far as its items have arrived here.
func (p *plan) elsewhere(claims []authority.Claim) []action {
	var checks []action
	for _, region := range p.s.seen.others() {
		for _, c := range claims {
			_, condition, values := p.s.claimItem(c)
			a := action{pk: claimPK(c.Key), sk: region, failed: func(item) (*action, error) { return nil, errClaimed }}
			a.write.ConditionCheck = &types.ConditionCheck{
				TableName: &p.s.table, Key: key(a.pk, a.sk), ConditionExpression: &condition, ExpressionAttributeValues: values,
			}
			checks = append(checks, a)
		}
	}
	return checks
}
