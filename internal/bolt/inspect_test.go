package bolt_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/bolt"
)

// A patient is a good file that a test is about to damage at one place.
type patient struct {
	b        []byte
	pageSize int
	meta     []byte   // the newer meta
	free     []byte   // the page of free pages
	branch   []byte   // a branch in use, with at least three children
	leaf     []byte   // the second of its children, a leaf
	inUse    []uint64 // pages that are not free
}

var ne = binary.NativeEndian

func newPatient(t *testing.T, sp specimen) *patient {
	t.Helper()
	p := &patient{b: bytes.Clone(sp.file), pageSize: sp.pageSize}
	p.meta = p.page(0)
	if m := p.page(1); ne.Uint64(m[64:]) > ne.Uint64(p.meta[64:]) {
		p.meta = m
	}
	p.free = p.page(ne.Uint64(p.meta[48:]))
	free := map[uint64]bool{}
	for i := range int(ne.Uint16(p.free[10:])) {
		free[ne.Uint64(p.free[16+i*8:])] = true
	}
	for id := uint64(2); int(id) < len(p.b)/p.pageSize; id++ {
		page := p.page(id)
		if free[id] || ne.Uint64(page) != id {
			continue
		}
		p.inUse = append(p.inUse, id)
		if page[8] != 1 || ne.Uint16(page[10:]) < 3 {
			continue
		}
		// Of the index of subjects: its leaves are whole pages, and nothing but inspect's own checks looks at its keys.
		if child := p.page(p.child(page, 1)); child[8] == 2 && bytes.HasPrefix(p.key(child, 0, 4), []byte("cli_")) {
			p.branch, p.leaf = page, child
		}
	}
	if p.branch == nil || ne.Uint16(p.free[10:]) < 3 {
		t.Fatal("the specimen is too small")
	}
	return p
}

func (p *patient) page(id uint64) []byte { return p.b[int(id)*p.pageSize:][:p.pageSize] }

func (p *patient) child(branch []byte, i int) uint64 { return ne.Uint64(branch[16+i*16+8:]) }

// seal makes the checksum of the newer meta right again.
func (p *patient) seal() {
	h := fnv.New64a()
	_, _ = h.Write(p.meta[16:72])
	ne.PutUint64(p.meta[72:], h.Sum64())
}

// freePage puts a page that is in use among the free ones, in order.
func (p *patient) freePage() {
	for i := range int(ne.Uint16(p.free[10:])) - 2 {
		before, after := ne.Uint64(p.free[16+i*8:]), ne.Uint64(p.free[32+i*8:])
		for _, id := range p.inUse {
			if before < id && id < after {
				ne.PutUint64(p.free[24+i*8:], id)
				return
			}
		}
	}
}

