package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"hash/maphash"
)

// contents checks what is in a file, item by item, in one pass and without an allocation for each.
//
// That each entry is in the index of its subject, and the index names nothing else, is told by two sums: of a random
// hash over what the entries say that the index should hold, and of the same hash over what it holds.
type contents struct {
	counted tally // what is there
	written tally // what was there when it was last written to

	ledger string            // the region whose entries are being read
	seq    uint64            // the last of them
	ends   map[string]uint64 // the last of each region, as the entries say
	heads  map[string]uint64 // and as the heads say

	seed    maphash.Seed
	index   struct{ items, sums uint64 } // entries less their places in the index: zero in the end
	scratch []byte
}

func newContents() *contents {
	return &contents{ends: map[string]uint64{}, heads: map[string]uint64{}, seed: maphash.MakeSeed()}
}

// item takes one item of a table. Those of one table come in the order of their keys.
func (c *contents) item(t table, e element) error {
	n := len(e.raw) - sumSize
	if n < e.keyLen {
		return brokenf("a value is too short")
	}
	sum := binary.LittleEndian.Uint32(e.raw[n:])
	if crc32.Update(seed(t, e.keyLen), castagnoli(), e.raw[:n]) != sum {
		return brokenf("the checksum of a value is wrong")
	}
	if t < tables {
		c.counted.add(t, sum)
	}
	key, value := e.raw[:e.keyLen], e.raw[e.keyLen:n]
	switch t {
	case entries:
		return c.entry(key, value)
	case extras:
		return c.extra(key, value)
	case subjects:
		c.place(key, -1)
	case heads:
		h, err := decodeHead(value)
		c.heads[string(key)] = h.Seq
		return err
	case about:
		return c.about(string(key), value)
	}
	return nil
}

// about takes what the file says about itself.
func (c *contents) about(key string, value []byte) error {
	switch key {
	case formatKey:
		return checkFormat(value)
	case tallyKey:
		return c.written.decode(value)
	}
	return brokenf("it says something unknown about itself: %q", key)
}

// entry takes an entry of a ledger: the first, or the one after the last.
func (c *contents) entry(ref, record []byte) error {
	region, seq, ok := splitRef(ref)
	if !ok {
		return brokenf("the key of an entry is cut off")
	}
	if string(region) != c.ledger {
		c.endLedger()
		c.ledger, c.seq = string(region), 0
	}
	if c.seq++; seq != c.seq {
		return brokenf("the ledger of %s has no entry %d", region, c.seq)
	}
	subject, _, ok := readText(record)
	if !ok {
		return brokenf("the entry %s:%d is cut off", region, seq)
	}
	c.placed(subject, ref, 1)
	return nil
}

func (c *contents) endLedger() {
	if c.ledger != "" {
		c.ends[c.ledger] = c.seq
	}
}

// extra takes an entry's secret and dates. When they say that the subject's copy was swept, it has no place in the index.
func (c *contents) extra(ref, value []byte) error {
	x, err := decodeExtra(value)
	if err == nil && x.gone != "" {
		c.placed([]byte(x.gone), ref, -1)
	}
	return err
}

// placed is place for the key that an entry has in the index.
func (c *contents) placed(subject, ref []byte, times int) {
	c.scratch = append(append(append(c.scratch[:0], subject...), 0), ref...)
	c.place(c.scratch, times)
}

// place adds a key of the index to the sums, or takes it off.
func (c *contents) place(key []byte, times int) {
	c.index.items += uint64(times)
	c.index.sums += uint64(times) * maphash.Bytes(c.seed, key)
}

// finish compares the sums, when all items have been seen.
func (c *contents) finish() error {
	c.endLedger()
	for t := range c.counted {
		if is, was := c.counted[t], c.written[t]; is != was {
			return brokenf("%v: there are %d items, and there were %d, or others", table(t), is.items, was.items)
		}
	}
	if len(c.ends) != len(c.heads) {
		return brokenf("there are %d ledgers and %d heads", len(c.ends), len(c.heads))
	}
	for region, end := range c.ends {
		if c.heads[region] != end {
			return brokenf("the ledger of %s ends at %d and its head is %d", region, end, c.heads[region])
		}
	}
	if c.index.items != 0 || c.index.sums != 0 {
		return brokenf("the index of subjects does not name all entries, or others")
	}
	return nil
}

func checkFormat(v []byte) error {
	if !bytes.Equal(v, []byte{format}) {
		return fmt.Errorf("it has format %x and this keyturn reads format %d: use the keyturn that wrote it, or move what "+
			"it holds with `keyturn export` and `keyturn import`", v, format)
	}
	return nil
}
