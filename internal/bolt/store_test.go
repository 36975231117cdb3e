package bolt_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/authority/storetest"
	"github.com/keyturn/keyturn/internal/bolt"
)

// unhurried waits for a lock that another test's child holds for a moment: one that is being started has inherited what was open.
var unhurried = bolt.Options{LockTimeout: time.Minute}

// open opens the store at path and closes it when t ends.
func open(t testing.TB, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path, unhurried)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "keyturn.db") }

func TestStore_Suite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) authority.Store { return open(t, newPath(t)) })
}

func TestOpen_AgainIsTheSame(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	var heads map[string]authority.Head
	for n := range 5 {
		s, err := bolt.Open(path, unhurried)
		if err != nil {
			t.Fatal(err)
		}
		before, err := ask(t, s)
		if err != nil {
			t.Fatal(err)
		}
		if heads != nil {
			if diff := cmp.Diff(heads, before.Heads); diff != "" {
				t.Error(diff)
			}
		}
		for _, region := range []string{"us-east-1", "eu-central-1"} {
			if err := s.Append(t.Context(), specimenBatch(region, before.Heads[region], n)); err != nil && n < 1 {
				t.Fatal(err)
			}
		}
		after, err := ask(t, s)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		again := open(t, path)
		got, err := ask(t, again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(after, got); diff != "" {
			t.Error(diff)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		heads = after.Heads
	}
}

func TestOpen_IsLocked(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := open(t, path)
	for _, timeout := range []time.Duration{-1, 30 * time.Millisecond} {
		_, err := bolt.Open(path, bolt.Options{LockTimeout: timeout})
		if !errors.Is(err, bolt.ErrLocked) || !strings.Contains(err.Error(), path) {
			t.Errorf("second open: %v, want ErrLocked with the file's name", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestOpen_WaitsForTheLock(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	first := open(t, path)
	opened := make(chan error)
	go func() {
		s, err := bolt.Open(path, unhurried)
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Errorf("open after the first has closed: %v", err)
	}
}

func TestOpen_MakesAPrivateFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	open(t, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if names := folder(t, path); len(names) != 1 {
		t.Errorf("files: %v", names)
	}
}

func folder(t *testing.T, path string) (names []string) {
	t.Helper()
	es, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		names = append(names, e.Name())
	}
	return names
}

func TestOpen_FolderMustExist(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none", "keyturn.db")
	if _, err := bolt.Open(path, unhurried); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v, want fs.ErrNotExist with the file's name", err)
	}
}

func TestOpen_ManyAtOnceMakeOneFile(t *testing.T) { // not in parallel: nobody waits for a lock that a child has inherited
	path := newPath(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	var winners []*bolt.Store
	for range 8 {
		all.Go(func() {
			s, err := bolt.Open(path, bolt.Options{LockTimeout: -1})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				winners = append(winners, s)
			} else if !errors.Is(err, bolt.ErrLocked) {
				t.Errorf("%v, want ErrLocked", err)
			}
		})
	}
	all.Wait()
	if len(winners) != 1 {
		t.Fatalf("%d winners", len(winners))
	}
	if err := winners[0].Close(); err != nil {
		t.Error(err)
	}
	open(t, path)
	if names := folder(t, path); len(names) != 1 {
		t.Errorf("files: %v", names)
	}
}

func TestOpen_RemovesWhatACrashLeft(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	for _, name := range []string{".keyturn.db.draft-123", ".keyturn.db.draft-of-mine", "keyturn.db.old", ".other.db.draft-123"} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), []byte("half a store"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open(t, path)
	want := []string{".keyturn.db.draft-of-mine", ".other.db.draft-123", "keyturn.db", "keyturn.db.old"}
	if diff := cmp.Diff(want, folder(t, path)); diff != "" {
		t.Error(diff)
	}
}

func TestOpen_RefusesModes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "it's mine.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o644, 0o640, 0o660, 0o606, 0o602, 0o601} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := bolt.Open(path, unhurried)
		command := "chmod 600 '" + filepath.Dir(path) + `/it'\''s mine.db'`
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), command) {
			t.Errorf("mode %v: %v, want fs.ErrPermission with %s", mode, err, command)
		}
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestOpen_RefusesAnotherOwner(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 4242, -1); err != nil {
		t.Skipf("only root can give files away: %v", err)
	}
	_, err := bolt.Open(path, unhurried)
	command := fmt.Sprintf("chown %d %s", os.Geteuid(), path)
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), command) {
		t.Errorf("%v, want fs.ErrPermission with %s", err, command)
	}
}

