package bolt_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/testdose"
)

var day = time.Date(2026, 5, 6, 0, 0, 0, 0, time.UTC)

// A specimen is a store with something of everything in it, as bytes, and what it answers.
type specimen struct {
	file     []byte   // the pages in use
	size     int64    // of the file: bbolt makes it longer than what it uses
	earlier  [][]byte // the same file some batches before
	pageSize int
	answers  answers
}

// answers is what a store says when it is asked for everything.
type answers struct {
	Heads    map[string]authority.Head
	Ledgers  map[string][]authority.Entry
	Subjects map[string][]authority.Entry
	Lists    map[string][]string
	Claims   map[string]authority.Claim
}

const (
	specimenSubjects = 40
	specimenClaims   = 60
)

var specimenOnce struct {
	sync.Once
	specimen
}

// newSpecimen returns the one that all tests share: nobody writes to what it holds.
func newSpecimen(t testing.TB) specimen {
	t.Helper()
	specimenOnce.Do(func() { specimenOnce.specimen = makeSpecimen(t) })
	if specimenOnce.file == nil {
		t.Fatal("the test that made the specimen has failed")
	}
	return specimenOnce.specimen
}

func makeSpecimen(t testing.TB) specimen {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyturn.db")
	s, err := bolt.Open(path, unhurried)
	if err != nil {
		t.Fatal(err)
	}
	sp := specimen{pageSize: s.PageSize()}
	heads := map[string]authority.Head{}
	for n := range 60 {
		region := []string{"us-east-1", "eu-central-1"}[n%3%2]
		b := specimenBatch(region, heads[region], n)
		if err := s.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		heads[region] = authority.Head{Seq: b.Entries[len(b.Entries)-1].Seq, Sum: b.Entries[len(b.Entries)-1].Sum}
		if n == 30 {
			if _, err := s.Sweep(t.Context(), day); err != nil {
				t.Fatal(err)
			}
		}
		if n%10 == 5 {
			sp.earlier = append(sp.earlier, usedPart(t, s, path))
		}
	}
	sp.file = usedPart(t, s, path)
	sp.answers, err = ask(t, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	sp.size = info.Size()
	return sp
}

func specimenBatch(region string, after authority.Head, n int) authority.Batch {
	b := authority.Batch{Region: region, After: after}
	for i := range uint64(7) {
		seq := after.Seq + i + 1
		e := authority.Entry{
			Region: region, Seq: seq, Subject: fmt.Sprintf("cli_%02d", (n*7+int(i))*11%specimenSubjects),
			Data: []byte(strings.Repeat(fmt.Sprintf("record %d of %s. ", seq, region), 1+n%5*int(i))),
			Sum:  fmt.Appendf(nil, "sum of %d", seq), Lists: []string{"credentials", "peers"}[:i%3],
		}
		if i == 3 { // a record that goes on over several pages
			e.Data = bytes.Repeat(e.Data, 1+n%20)
		}
		if i%2 == 0 {
			e.Secret, e.SecretExpires = fmt.Appendf(nil, "hash of %d", seq), day.AddDate(0, 0, n-20)
			e.CopyExpires = day.AddDate(0, 0, n-10)
		}
		b.Entries = append(b.Entries, e)
	}
	b.Claims = []authority.Claim{{
		Key: fmt.Sprintf("claim-%02d", n), Value: bytes.Repeat([]byte{byte(n)}, n), At: day, ExpiresAt: day.AddDate(0, 0, n),
	}}
	b.Limits = []authority.Limit{{Name: fmt.Sprintf("counter-%d", n%4), Delta: 2, Max: 100}}
	return b
}

// usedPart reads the pages of a store's file that are in use.
func usedPart(t testing.TB, s *bolt.Store, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b[:s.Pages()*s.PageSize()]
}

// ask asks a store for everything that a specimen holds.
func ask(t testing.TB, s *bolt.Store) (a answers, err error) {
	ctx := t.Context()
	a = answers{
		Ledgers: map[string][]authority.Entry{}, Subjects: map[string][]authority.Entry{},
		Lists: map[string][]string{}, Claims: map[string]authority.Claim{},
	}
	if a.Heads, err = s.Heads(ctx); err != nil {
		return a, err
	}
	for _, region := range []string{"us-east-1", "eu-central-1", "nowhere"} {
		if a.Ledgers[region], err = s.Ledger(ctx, region, 0, 10_000); err != nil {
			return a, err
		}
	}
	for i := range specimenSubjects {
		name := fmt.Sprintf("cli_%02d", i)
		if a.Subjects[name], err = s.Subject(ctx, name); err != nil && !errors.Is(err, authority.ErrNotFound) {
			return a, err
		}
	}
	for _, list := range []string{"credentials", "peers", "none"} {
		if a.Lists[list], err = s.Page(ctx, list, "", 10_000); err != nil {
			return a, err
		}
	}
	for i := range specimenClaims {
		key := fmt.Sprintf("claim-%02d", i)
		c, err := s.Claimed(ctx, key)
		if err != nil && !errors.Is(err, authority.ErrNotFound) {
			return a, err
		}
		a.Claims[key] = c
	}
	return a, nil
}

// check opens a file that is not what was written, and returns whether it was refused. If it was not, then everything
// that can be read is what was written, and what is written afterwards can be read.
func (sp specimen) check(t *testing.T, path string, damaged []byte, size int64, what string) (refused bool) {
	t.Helper()
	overwrite(t, path, damaged, size)
	s, err := bolt.Open(path, unhurried)
	if err != nil {
		if !errors.Is(err, bolt.ErrDamaged) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want ErrDamaged with the file's name", what, err)
		}
		if now, err := os.ReadFile(path); err != nil || int64(len(now)) != size || !bytes.Equal(now[:min(len(now), len(damaged))], damaged[:min(len(now), len(damaged))]) {
			t.Errorf("%s: the damaged file was changed: %v", what, err)
		}
		return true
	}
	got, err := ask(t, s)
	if err != nil {
		t.Errorf("%s: opened, then %v", what, err)
	} else if !reflect.DeepEqual(sp.answers, got) { // cmp.Diff takes a hundred times as long to find nothing
		t.Errorf("%s: opened, then wrong answers: %s", what, cmp.Diff(sp.answers, got))
	}
	region := "us-east-1"
	b := specimenBatch(region, got.Heads[region], 63)
	if err := s.Append(t.Context(), b); err != nil {
		t.Errorf("%s: opened, then %v", what, err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	s, err = bolt.Open(path, unhurried)
	if err != nil {
		t.Errorf("%s: opened and written to, then %v", what, err)
		return false
	}
	es, err := s.Ledger(t.Context(), region, 0, 10_000)
	if err != nil || !reflect.DeepEqual(es[:len(es)-len(b.Entries)], sp.answers.Ledgers[region]) {
		t.Errorf("%s: the ledger after another batch: %v", what, err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	return false
}

// overwrite writes a file in place: most file systems write the blocks of one that was emptied first to the disk at once.
func overwrite(t *testing.T, path string, content []byte, size int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(content, 0)
	if err := errors.Join(err, f.Truncate(min(size, int64(len(content)))), f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// trials is how often a kind of damage is tried that costs as much as another: all kinds together take some seconds.
func trials(most int) testdose.Dose {
	return testdose.Dose{Least: most / 4, Most: most, Within: 2 * time.Second}
}

func TestOpen_Damage(t *testing.T) {
	t.Parallel()
	sp := newSpecimen(t)
	pages := len(sp.file) / sp.pageSize
	t.Logf("%d pages of %d bytes", pages, sp.pageSize)
	for _, kind := range []struct {
		name   string
		most   int
		damage func(r *rand.Rand, b []byte) string
	}{
		{"OneByte", 80, func(r *rand.Rand, b []byte) string {
			at := r.IntN(len(b))
			b[at] ^= byte(1 + r.IntN(255))
			return fmt.Sprintf("byte %d is %#x", at, b[at])
		}},
		{"OneBitNearTheHeadOfAPage", 120, func(r *rand.Rand, b []byte) string {
			at := r.IntN(pages)*sp.pageSize + r.IntN(200)
			b[at] ^= 1 << r.IntN(8)
			return fmt.Sprintf("byte %d is %#x", at, b[at])
		}},
		{"OneNumber", 80, func(r *rand.Rand, b []byte) string {
			at := r.IntN(pages)*sp.pageSize + r.IntN(60)*4
			v := []uint32{0, 1, 2, 3, 0xffff, 1 << 31, 0xffffffff, uint32(r.IntN(pages)), r.Uint32()}[r.IntN(9)]
			copy(b[at:], []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)})
			return fmt.Sprintf("number at %d is %d", at, v)
		}},
		{"OneSectorOfZeros", 60, func(r *rand.Rand, b []byte) string {
			at := r.IntN(len(b)/512) * 512
			clear(b[at : at+512])
			return fmt.Sprintf("zeros at %d", at)
		}},
		{"OnePageInPlaceOfAnother", 60, func(r *rand.Rand, b []byte) string {
			from, to := r.IntN(pages)*sp.pageSize, r.IntN(pages)*sp.pageSize
			copy(b[to:to+sp.pageSize], b[from:])
			return fmt.Sprintf("%d copied to %d", from, to)
		}},
		{"OneBranchToAnother", 80, func(r *rand.Rand, b []byte) string {
			// Also to free pages, which hold older versions of pages with right checksums.
			at := r.IntN(pages)*sp.pageSize + 16 + r.IntN(20)*16 + 8
			id := uint32(2 + r.IntN(pages-2))
			copy(b[at:], []byte{byte(id), byte(id >> 8), 0, 0, 0, 0, 0, 0})
			return fmt.Sprintf("page at %d is %d", at, id)
		}},
		{"TwoElementsInTheWrongOrder", 80, func(r *rand.Rand, b []byte) string {
			p := b[r.IntN(pages)*sp.pageSize:]
			n := int(binary.NativeEndian.Uint16(p[10:]))
			if f := p[8]; n < 2 || f != 1 && f != 2 || n > 200 {
				return "nothing"
			}
			return "page " + swap(p, int(p[8]), r.IntN(n), r.IntN(n))
		}},
		{"OnePageOfAnEarlierTime", 80, func(r *rand.Rand, b []byte) string {
			old := sp.earlier[r.IntN(len(sp.earlier))]
			at := (2 + r.IntN(len(old)/sp.pageSize-2)) * sp.pageSize // both metas of another time are a backup, not damage
			copy(b[at:at+sp.pageSize], old[at:])
			return fmt.Sprintf("old page at %d", at)
		}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "keyturn.db")
			r := rand.New(rand.NewPCG(1, 2))
			refused, n := 0, 0
			for range trials(kind.most).Rounds(t) {
				n++
				b := bytes.Clone(sp.file)
				what := kind.damage(r, b)
				if sp.check(t, path, b, sp.size, what) {
					refused++
				}
			}
			t.Logf("refused %d of %d", refused, n)
			if refused == 0 {
				t.Error("nothing was ever refused")
			}
		})
	}
}

// swap makes two elements of a page change places, with their positions right.
func swap(p []byte, flags, i, j int) string {
	pos := map[int]int{1: 0, 2: 4}[flags] // where a branch's and a leaf's element says how far away its data is
	move := func(e []byte, by int) []byte {
		e = bytes.Clone(e)
		binary.NativeEndian.PutUint32(e[pos:], uint32(int(binary.NativeEndian.Uint32(e[pos:]))+by*16))
		return e
	}
	a, b := p[16+i*16:][:16], p[16+j*16:][:16]
	a2, b2 := move(b, j-i), move(a, i-j)
	copy(a, a2)
	copy(b, b2)
	return fmt.Sprintf("%d: %d and %d swapped", binary.NativeEndian.Uint64(p), i, j)
}

func TestOpen_CutOff(t *testing.T) {
	t.Parallel()
	sp := newSpecimen(t)
	path := filepath.Join(t.TempDir(), "keyturn.db")
	r := rand.New(rand.NewPCG(3, 4))
	sizes := []int64{0, 1, 79, 80, 512, 4095, 4096, 4097, 8191, 8192, int64(len(sp.file)) - 1, int64(len(sp.file)) - 4096}
	for n := range (testdose.Dose{Least: len(sizes) + 5, Most: 40, Within: 2 * time.Second}).Rounds(t) {
		size := r.Int64N(int64(len(sp.file)))
		if n < len(sizes) {
			size = sizes[n]
		}
		if !sp.check(t, path, sp.file, size, fmt.Sprintf("cut off at %d", size)) {
			t.Errorf("cut off at %d: not refused", size)
		}
		if size > 8192 { // as a file system may leave it: the size is right, and the rest is zeros
			b := append(bytes.Clone(sp.file[:size]), make([]byte, int64(len(sp.file))-size)...)
			sp.check(t, path, b, sp.size, fmt.Sprintf("zeros from %d", size))
		}
	}
	if sp.check(t, path, sp.file, int64(len(sp.file)), "nothing but the used part") {
		t.Error("a file without room to grow was refused")
	}
}
