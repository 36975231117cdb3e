package bolt

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
)

// The layout of bbolt's file, as far as inspect needs it. Numbers are in the byte order of the machine.
//
//	page     id 8, flags 2, count 2, overflow 4 (how many pages it goes on for), then count elements, then the data
//	branch   position of the key from here 4, length of the key 4, page of the child 8
//	leaf     flags 4, position of the key from here 4, length of the key 4, length of the value after it 4
//	bucket   (a leaf's value) page of its root 8, a counter 8; where the root is 0, the page itself follows
//	meta     (on pages 0 and 1, after the header) magic 4, version 4, page size 4, flags 4, root bucket 16, page of the
//	         freelist 8, pages in use 8, number of the transaction 8, FNV-64a of all before 8
const (
	headerSize  = 16
	elementSize = 16
	bucketSize  = 16
	metaSize    = 64

	boltMagic   = 0xED0CDAED
	boltVersion = 2

	branchPage   = 0x01
	leafPage     = 0x02
	metaPage     = 0x04
	freelistPage = 0x10

	bucketElement = 0x01 // the flags of a leaf's element that is a bucket

	minPageSize = 1 << 10
	maxPageSize = 1 << 24
)

// A meta says where a transaction's tree begins.
type meta struct {
	pageSize int
	root     uint64
	freelist uint64
	pages    uint64 // how many are in use or free; none beyond is either
	tx       uint64
}

// parseMeta reads the first bytes of page 0 or 1.
func parseMeta(id uint64, b []byte) (meta, error) {
	ne := binary.NativeEndian
	p := b[headerSize:]
	sum := fnv.New64a()
	_, _ = sum.Write(p[:metaSize-8])
	switch {
	case ne.Uint32(p) != boltMagic:
		return meta{}, brokenf("page %d does not begin a store of keyturn", id)
	case ne.Uint32(p[4:]) != boltVersion:
		return meta{}, brokenf("page %d has version %d of the file format, not %d", id, ne.Uint32(p[4:]), boltVersion)
	case ne.Uint64(p[56:]) != sum.Sum64():
		return meta{}, brokenf("page %d has a wrong checksum", id)
	case ne.Uint64(b) != id || ne.Uint16(b[8:]) != metaPage:
		return meta{}, brokenf("page %d is another one", id)
	}
	m := meta{
		pageSize: int(ne.Uint32(p[8:])), root: ne.Uint64(p[16:]), freelist: ne.Uint64(p[32:]),
		pages: ne.Uint64(p[40:]), tx: ne.Uint64(p[48:]),
	}
	if m.pageSize < minPageSize || m.pageSize > maxPageSize || m.pageSize&(m.pageSize-1) != 0 {
		return meta{}, brokenf("page %d says that pages have %d bytes", id, m.pageSize)
	}
	return m, nil
}

// A page is the bytes of one page, with those that it goes on for.
type page []byte

func (p page) id() uint64       { return binary.NativeEndian.Uint64(p) }
func (p page) flags() uint16    { return binary.NativeEndian.Uint16(p[8:]) }
func (p page) count() int       { return int(binary.NativeEndian.Uint16(p[10:])) }
func (p page) overflow() uint64 { return uint64(binary.NativeEndian.Uint32(p[12:])) }

// An element is one of a page's, checked to lie inside the page.
type element struct {
	raw    []byte // the key, and after it the value
	keyLen int
	flags  uint32 // of a leaf's
	child  uint64 // of a branch's
}

func (e element) key() []byte   { return e.raw[:e.keyLen] }
func (e element) value() []byte { return e.raw[e.keyLen:] }

// branch returns element i of a branch page.
func (p page) branch(i int) (element, error) {
	at := headerSize + i*elementSize
	b := p[at : at+elementSize]
	pos, n := binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[4:])
	raw, err := p.data(at, pos, n, 0)
	return element{raw: raw, keyLen: int(n), child: binary.NativeEndian.Uint64(b[8:])}, err
}

// leaf returns element i of a leaf page.
func (p page) leaf(i int) (element, error) {
	at := headerSize + i*elementSize
	b := p[at : at+elementSize]
	pos, n, v := binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[8:]), binary.NativeEndian.Uint32(b[12:])
	raw, err := p.data(at, pos, n, v)
	return element{raw: raw, keyLen: int(n), flags: binary.NativeEndian.Uint32(b)}, err
}

// data returns the key and the value of the element at the offset at.
func (p page) data(at int, pos, keyLen, valueLen uint32) ([]byte, error) {
	from := uint64(at) + uint64(pos)
	to := from + uint64(keyLen) + uint64(valueLen)
	if keyLen == 0 || from < p.elementsEnd() || to > uint64(len(p)) {
		return nil, brokenf("a key or value lies outside its page")
	}
	return p[from:to:to], nil
}

func (p page) elementsEnd() uint64 {
	return headerSize + uint64(p.count())*elementSize
}

// A span is which keys a page may have: exactly its first, and none from its last on; nil is no bound. bbolt finds a child
// by the first key that it holds, so a parent that says anything else is damaged by the next write.
type span struct{ first, last []byte }

// order checks key, which comes after the key before (nil for the first).
func (s span) order(before, key []byte) error {
	switch {
	case before == nil && s.first != nil && !bytes.Equal(key, s.first):
	case before != nil && bytes.Compare(key, before) <= 0:
	case s.last != nil && bytes.Compare(key, s.last) >= 0:
	default:
		return nil
	}
	return brokenf("its keys are out of order")
}