func TestOpen_RefusesWhatIsNoStore(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"Empty": "", "Text": strings.Repeat("not a store\n", 1000), "Zeros": strings.Repeat("\x00", 65536),
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := bolt.Open(path, unhurried); !errors.Is(err, bolt.ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", name, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != content {
			t.Errorf("%s: the file was changed", name)
		}
	}
	if _, err := bolt.Open(t.TempDir(), unhurried); err == nil {
		t.Error("a folder was opened")
	}
}

func TestOpen_RefusesANewerFormat(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := open(t, path)
	if err := errors.Join(s.SetFormat(2), s.Close()); err != nil {
		t.Fatal(err)
	}
	_, err := bolt.Open(path, unhurried)
	if err == nil || errors.Is(err, bolt.ErrDamaged) || !strings.Contains(err.Error(), "format") {
		t.Errorf("%v, want that it has another format, and no damage", err)
	}
}

// Mistakes that only keyturn itself could make, and a checksum of pages would not see.
func TestOpen_ProvesTheContents(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, table, key string
		counted          bool
		want             string
	}{
		{"LostClaim", "claims", "claim-00", false, "claims"},
		{"LostCounter", "counters", "counter-0", false, "counters"},
		{"LostSecret", "extras", bolt.EntryKey("local", 1), false, "extras"},
		{"HoleInTheLedger", "entries", bolt.EntryKey("local", 3), true, "no entry 3"},
		{"LedgerWithoutItsEnd", "entries", bolt.EntryKey("local", 7), true, "ends at 6"},
		{"LedgerWithoutHead", "heads", "local", true, "1 ledgers and 0 heads"},
		{"EntryThatNoSubjectHas", "subjects", "cli_00\x00" + bolt.EntryKey("local", 1), true, "index of subjects"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			s := open(t, path)
			if err := s.Append(t.Context(), specimenBatch("local", authority.Head{}, 0)); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(s.Lose(c.table, c.key, c.counted), s.Close()); err != nil {
				t.Fatal(err)
			}
			_, err := bolt.Open(path, unhurried)
			if !errors.Is(err, bolt.ErrDamaged) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want ErrDamaged about %q", err, c.want)
			}
		})
	}
}