func TestInspect_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	sp := newSpecimen(t)
	for _, c := range []struct {
		name   string
		damage func(p *patient)
		want   string // %d is the number of the page: of the leaf, if it says so
	}{
		{"NotBolt", func(p *patient) { p.meta[16]++ }, "does not begin a store"},
		{"Version", func(p *patient) { p.meta[20]++; p.seal() }, "version 3"},
		{"MetaChecksum", func(p *patient) { p.meta[40]++ }, "wrong checksum"},
		{"MetaOfAnotherPage", func(p *patient) { p.meta[0] += 2 }, "is another one"},
		{"PageSizeOdd", func(p *patient) { ne.PutUint32(p.meta[24:], 4095); p.seal() }, "pages have 4095 bytes"},
		{"PageSizesDiffer", func(p *patient) { ne.PutUint32(p.meta[24:], 8192); p.seal() }, ""},
		{"MetasApart", func(p *patient) { p.meta[64] += 2; p.seal() }, "do not belong together"},
		{"MorePagesThanTheFile", func(p *patient) { p.meta[57]++; p.seal() }, "cut off"},
		{"NoFreelist", func(p *patient) { ne.PutUint64(p.meta[48:], 1<<64-1); p.seal() }, "free pages: page 18446744073709551615 is beyond"},
		{"RootIsMeta", func(p *patient) { ne.PutUint64(p.meta[32:], 1); p.seal() }, "page 1 is another one, or of another kind"},

		{"FreePageInUse", (*patient).freePage, "free pages"},
		{"FreePageTwice", func(p *patient) { copy(p.free[24:32], p.free[16:]) }, "free pages"},
		{"FreePagesOutOfOrder", func(p *patient) { p.free[16], p.free[24] = p.free[24], p.free[16] }, "free pages"},
		{"FreePageIsMeta", func(p *patient) { ne.PutUint64(p.free[16:], 1) }, "free pages"},
		{"FreePageBeyondTheEnd", func(p *patient) {
			ne.PutUint64(p.free[16+8*(int(ne.Uint16(p.free[10:]))-1):], 1<<40)
		}, "free pages"},
		{"MoreFreePagesThanRoom", func(p *patient) { ne.PutUint16(p.free[10:], 511) }, "more of them than room"},
		{"ManyMoreFreePages", func(p *patient) { ne.PutUint16(p.free[10:], 0xffff); ne.PutUint64(p.free[16:], 1<<62) }, "more of them than room"},

		{"BranchWithoutChildren", func(p *patient) { ne.PutUint16(p.branch[10:], 0) }, "is empty"},
		{"LeafWithoutElements", func(p *patient) { ne.PutUint16(p.leaf[10:], 0) }, "page %d is empty"},
		{"ChildTwice", func(p *patient) { copy(p.branch[40:48], p.branch[24:32]) }, "used twice"},
		{"ChildIsMeta", func(p *patient) { ne.PutUint64(p.branch[40:], 0) }, "page 0 is another one"},
		{"ChildIsItself", func(p *patient) { copy(p.branch[40:48], p.branch) }, "used twice"},
		{"ChildBeyondTheEnd", func(p *patient) { ne.PutUint64(p.branch[40:], 1<<40) }, "beyond the end"},
		{"KeyOfChildIsLess", func(p *patient) {
			k := p.key(p.branch, 1, 0)[:p.keyLen(p.branch, 1)]
			ne := binary.BigEndian // a key ends with a sequence
			ne.PutUint64(k[len(k)-8:], ne.Uint64(k[len(k)-8:])-1)
		}, "page %d: its keys are out of order"},
		{"KeyOfNextChildIsLess", func(p *patient) {
			copy(p.key(p.branch, 2, 0), p.key(p.leaf, 1, 4)) // there are keys in the leaf that belong to the next
		}, "page %d: its keys are out of order"},
		{"PageIsAnother", func(p *patient) { p.leaf[0]++ }, "page %d is another one"},
		{"PageIsOfAnotherKind", func(p *patient) { p.leaf[8] = 0x10 }, "page %d is another one"},
		{"PageIsOfTwoKinds", func(p *patient) { p.leaf[8] = 3 }, "page %d is another one"},
		{"PageGoesOnForEver", func(p *patient) { ne.PutUint32(p.leaf[12:], 1<<32-1) }, "page %d is beyond the end"},
		{"MoreElementsThanRoom", func(p *patient) { ne.PutUint16(p.leaf[10:], 0xffff) }, "page %d has more elements than room"},
		{"KeyBeyondThePage", func(p *patient) { ne.PutUint32(p.leaf[20:], 1<<32-1) }, "page %d: a key or value lies outside"},
		{"KeyInTheElements", func(p *patient) { ne.PutUint32(p.leaf[20:], 16) }, "page %d: a key or value lies outside"},
		{"KeyIsEmpty", func(p *patient) { ne.PutUint32(p.leaf[24:], 0) }, "page %d: a key or value lies outside"},
		{"ValueBeyondThePage", func(p *patient) { ne.PutUint32(p.leaf[28:], 1<<20) }, "page %d: a key or value lies outside"},
		{"ValueTooShort", func(p *patient) { ne.PutUint32(p.leaf[28:], 3) }, "page %d: a value is too short"},
		{"ValueIsABucket", func(p *patient) { p.leaf[16] = 1 }, "page %d: a value is of an unknown kind"},
		{"ValueAltered", func(p *patient) { p.key(p.leaf, 0, 4)[p.keyLen(p.leaf, 0)]++ }, "page %d: the checksum"},
		{"KeysOutOfOrder", func(p *patient) { swap(p.leaf, 2, 1, 2) }, "page %d: its keys are out of order"},
		{"LastElementLost", func(p *patient) { p.leaf[10]-- }, "items, and there were"},
		{"UnknownTable", func(p *patient) {
			copy(p.b[bytes.Index(p.page(ne.Uint64(p.meta[32:])), []byte("subjects"))+int(ne.Uint64(p.meta[32:]))*p.pageSize:], "subjectz")
		}, "other than a table"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t, sp)
			c.damage(p)
			want := c.want
			if strings.Contains(want, "%d") {
				want = fmt.Sprintf(want, p.child(newPatient(t, sp).branch, 1))
			}
			err := bolt.Inspect(bytes.NewReader(p.b), int64(len(p.b)))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
			if slices.Equal(p.b, sp.file) {
				t.Error("nothing was damaged")
			}
		})
	}
}

// key returns where the key of a page's element lies; pos is where the element of that kind of page says so.
func (p *patient) key(page []byte, i, pos int) []byte {
	return page[16+i*16+int(ne.Uint32(page[16+i*16+pos:])):]
}

func (p *patient) keyLen(page []byte, i int) int {
	at := map[byte]int{1: 4, 2: 8}[page[8]]
	return int(ne.Uint32(page[16+i*16+at:]))
}
