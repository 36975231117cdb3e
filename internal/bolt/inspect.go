package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// inspect reads every page of a store's file and every item in it, and returns what is wrong first. It reads with ReadAt
// only: bbolt maps a file and follows whatever numbers it finds there, so it must not see one that is damaged. Both
// meta pages have to be right. bbolt would go on with one, but that is the state before the last commit, and nobody
// would notice that a revocation is gone; a crash never leaves such a file, for a meta lies in one sector of the disk.
func inspect(f io.ReaderAt, size int64) error {
	m, err := newestMeta(f, size)
	if err != nil {
		return err
	}
	i := &inspector{f: f, meta: m, seen: make([]uint64, m.pages/64+1), contents: newContents()}
	i.seen[0] = 0b11 // the meta pages
	buckets, err := i.buckets()
	if err != nil {
		return err
	}
	for t := about; ; t-- { // what the file says about itself comes first
		if err := i.bucket(t, buckets[t]); err != nil {
			return err
		}
		if t == 0 {
			break
		}
	}
	if err := i.freelist(); err != nil {
		return err
	}
	return i.contents.finish()
}

// newestMeta returns the meta page that bbolt will choose.
func newestMeta(f io.ReaderAt, size int64) (meta, error) {
	var found [2]meta
	for id := range uint64(2) {
		b := make([]byte, headerSize+metaSize)
		if _, err := f.ReadAt(b, int64(id)*int64(found[0].pageSize)); err != nil {
			return meta{}, cutOff(err)
		}
		m, err := parseMeta(id, b)
		if err != nil {
			return meta{}, err
		}
		found[id] = m
	}
	a, b := found[0], found[1]
	if b.tx > a.tx {
		a, b = b, a
	}
	switch {
	case a.pageSize != b.pageSize || a.tx != b.tx+1:
		return meta{}, brokenf("pages 0 and 1 do not belong together")
	case a.pages < 4 || a.pages > uint64(size)/uint64(a.pageSize):
		return meta{}, brokenf("it has been cut off: it has %d bytes, and had %d pages of %d", size, a.pages, a.pageSize)
	}
	return a, nil
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return brokenf("it has been cut off")
	}
	return err
}

// maxDepth is far above the depth of any tree that fits on a disk.
const maxDepth = 32

// An inspector walks the trees of one file.
type inspector struct {
	f        io.ReaderAt
	meta     meta
	seen     []uint64         // a bit for each page
	bufs     [maxDepth][]byte // one for each level of a tree
	contents *contents
}

// mark notes that a page with its overflow is used. None is used twice.
func (i *inspector) mark(id, overflow uint64) error {
	if id >= i.meta.pages || overflow >= i.meta.pages-id {
		return brokenf("page %d is beyond the end", id)
	}
	for n := id; n <= id+overflow; n++ {
		if i.used(n) {
			return brokenf("page %d is used twice", n)
		}
		i.seen[n/64] |= 1 << (n % 64)
	}
	return nil
}

func (i *inspector) used(id uint64) bool {
	return i.seen[id/64]&(1<<(id%64)) != 0
}

// page reads a page of one of the two kinds into the buffer of its depth.
func (i *inspector) page(id uint64, depth int, kinds uint16) (page, error) {
	if depth >= maxDepth {
		return nil, brokenf("page %d is too deep in its tree", id)
	}
	if id >= i.meta.pages {
		return nil, brokenf("page %d is beyond the end", id)
	}
	p, err := i.read(id, depth, i.meta.pageSize)
	if err != nil {
		return nil, err
	}
	if p.id() != id || p.flags()&kinds == 0 || p.flags()&(p.flags()-1) != 0 {
		return nil, brokenf("page %d is another one, or of another kind", id)
	}
	if err := i.mark(id, p.overflow()); err != nil {
		return nil, err
	}
	if more := p.overflow(); more > 0 {
		if p, err = i.read(id, depth, int(more+1)*i.meta.pageSize); err != nil {
			return nil, err
		}
	}
	if p.flags() != freelistPage && p.elementsEnd() > uint64(len(p)) {
		return nil, brokenf("page %d has more elements than room", id)
	}
	return p, nil
}

func (i *inspector) read(id uint64, depth, size int) (page, error) {
	if len(i.bufs[depth]) < size {
		i.bufs[depth] = make([]byte, size)
	}
	b := i.bufs[depth][:size]
	if _, err := i.f.ReadAt(b, int64(id)*int64(i.meta.pageSize)); err != nil {
		return nil, cutOff(err)
	}
	return b, nil
}

