package bolt

import (
	"context"
	"encoding/binary"
	"io"

	"go.etcd.io/bbolt"

	"github.com/keyturn/keyturn/internal/authority"
)

// Inspect is inspect, for fuzzing without files.
func Inspect(f io.ReaderAt, size int64) error { return inspect(f, size) }

// SubjectAfter reads a subject in a transaction in which meanwhile happens first.
func (s *Store) SubjectAfter(meanwhile func(), subject string) error {
	return s.explain(s.read(func(v view) error {
		meanwhile()
		_, err := v.subject(context.Background(), subject)
		return err
	}))
}

// AppendAfter appends in a transaction in which meanwhile happens first.
func (s *Store) AppendAfter(meanwhile func(), b authority.Batch) error {
	return s.write(context.Background(), func(c *change) error {
		meanwhile()
		return c.append(b)
	})
}

// Doubt makes the store believe that the fsync of its last commit failed.
func (s *Store) Doubt() { s.doubt.Store(true) }

// Doubtful reports whether it still does.
func (s *Store) Doubtful() bool { return s.doubt.Load() }

// Transaction returns the number of the last transaction.
func (s *Store) Transaction() (id int) {
	_ = s.db.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil })
	return id
}

// PageSize returns the bytes of a page.
func (s *Store) PageSize() int { return s.db.Info().PageSize }

// Pages returns how many pages are used or free.
func (s *Store) Pages() (n int) {
	_ = s.db.View(func(tx *bbolt.Tx) error { n = int(tx.Size()) / s.PageSize(); return nil })
	return n
}

// SetFormat makes the file one of another format.
func (s *Store) SetFormat(n byte) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		v := []byte{n}
		return tx.Bucket([]byte(aboutBucket)).Put([]byte(formatKey),
			binary.LittleEndian.AppendUint32(v, checksum(about, []byte(formatKey), v)))
	})
}

// Lose does to the tables what only a mistake in this package could: it drops an item behind the back of the tally, or,
// with counted, with its knowledge.
func (s *Store) Lose(tableName, key string, counted bool) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		if !counted {
			return tx.Bucket([]byte(tableName)).Delete([]byte(key))
		}
		c, err := newChange(tx)
		if err != nil {
			return err
		}
		t, _ := tableNamed([]byte(tableName))
		if err := c.remove(t, []byte(key)); err != nil {
			return err
		}
		return c.finish()
	})
}

// EntryKey is the key of an entry in its table.
func EntryKey(region string, seq uint64) string { return string(refKey(region, seq)) }

// Plant puts an empty value under key, with the tally's knowledge.
func (s *Store) Plant(tableName, key string) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		c, err := newChange(tx)
		if err != nil {
			return err
		}
		t, _ := tableNamed([]byte(tableName))
		if err := c.put(t, []byte(key), nil); err != nil {
			return err
		}
		return c.finish()
	})
}

// Checksum is the checksum of an item of table number t.
func Checksum(t int, key, value string) uint32 { return checksum(table(t), []byte(key), []byte(value)) }
