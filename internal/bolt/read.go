package bolt

import (
	"bytes"
	"context"
	"fmt"
	"math"

	"github.com/keyturn/keyturn/internal/authority"
)

// patience is how many items a read goes through before it looks at its context again.
const patience = 256

// Subject returns every entry of one subject. See authority.Store.
func (s *Store) Subject(ctx context.Context, subject string) (found []authority.Entry, err error) {
	err = s.view(ctx, func(v view) error {
		found, err = v.subject(ctx, subject)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

func (v view) subject(ctx context.Context, subject string) ([]authority.Entry, error) {
	var found []authority.Entry
	err := v.scan(ctx, subjects, subject, nil, func(ref []byte) (bool, error) {
		e, err := v.entry(subject, ref)
		found = append(found, e)
		return true, err
	})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("subject %s: %w", subject, authority.ErrNotFound)
	}
	return found, err
}

// Page returns a part of a list. See authority.Store.
func (s *Store) Page(ctx context.Context, list, after string, limit int) (names []string, err error) {
	err = s.view(ctx, func(v view) error {
		return v.scan(ctx, lists, list, []byte(after), func(name []byte) (bool, error) {
			if len(names) >= limit {
				return false, nil
			}
			if string(name) != after {
				names = append(names, string(name))
			}
			return true, nil
		})
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

// scan calls each with what follows prefix and a zero in the keys of a table, from `from` on, until it has enough.
func (v view) scan(ctx context.Context, t table, prefix string, from []byte, each func(rest []byte) (bool, error)) error {
	if !validName(prefix) {
		return nil
	}
	c, err := v.cursor(t)
	if err != nil {
		return err
	}
	start := pair(prefix, from)
	stem := start[:len(prefix)+1]
	k, _, err := c.seek(start)
	for n := 1; err == nil && bytes.HasPrefix(k, stem); n++ {
		more, failed := each(k[len(stem):])
		if failed != nil || !more {
			return failed
		}
		if n%patience == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		k, _, err = c.next()
	}
	return err
}

// Ledger returns a part of one region's ledger. See authority.Store.
func (s *Store) Ledger(ctx context.Context, region string, after uint64, limit int) (found []authority.Entry, err error) {
	err = s.view(ctx, func(v view) error {
		if after == math.MaxUint64 {
			return nil
		}
		found, err = v.ledger(ctx, region, after, limit)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// ledger walks entries and extras side by side: they have the same keys, but not every entry has an extra.
func (v view) ledger(ctx context.Context, region string, after uint64, limit int) ([]authority.Entry, error) {
	c, err := v.cursor(entries)
	if err != nil {
		return nil, err
	}
	x, err := v.cursor(extras)
	if err != nil {
		return nil, err
	}
	start := refKey(region, after+1)
	k, record, err := c.seek(start)
	if err != nil || !ofRegion(k, region) {
		return nil, err
	}
	xk, xv, err := x.seek(start)
	var found []authority.Entry
	for err == nil && ofRegion(k, region) && len(found) < limit {
		var beside []byte
		if bytes.Equal(xk, k) {
			beside = xv
		}
		e, failed := decodeEntry(k, record, beside)
		if failed != nil {
			return nil, failed
		}
		if after++; e.Seq != after {
			return nil, brokenf("the ledger of %s has no entry %d", region, after)
		}
		if found = append(found, e); len(found)%patience == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if beside != nil {
			xk, xv, err = x.next()
		}
		if err == nil {
			k, record, err = c.next()
		}
	}
	return found, err
}

func ofRegion(ref []byte, region string) bool {
	return len(ref) == len(region)+1+seqSize && string(ref[:len(region)]) == region && ref[len(region)] == 0
}

// Heads returns the head of each region. See authority.Store.
func (s *Store) Heads(ctx context.Context) (map[string]authority.Head, error) {
	found := map[string]authority.Head{}
	err := s.view(ctx, func(v view) error {
		c, err := v.cursor(heads)
		if err != nil {
			return err
		}
		k, b, err := c.seek(nil)
		for ; err == nil && k != nil; k, b, err = c.next() {
			h, err := decodeHead(b)
			if err != nil {
				return err
			}
			found[string(k)] = h
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// record returns the subject and the record of an entry; both are nil when there is no such entry.
func (v view) record(ref []byte) (subject, data []byte, err error) {
	b, err := v.get(entries, ref)
	if err != nil || b == nil {
		return nil, nil, err
	}
	subject, data, ok := readText(b)
	if !ok {
		return nil, nil, brokenf("the subject of an entry is cut off")
	}
	return subject, data, nil
}

// extra returns what an entry has beside its record.
func (v view) extra(ref []byte) (extra, error) {
	b, err := v.get(extras, ref)
	if err != nil || b == nil {
		return extra{}, err
	}
	return decodeExtra(b)
}

// entry returns the entry that a subject's index names.
func (v view) entry(subject string, ref []byte) (authority.Entry, error) {
	record, err := v.get(entries, ref)
	if err != nil {
		return authority.Entry{}, err
	}
	beside, err := v.get(extras, ref)
	if err != nil {
		return authority.Entry{}, err
	}
	e, err := decodeEntry(ref, record, beside)
	if err == nil && e.Subject != subject {
		err = brokenf("an entry of one subject is named by another")
	}
	return e, err
}

// decodeEntry copies an entry out of the file.
func decodeEntry(ref, record, beside []byte) (authority.Entry, error) {
	region, seq, ok := splitRef(ref)
	if !ok {
		return authority.Entry{}, brokenf("the key of an entry is cut off")
	}
	subject, data, ok := readText(record)
	if !ok {
		return authority.Entry{}, brokenf("the entry %s:%d is cut off", region, seq)
	}
	e := authority.Entry{Region: string(region), Seq: seq, Subject: string(subject), Data: bytes.Clone(data)}
	if beside == nil {
		return e, nil
	}
	x, err := decodeExtra(beside)
	e.Secret, e.SecretExpires, e.CopyExpires = bytes.Clone(x.secret), x.secretExpires, x.copyExpires
	return e, err
}