// tree calls leaf with each leaf page below id, in order.
func (i *inspector) tree(id uint64, depth int, keys span, leaf func(page, span) error) error {
	p, err := i.page(id, depth, branchPage|leafPage)
	if err != nil {
		return err
	}
	if p.count() == 0 && (depth > 0 || p.flags() == branchPage) { // only a table can be empty
		return brokenf("page %d is empty", id)
	}
	if p.flags() == leafPage {
		return leaf(p, keys)
	}
	return i.branches(p, depth, keys, leaf)
}

// branches goes down into the children of a branch page.
func (i *inspector) branches(p page, depth int, keys span, leaf func(page, span) error) error {
	var before []byte
	for n := range p.count() {
		e, err := p.branch(n)
		if err == nil {
			err = keys.order(before, e.key())
		}
		if err != nil {
			return fmt.Errorf("page %d: %w", p.id(), err)
		}
		below := span{e.key(), keys.last}
		if n+1 < p.count() {
			next, err := p.branch(n + 1)
			if err != nil {
				return err
			}
			below.last = next.key()
		}
		if err := i.tree(e.child, depth+1, below, leaf); err != nil {
			return err
		}
		before = e.key()
	}
	return nil
}

// leaves calls each with every element of a leaf page, in order.
func leaves(p page, keys span, each func(element) error) error {
	var before []byte
	for n := range p.count() {
		e, err := p.leaf(n)
		if err == nil {
			err = keys.order(before, e.key())
		}
		if err == nil {
			err = each(e)
		}
		if err != nil {
			return fmt.Errorf("page %d: %w", p.id(), err)
		}
		before = e.key()
	}
	return nil
}

// A root is where a bucket begins: on a page of its own, or, when it is small, right here.
type root struct {
	page   uint64
	inline page
}

// buckets reads the root of the file: the names of all tables, and nothing else.
func (i *inspector) buckets() ([tables + 1]root, error) {
	var roots [tables + 1]root
	found := 0
	err := i.tree(i.meta.root, 0, span{}, func(p page, keys span) error {
		return leaves(p, keys, func(e element) error {
			t, ok := tableNamed(e.key())
			if !ok || e.flags != bucketElement || len(e.value()) < bucketSize {
				return brokenf("there is something other than a table of keyturn")
			}
			found++
			roots[t] = root{page: binary.NativeEndian.Uint64(e.value())}
			if roots[t].page == 0 {
				roots[t].inline = page(append([]byte(nil), e.value()[bucketSize:]...))
			}
			return nil
		})
	})
	if err == nil && found != len(roots) {
		err = brokenf("it has %d tables of %d", found, len(roots))
	}
	return roots, err
}

// bucket hands every item of a table to the contents.
func (i *inspector) bucket(t table, r root) error {
	items := func(p page, keys span) error {
		return leaves(p, keys, func(e element) error {
			if e.flags != 0 {
				return brokenf("a value is of an unknown kind")
			}
			return i.contents.item(t, e)
		})
	}
	var err error
	if r.page != 0 {
		err = i.tree(r.page, 0, span{}, items)
	} else if p := r.inline; len(p) < headerSize || p.flags() != leafPage || p.elementsEnd() > uint64(len(p)) {
		err = brokenf("its page is of another kind")
	} else {
		err = items(p, span{})
	}
	if err != nil {
		return fmt.Errorf("%v: %w", t, err)
	}
	return nil
}

// freelist checks the pages that bbolt will write to next: none of them is in use.
func (i *inspector) freelist() error {
	p, err := i.page(i.meta.freelist, 0, freelistPage)
	if err != nil {
		return fmt.Errorf("free pages: %w", err)
	}
	ids, n := p[headerSize:], uint64(p.count())
	if n == 0xFFFF { // more than fits into the header
		n, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if n > uint64(len(ids)/8) {
		return brokenf("free pages: more of them than room")
	}
	before := uint64(1)
	for ; n > 0; n, ids = n-1, ids[8:] {
		id := binary.NativeEndian.Uint64(ids)
		if id <= before || id >= i.meta.pages || i.used(id) {
			return brokenf("free pages: page %d is in use, or not there", id)
		}
		before = id
	}
	return nil
}
