package bolt

import (
	"encoding/binary"

	"go.etcd.io/bbolt"
)

// A table is a bucket of the file. Every value in it ends with the checksum of its key and itself.
type table byte

const (
	heads    table = iota // region -> sequence and sum of the last entry
	entries               // region, sequence -> subject and record; never changed
	extras                // region, sequence -> the entry's secret and dates, where it has any
	subjects              // subject, region, sequence: the entries of a subject
	lists                 // list, subject
	claims                // key -> claim
	counters              // name -> count
	dates                 // instant, kind, what: what Sweep removes, and when
	tables                // how many there are
)

var tableNames = [tables]string{"heads", "entries", "extras", "subjects", "lists", "claims", "counters", "dates"}

// String is the name of the bucket.
func (t table) String() string {
	if t < tables {
		return tableNames[t]
	}
	return aboutBucket
}

func tableNamed(name []byte) (table, bool) {
	for t := range tables + 1 {
		if string(name) == t.String() {
			return t, true
		}
	}
	return 0, false
}

// The bucket that is none of the tables: what the file says about itself.
const (
	aboutBucket = "keyturn"
	formatKey   = "format"
	tallyKey    = "tally"

	about  = tables // the number by which checksums know that bucket
	format = 1      // rises when older programs could no longer read the file rightly
)

// A tally counts what is in each table and adds up the checksums. It is written with every change, so that Open notices
// items that were lost with a whole page, or that an older page brought back.
type tally [tables]struct{ items, sums uint64 }

func (y *tally) encode() []byte {
	b := make([]byte, 0, len(y)*16+sumSize)
	for _, t := range y {
		b = binary.BigEndian.AppendUint64(b, t.items)
		b = binary.BigEndian.AppendUint64(b, t.sums)
	}
	return b
}

func (y *tally) decode(v []byte) error {
	if len(v) != len(y)*16 {
		return brokenf("the count of items has %d bytes", len(v))
	}
	for i := range y {
		y[i].items = binary.BigEndian.Uint64(v[i*16:])
		y[i].sums = binary.BigEndian.Uint64(v[i*16+8:])
	}
	return nil
}

func (y *tally) add(t table, sum uint32) {
	y[t].items++
	y[t].sums += uint64(sum)
}

func (y *tally) remove(t table, sum uint32) {
	y[t].items--
	y[t].sums -= uint64(sum)
}

// A view reads in one transaction. What it returns is a part of the mapped file: valid only inside the transaction.
type view struct {
	tx *bbolt.Tx
}

func (v view) bucket(t table) (*bbolt.Bucket, error) {
	b := v.tx.Bucket([]byte(t.String()))
	if b == nil {
		return nil, brokenf("the table %v is not there", t)
	}
	return b, nil
}

// get returns the value under key, checked, and nil when there is none. A value that is there is never nil.
func (v view) get(t table, key []byte) ([]byte, error) {
	b, err := v.bucket(t)
	if err != nil {
		return nil, err
	}
	sealed := b.Get(key)
	if sealed == nil {
		return nil, nil
	}
	return open(t, key, sealed)
}

func (v view) cursor(t table) (*cursor, error) {
	b, err := v.bucket(t)
	if err != nil {
		return nil, err
	}
	return &cursor{c: b.Cursor(), t: t}, nil
}

// A cursor walks a table in the order of its keys and checks each value. At the end its key is nil.
type cursor struct {
	c *bbolt.Cursor
	t table
}

func (c *cursor) seek(from []byte) (key, value []byte, err error) {
	if len(from) == 0 {
		return c.item(c.c.First())
	}
	return c.item(c.c.Seek(from))
}

func (c *cursor) next() (key, value []byte, err error) {
	return c.item(c.c.Next())
}

func (c *cursor) item(k, sealed []byte) (key, value []byte, err error) {
	if k == nil {
		return nil, nil, nil
	}
	v, err := open(c.t, k, sealed)
	return k, v, err
}

// open takes the checksum off a value and proves it.
func open(t table, key, sealed []byte) ([]byte, error) {
	n := len(sealed) - sumSize
	if n < 0 {
		return nil, brokenf("a value of %v is too short", t)
	}
	if binary.LittleEndian.Uint32(sealed[n:]) != checksum(t, key, sealed[:n]) {
		return nil, brokenf("the checksum of a value of %v is wrong", t)
	}
	return sealed[:n:n], nil
}

// A change writes in one transaction and keeps the tally.
type change struct {
	view
	tally tally
}

func newChange(tx *bbolt.Tx) (*change, error) {
	c := &change{view: view{tx}}
	v, err := c.get(about, []byte(tallyKey))
	if err != nil {
		return nil, err
	}
	return c, c.tally.decode(v)
}

// put stores value under key in place of what is there. It takes value over.
func (c *change) put(t table, key, value []byte) error {
	b, err := c.bucket(t)
	if err != nil {
		return err
	}
	if t == entries || t == extras || t == subjects { // they grow at their ends, so half-empty pages would stay so
		b.FillPercent = 0.95
	}
	if err := c.forget(b, t, key); err != nil {
		return err
	}
	sum := checksum(t, key, value)
	c.tally.add(t, sum)
	return b.Put(key, binary.LittleEndian.AppendUint32(value, sum))
}

// remove deletes key. That it is not there is damage: whoever removes has just read where it is.
func (c *change) remove(t table, key []byte) error {
	b, err := c.bucket(t)
	if err != nil {
		return err
	}
	before := c.tally[t].items
	if err := c.forget(b, t, key); err != nil {
		return err
	}
	if c.tally[t].items == before {
		return brokenf("an item of %v is not where another one says", t)
	}
	return b.Delete(key)
}

// forget takes what is under key out of the tally.
func (c *change) forget(b *bbolt.Bucket, t table, key []byte) error {
	old := b.Get(key)
	if old == nil {
		return nil
	}
	v, err := open(t, key, old)
	if err != nil {
		return err
	}
	c.tally.remove(t, binary.LittleEndian.Uint32(old[len(v):]))
	return nil
}

// finish writes the tally. It is the last thing that a change does.
func (c *change) finish() error {
	b, err := c.bucket(about)
	if err != nil {
		return err
	}
	v := c.tally.encode()
	return b.Put([]byte(tallyKey), binary.LittleEndian.AppendUint32(v, checksum(about, []byte(tallyKey), v)))
}
