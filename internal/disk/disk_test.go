package disk_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/disk"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := disk.ReadPrivate(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := disk.Write(path, []byte(content)); err != nil {
		t.Fatal(err)
	}
}

// names are the files of a folder.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

func TestWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.key")
	for _, content := range []string{"one", "another, longer one", "", "short"} {
		write(t, path, content)
		if got := read(t, path); got != content {
			t.Errorf("= %q, want %q", got, content)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != disk.Private {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
	if got := names(t, dir); got != "a.key" {
		t.Errorf("the folder holds %s", got)
	}
}

func TestWrite_TightensAModeThatWasTooWide(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.key")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	write(t, path, "new")
	if got := read(t, path); got != "new" {
		t.Errorf("= %q", got)
	}
}

func TestWriteNew_NeverReplaces(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.key")
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []string
	for i := range 16 {
		wg.Go(func() {
			content := strings.Repeat("x", i+1)
			err := disk.WriteNew(path, []byte(content))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, content)
			} else if !errors.Is(err, fs.ErrExist) {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 || read(t, path) != won[0] {
		t.Errorf("%d won; the file holds %q", len(won), read(t, path))
	}
	if got := names(t, dir); got != "a.key" {
		t.Errorf("the folder holds %s", got)
	}
	// A link that leads nowhere is there, too.
	link := filepath.Join(dir, "b.key")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), link); err != nil {
		t.Fatal(err)
	}
	if err := disk.WriteNew(link, []byte("x")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a link: %v", err)
	}
}

func TestWrite_ALinkStaysALink(t *testing.T) {
	t.Parallel()
	there, here := t.TempDir(), t.TempDir()
	target, link := filepath.Join(there, "real.key"), filepath.Join(here, "a.key")
	write(t, target, "old")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	write(t, link, "new")
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("it is no link any more: %v", err)
	}
	if read(t, target) != "new" || read(t, link) != "new" {
		t.Error("the target was not replaced")
	}
	if got := names(t, here) + " " + names(t, there); got != "a.key real.key" {
		t.Errorf("the folders hold %s", got)
	}
}

// What a crash leaves is the old content or the new, and a temporary file that is in nobody's way.
func TestWrite_AfterACrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.key")
	write(t, path, "old")
	left := filepath.Join(dir, ".a.key.keyturn-123456")
	if err := os.WriteFile(left, []byte("hal"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != "old" {
		t.Errorf("= %q", got)
	}
	write(t, path, "new")
	if got := read(t, path); got != "new" {
		t.Errorf("= %q", got)
	}
	if err := disk.WriteNew(filepath.Join(dir, "b.key"), []byte("b")); err != nil {
		t.Errorf("%v", err)
	}
}

// Readers see the old content or the new one, never a part.
func TestWrite_IsAtomic(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.key")
	contents := map[string]bool{strings.Repeat("a", 5000): true, strings.Repeat("b", 9000): true, "c": true}
	write(t, path, "c")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			for c := range contents {
				if err := disk.Write(path, []byte(c)); err != nil {
					t.Errorf("%v", err)
				}
			}
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if got := read(t, path); !contents[got] {
			t.Fatalf("a part: %d bytes", len(got))
		}
	}
}

func TestWrite_LeavesNothingWhereItFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	taken := filepath.Join(dir, "folder")
	if err := os.MkdirAll(filepath.Join(taken, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := disk.Write(taken, []byte("x")); err == nil {
		t.Error("a folder was replaced")
	}
	if got := names(t, dir); got != "folder" {
		t.Errorf("the folder holds %s", got)
	}
	if err := disk.Write(filepath.Join(dir, "missing", "a.key"), []byte("x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into no folder: %v", err)
	}
	if err := disk.SyncDir(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("sync no folder: %v", err)
	}
}

func TestReadPrivate_Modes(t *testing.T) {
	t.Parallel()
	for mode, open := range map[fs.FileMode]bool{
		0o600: false, 0o400: false, 0o700: false, 0o640: true, 0o604: true, 0o660: true, 0o606: true, 0o620: true, 0o601: true, 0o777: true,
	} {
		path := filepath.Join(t.TempDir(), "a.key")
		write(t, path, "not for you")
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := disk.ReadPrivate(path)
		if open != errors.Is(err, disk.ErrOpen) || !open && err != nil {
			t.Errorf("%#o: %v", mode, err)
		}
		if open && (!strings.Contains(err.Error(), "chmod 600 "+path) || strings.Contains(err.Error(), "not for you")) {
			t.Errorf("%#o: %v", mode, err)
		}
		link := path + ".link" // a link is as open as what it leads to
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		if _, err := disk.ReadPrivate(link); open != errors.Is(err, disk.ErrOpen) {
			t.Errorf("%#o through a link: %v", mode, err)
		}
	}
}

// given is a file of somebody else.
func given(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.key")
	write(t, path, "x")
	if err := os.Chown(path, 4711, 4712); err != nil {
		if os.Getenv("CI") == "true" && os.Getuid() == 0 {
			t.Fatal(err)
		}
		t.Skip("giving a file away takes root")
	}
	return path
}

func TestWrite_RootTakesNoFileAwayFromWhoCalledSudo(t *testing.T) {
	path := given(t)
	t.Setenv("SUDO_UID", "4711")
	write(t, path, "new")
	if uid, gid := owner(t, path); uid != 4711 || gid != 4712 {
		t.Errorf("it belongs to %d:%d", uid, gid)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != disk.Private {
		t.Errorf("%v, %v", info, err)
	}
}

// What root writes is not handed to whoever put a file there before.
func TestWrite_RootGivesNothingToAPlanter(t *testing.T) {
	path := given(t)
	for _, caller := range []string{"", "4712", "4711x", "04711"} {
		t.Setenv("SUDO_UID", caller)
		if err := os.Chown(path, 4711, 4712); err != nil {
			t.Fatal(err)
		}
		write(t, path, "new")
		if uid, _ := owner(t, path); uid != 0 {
			t.Errorf("SUDO_UID=%s: it belongs to %d", caller, uid)
		}
	}
}

func owner(t *testing.T, path string) (uid, gid uint32) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	is := info.Sys().(*syscall.Stat_t)
	return is.Uid, is.Gid
}

func TestReadPrivate_AnotherOwner(t *testing.T) {
	t.Parallel()
	path := given(t)
	if _, err := disk.ReadPrivate(path); !errors.Is(err, disk.ErrOpen) || !strings.Contains(err.Error(), "chown") || !strings.Contains(err.Error(), "4711") {
		t.Errorf("= %v", err)
	}
}

func TestReadPrivate_WhatIsNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.ReadPrivate(dir); err == nil {
		t.Error("a folder was read")
	}
	if _, err := disk.ReadPrivate(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.ReadPrivate(pipe); err == nil { // and it does not wait for somebody to write
		t.Error("a pipe was read")
	}
	huge := filepath.Join(dir, "huge")
	write(t, huge, "")
	if err := os.Truncate(huge, 1<<40); err != nil {
		t.Skipf("no sparse files here: %v", err)
	}
	if _, err := disk.ReadPrivate(huge); err == nil {
		t.Error("a file of a terabyte was read")
	}
}

func TestCheck_Folders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for mode, open := range map[fs.FileMode]bool{0o700: false, 0o500: false, 0o750: true, 0o755: true, 0o701: true} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		err = disk.Check(dir, info)
		if open != errors.Is(err, disk.ErrOpen) || open && !strings.Contains(err.Error(), "chmod 700 "+dir) {
			t.Errorf("%#o: %v", mode, err)
		}
	}
}

