package bolt_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/keyturn/keyturn/internal/bolt"
)

// FuzzInspect reads files that differ from a good one in two places. Whatever they say, inspect comes back, and calls
// the good one good.
func FuzzInspect(f *testing.F) {
	sp := newSpecimen(f)
	if err := bolt.Inspect(bytes.NewReader(sp.file), int64(len(sp.file))); err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), []byte{}, uint32(0), []byte{})
	f.Add(uint32(4096), []byte{1}, uint32(8200), []byte{2, 0, 9})
	for page := range uint32(len(sp.file) / sp.pageSize) {
		f.Add(page*4096+8, binary.LittleEndian.AppendUint64(nil, 0xffff_ffff_0001), page*4096+24, []byte{0xff, 0xff})
	}
	f.Fuzz(func(t *testing.T, at1 uint32, patch1 []byte, at2 uint32, patch2 []byte) {
		b := bytes.Clone(sp.file)
		copy(b[int(at1)%len(b):], patch1)
		copy(b[int(at2)%len(b):], patch2)
		err := bolt.Inspect(bytes.NewReader(b), int64(len(b)))
		if err != nil && bytes.Equal(b, sp.file) {
			t.Errorf("a good file was refused: %v", err)
		}
	})
}

// FuzzInspect_Whole reads anything at all.
func FuzzInspect_Whole(f *testing.F) {
	sp := newSpecimen(f)
	f.Add([]byte{})
	f.Add(sp.file[:8192])
	f.Add(sp.file[:65536])
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := bolt.Inspect(bytes.NewReader(b), int64(len(b))); err == nil && len(b) < 8192 {
			t.Error("a good store in two pages")
		}
	})
}