func TestOpen_ProvesThatTheIndexNamesNothingElse(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := open(t, path)
	if err := s.Append(t.Context(), specimenBatch("local", authority.Head{}, 0)); err != nil {
		t.Fatal(err)
	}
	if err := s.Plant("subjects", "cli_99\x00"+bolt.EntryKey("local", 1)); err != nil {
		t.Fatal(err)
	}
	if es, err := s.Subject(t.Context(), "cli_99"); !errors.Is(err, bolt.ErrDamaged) || es != nil {
		t.Errorf("somebody else's entry: %+v, %v, want ErrDamaged", es, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := bolt.Open(path, unhurried); !errors.Is(err, bolt.ErrDamaged) || !strings.Contains(err.Error(), "index of subjects") {
		t.Errorf("%v, want ErrDamaged about the index of subjects", err)
	}
}

func TestChecksum_BindsAValueToItsPlace(t *testing.T) {
	t.Parallel()
	seen := map[uint32]string{}
	for _, c := range []struct {
		table      int
		key, value string
	}{{1, "key", "value"}, {2, "key", "value"}, {1, "keyv", "alue"}, {1, "ke", "yvalue"}, {1, "kez", "value"}, {1, "key", "valuf"}} {
		sum := bolt.Checksum(c.table, c.key, c.value)
		if other, ok := seen[sum]; ok {
			t.Errorf("%+v has the checksum of %s", c, other)
		}
		seen[sum] = fmt.Sprintf("%+v", c)
	}
}

// A watchedContext tells when somebody waits for its end.
type watchedContext struct {
	context.Context
	asked chan struct{}
}

func (c watchedContext) Done() <-chan struct{} {
	close(c.asked)
	return c.Context.Done()
}

func TestAppend_GivesUpWaitingForItsTurn(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t))
	writing, waiting := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		done <- s.AppendAfter(func() { close(writing); <-waiting }, specimenBatch("local", authority.Head{}, 0))
	}()
	<-writing
	ctx, end := context.WithCancel(t.Context())
	gaveUp, asked := make(chan error), make(chan struct{})
	go func() {
		gaveUp <- s.Append(watchedContext{ctx, asked}, specimenBatch("elsewhere", authority.Head{}, 1))
	}()
	<-asked
	end()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if _, err := s.Heads(t.Context()); err != nil { // reads never wait for a writer
		t.Error(err)
	}
	close(waiting)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestStore_Closed(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Heads(t.Context()); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("heads: %v, want fs.ErrClosed", err)
	}
	if err := s.Append(t.Context(), specimenBatch("local", authority.Head{}, 0)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("append: %v, want fs.ErrClosed", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestStore_CloseWaitsForCalls(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			region := fmt.Sprintf("region-%d", i)
			var head authority.Head
			for n := range 100 {
				b := specimenBatch(region, head, n)
				b.Claims, b.Limits = nil, nil
				err := s.Append(t.Context(), b)
				if errors.Is(err, fs.ErrClosed) {
					return
				}
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				head = authority.Head{Seq: b.Entries[6].Seq, Sum: b.Entries[6].Sum}
				if _, err := s.Ledger(t.Context(), region, 0, 100); err != nil && !errors.Is(err, fs.ErrClosed) {
					t.Errorf("ledger: %v", err)
				}
				if n == 3 && i == 0 {
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
}

func TestAppend_RefusesNames(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t))
	good := func() authority.Batch { return specimenBatch("local", authority.Head{}, 1) }
	for name, spoil := range map[string]func(*authority.Batch){
		"NoEntries":        func(b *authority.Batch) { b.Entries = nil },
		"Hole":             func(b *authority.Batch) { b.Entries[3].Seq++ },
		"OtherRegion":      func(b *authority.Batch) { b.Entries[3].Region = "elsewhere" },
		"ZeroInSubject":    func(b *authority.Batch) { b.Entries[3].Subject = "a\x00b" },
		"NoSubject":        func(b *authority.Batch) { b.Entries[3].Subject = "" },
		"ZeroInList":       func(b *authority.Batch) { b.Entries[3].Lists = []string{"a\x00b"} },
		"NoClaim":          func(b *authority.Batch) { b.Claims[0].Key = "" },
		"NoCounter":        func(b *authority.Batch) { b.Limits[0].Name = "" },
		"SubjectOf40000":   func(b *authority.Batch) { b.Entries[3].Subject = strings.Repeat("x", 40_000) },
		"ZeroInRegion":     func(b *authority.Batch) { *b = specimenBatch("a\x00b", authority.Head{}, 1) },
		"RegionWithNoName": func(b *authority.Batch) { *b = specimenBatch("", authority.Head{}, 1) },
	} {
		b := good()
		spoil(&b)
		if err := s.Append(t.Context(), b); err == nil || errors.Is(err, bolt.ErrDamaged) || errors.Is(err, authority.ErrConflict) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	if h, err := s.Heads(t.Context()); err != nil || len(h) != 0 {
		t.Errorf("heads: %v, %v", h, err)
	}
	if err := s.Append(t.Context(), good()); err != nil {
		t.Errorf("the batch that was spoilt, unspoilt: %v", err)
	}
	for _, name := range []string{"", "cli_37\x00local", "\x00"} {
		if _, err := s.Subject(t.Context(), name); !errors.Is(err, authority.ErrNotFound) {
			t.Errorf("subject %q: %v, want ErrNotFound", name, err)
		}
	}
}

func TestAppend_DatesWhatTheSameBatchBrings(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t))
	b := authority.Batch{Region: "local", Entries: []authority.Entry{
		{Region: "local", Seq: 1, Subject: "a", Data: []byte("d"), Secret: []byte("h"), SecretExpires: day.Add(time.Hour)},
	}, Expiries: []authority.Expiry{{Subject: "a", Region: "local", Seq: 1, Secret: day, Copy: day}}}
	if err := s.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	es, err := s.Subject(t.Context(), "a")
	if err != nil || !es[0].SecretExpires.Equal(day) || !es[0].CopyExpires.Equal(day) {
		t.Errorf("%+v, %v", es, err)
	}
}

// Whoever removes or replaces the file of a running store must hear of it: what would be written is lost.
func TestStore_ReplacedWhileOpen(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := open(t, path)
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	b := specimenBatch("local", authority.Head{}, 0)
	if err := s.Append(t.Context(), b); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("append to a file without a name: %v, want an error with the file's name", err)
	}
	open(t, path) // another one
	if err := s.Append(t.Context(), b); err == nil {
		t.Error("append to a file whose name is another's: no error")
	}
	if h, err := s.Heads(t.Context()); err != nil || len(h) != 0 {
		t.Errorf("heads: %v, %v", h, err)
	}
	if err := os.Rename(path+".moved", path); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(t.Context(), b); err != nil {
		t.Errorf("append when it is back in its place: %v", err)
	}
}