func TestTidy_RemovesWhatACrashLeft(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "[a-")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ledger.key")
	stay := []string{
		".ledger.key.", ".ledger.key.20241122", ".ledger.key.keyturn-", ".ledger.key.keyturn-7a", ".ledger.key.lock", ".ledger.key.tmp",
		".token.key.keyturn-7", "ledger.key", "other",
	}
	for _, name := range append([]string{".ledger.key.keyturn-123", ".ledger.key.keyturn-456"}, stay...) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := disk.Tidy(path); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); got != strings.Join(stay, " ") {
		t.Errorf("left: %s", got)
	}
}

// A crash in the middle of a Write is known by the name that Write gives: what a test puts there by hand could be another.
func TestTidy_KnowsWhatWriteLeaves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.key")
	seen := ""
	for deadline := time.Now().Add(time.Minute); seen == "" && time.Now().Before(deadline); {
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := disk.Write(path, make([]byte, 1<<20)); err != nil {
				t.Error(err)
			}
		}()
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
			}
			for _, name := range strings.Fields(names(t, dir)) {
				if name != "a.key" {
					seen = name
				}
			}
		}
	}
	if seen == "" {
		t.Fatal("no temporary file was seen")
	}
	if err := os.WriteFile(filepath.Join(dir, seen), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := disk.Tidy(path); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); got != "a.key" {
		t.Errorf("left: %s", got)
	}
}

func TestTidy_LeavesWhatIsNoFileOfOurs(t *testing.T) {
	dir := t.TempDir()
	name := func(n string) string { return filepath.Join(dir, ".a.key.keyturn-"+n) }
	if err := errors.Join(os.Mkdir(name("1"), 0o700), os.MkdirAll(filepath.Join(name("2"), "full"), 0o700),
		os.Symlink("elsewhere", name("3")), syscall.Mkfifo(name("4"), 0o600)); err != nil {
		t.Fatal(err)
	}
	want := ".a.key.keyturn-1 .a.key.keyturn-2 .a.key.keyturn-3 .a.key.keyturn-4"
	if os.Geteuid() == 0 {
		if err := errors.Join(os.WriteFile(name("5"), nil, 0o600), os.Chown(name("5"), 4711, 4712)); err != nil {
			t.Fatal(err)
		}
		want += " .a.key.keyturn-5"
	}
	t.Setenv("SUDO_UID", "")
	if err := disk.Tidy(filepath.Join(dir, "a.key")); err != nil {
		t.Error(err)
	}
	if got := names(t, dir); got != want {
		t.Errorf("left: %s", got)
	}
	t.Setenv("SUDO_UID", "4711")
	if err := disk.Tidy(filepath.Join(dir, "a.key")); err != nil || strings.HasSuffix(names(t, dir), "5") {
		t.Errorf("what root wrote for a user stays: %v", err)
	}
}

func TestDir_MakesWhatMayBeMadeAndRefusesWhatIsOpen(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	missing := filepath.Join(base, "a", "b")
	if err := disk.Dir(missing, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing, and not to be made: %v", err)
	}
	for range 2 {
		if err := disk.Dir(missing, true); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(missing); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.Chmod(missing, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := disk.Dir(missing, true); !errors.Is(err, disk.ErrOpen) {
		t.Errorf("open to others: %v", err)
	}
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := disk.Dir(file, true); err == nil {
		t.Error("a file is taken for a directory")
	}
}
