package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
)

// Append commits all of b in one transaction, or nothing of it. See authority.Store.
func (s *Store) Append(ctx context.Context, b authority.Batch) error {
	if err := checkBatch(b); err != nil {
		return s.explain(err)
	}
	return s.update(ctx, func(c *change) error { return c.append(b) })
}

// checkBatch refuses what no caller should ever ask for.
func checkBatch(b authority.Batch) error {
	if len(b.Entries) == 0 {
		return errors.New("append: a batch without entries")
	}
	for i, e := range b.Entries {
		if e.Region != b.Region || e.Seq != b.After.Seq+uint64(i)+1 {
			return fmt.Errorf("append: entry %d is %s:%d in a batch for %s after %d", i, e.Region, e.Seq, b.Region, b.After.Seq)
		}
		if !validName(e.Region) || !validName(e.Subject) {
			return fmt.Errorf("append: entry %d: %w", i, errName)
		}
		for _, l := range e.Lists {
			if !validName(l) {
				return fmt.Errorf("append: entry %d: %w", i, errName)
			}
		}
	}
	return nil
}

func (c *change) append(b authority.Batch) error {
	if err := c.compare(b.Region, b.After); err != nil {
		return err
	}
	for _, claim := range b.Claims {
		if err := c.claim(claim); err != nil {
			return err
		}
	}
	for _, l := range b.Limits {
		if err := c.count(l); err != nil {
			return err
		}
	}
	for _, e := range b.Entries {
		if err := c.entry(e); err != nil {
			return err
		}
	}
	for _, x := range b.Expiries {
		if err := c.expire(x); err != nil {
			return err
		}
	}
	last := b.Entries[len(b.Entries)-1]
	return c.put(heads, []byte(b.Region), encodeHead(authority.Head{Seq: last.Seq, Sum: last.Sum}))
}

// compare is the comparison of compare and swap.
func (c *change) compare(region string, after authority.Head) error {
	v, err := c.get(heads, []byte(region))
	if err != nil {
		return err
	}
	var head authority.Head
	if v != nil {
		if head, err = decodeHead(v); err != nil {
			return err
		}
	}
	if head.Seq != after.Seq || !bytes.Equal(head.Sum, after.Sum) {
		return fmt.Errorf("%w: the head of %s is %d, not %d", authority.ErrConflict, region, head.Seq, after.Seq)
	}
	return nil
}

// count moves a counter.
func (c *change) count(l authority.Limit) error {
	v, err := c.get(counters, []byte(l.Name))
	if err != nil {
		return err
	}
	var n int
	if v != nil {
		if len(v) != 8 {
			return brokenf("the counter %q has %d bytes", l.Name, len(v))
		}
		n = int(binary.BigEndian.Uint64(v))
	}
	if l.Delta > 0 && (l.Delta > l.Max || n > l.Max-l.Delta) {
		return fmt.Errorf("%w: %s is %d and its limit %d", authority.ErrConflict, l.Name, n, l.Max)
	}
	n = max(n+l.Delta, 0)
	return c.put(counters, []byte(l.Name), binary.BigEndian.AppendUint64(make([]byte, 0, 8+sumSize), uint64(n)))
}

// entry stores e once, and names it in the index of its subject and in lists.
func (c *change) entry(e authority.Entry) error {
	ref := refKey(e.Region, e.Seq)
	record := make([]byte, 0, len(e.Subject)+len(e.Data)+binary.MaxVarintLen32+sumSize)
	record = append(appendText(record, e.Subject), e.Data...)
	if err := c.put(entries, ref, record); err != nil {
		return err
	}
	if err := c.put(subjects, pair(e.Subject, ref), nil); err != nil {
		return err
	}
	for _, l := range e.Lists {
		if err := c.put(lists, pair(l, e.Subject), nil); err != nil {
			return err
		}
	}
	return c.replaceExtra(ref, extra{}, extra{
		secret: e.Secret, secretExpires: e.SecretExpires, copyExpires: e.CopyExpires,
	})
}

// expire moves the dates of an earlier entry forward. An entry of another name is none.
func (c *change) expire(x authority.Expiry) error {
	if !validName(x.Region) {
		return nil
	}
	ref := refKey(x.Region, x.Seq)
	subject, _, err := c.record(ref)
	if err != nil || string(subject) != x.Subject {
		return err
	}
	before, err := c.extra(ref)
	if err != nil {
		return err
	}
	after := before
	after.secretExpires = earlier(before.secretExpires, x.Secret)
	after.copyExpires = earlier(before.copyExpires, x.Copy)
	return c.replaceExtra(ref, before, after)
}

// earlier returns the earlier of two dates. Zero is no date.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// replaceExtra writes what an entry has beside its record, and keeps the time-ordered index in step.
func (c *change) replaceExtra(ref []byte, before, after extra) error {
	if err := c.redate(secretDate, ref, before.secretDue(), after.secretDue()); err != nil {
		return err
	}
	if err := c.redate(copyDate, ref, before.copyDue(), after.copyDue()); err != nil {
		return err
	}
	if after.isZero() {
		return nil // then so was before: nothing of it is ever taken back
	}
	return c.put(extras, ref, encodeExtra(after))
}

// secretDue is when Sweep removes the secret; zero: never.
func (x extra) secretDue() time.Time {
	if x.secret == nil {
		return time.Time{}
	}
	return x.secretExpires
}

// copyDue is when Sweep removes the entry from its subject's; zero: never.
func (x extra) copyDue() time.Time {
	if x.gone != "" {
		return time.Time{}
	}
	return x.copyExpires
}
