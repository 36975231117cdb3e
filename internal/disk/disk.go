package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Private is the mode of every file that keyturn writes.
const Private fs.FileMode = 0o600

// ErrOpen says that others may read a file that has to be private, or that it belongs to somebody else. The text holds
// the command that mends it.
var ErrOpen = errors.New("file is not private")

// Write replaces the content of path, or creates it, atomically and durably. A symbolic link keeps being one: its target is
// replaced. Where root acts for a user by sudo and replaces a file of that user, it stays the user's.
func Write(path string, content []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return place(path, content, keepOwner, os.Rename)
}

// WriteNew is Write for a path that must not exist yet; else it returns an error that is fs.ErrExist. The file is ours,
// whoever owns what somebody puts at path meanwhile.
func WriteNew(path string, content []byte) error {
	own := func(*os.File, string) error { return nil }
	return place(path, content, own, func(from, to string) error {
		if err := os.Link(from, to); err != nil {
			return err
		}
		return os.Remove(from)
	})
}

func place(path string, content []byte, give func(*os.File, string) error, rename func(from, to string) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, temporary(path)+"*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is gone when all went well
	_, err = f.Write(content)
	if err := errors.Join(err, give(f, path), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// temporary begins the names of the files that place writes for path; a number follows. It names keyturn, so that Tidy takes
// no backup of somebody's for one of them.
func temporary(path string) string { return "." + filepath.Base(path) + ".keyturn-" }

// keepOwner gives f, if we are root by sudo, to the user who called it where the file at path is that user's. To anybody else
// root gives nothing: who plants a file would be handed what root writes.
func keepOwner(f *os.File, path string) error {
	info, err := os.Stat(path)
	if err != nil || os.Geteuid() != 0 || !Ours(info) {
		return nil
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 {
		return f.Chown(int(owner.Uid), int(owner.Gid))
	}
	return nil
}

// Ours says whether the file behind info belongs to the effective user or, where root acts for a user by sudo, to that one
// (SUDO_UID).
func Ours(info fs.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	self := os.Geteuid()
	return int(owner.Uid) == self || self == 0 && os.Getenv("SUDO_UID") == strconv.FormatUint(uint64(owner.Uid), 10)
}

// Tidy removes what a crash left of a Write to path: a temporary file that may hold the whole content. Nobody may be writing
// path meanwhile. What only bears such a name, and is no regular file or not Ours, stays and is no error.
func Tidy(path string) error {
	dir := filepath.Dir(path)
	files, err := os.ReadDir(dir)
	for _, f := range files {
		number, ok := strings.CutPrefix(f.Name(), temporary(path))
		if ok && number != "" && strings.Trim(number, "0123456789") == "" {
			err = errors.Join(err, Discard(filepath.Join(dir, f.Name())))
		}
	}
	return err
}

// Discard removes path if it is a regular file and Ours. Anything else, a link too, it leaves alone without an error.
func Discard(path string) error {
	info, err := os.Lstat(path)
	if err == nil && (!info.Mode().IsRegular() || !Ours(info)) {
		return nil
	}
	if err == nil {
		err = os.Remove(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// SyncDir makes renames and removals inside dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// maxPrivate is the largest file that ReadPrivate reads, in bytes: a sparse one can claim any size.
const maxPrivate = 16 << 20

// ReadPrivate reads a regular file of at most 16 MiB that nobody but its owner, who is us, may read or write; else it
// returns an error, ErrOpen where the mode or the owner is wrong.
func ReadPrivate(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would let it wait for a writer
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := Check(path, info); err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxPrivate {
		return nil, fmt.Errorf("%s is not a regular file of at most %d bytes", path, maxPrivate)
	}
	content := make([]byte, info.Size())
	if _, err := f.ReadAt(content, 0); err != nil {
		return nil, err
	}
	return content, nil
}

// Dir refuses a data directory that is none, or that others can look into (ErrOpen). One that is missing it makes, with mode
// 0700, where it may; else the error is fs.ErrNotExist.
func Dir(path string, create bool) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		return os.MkdirAll(path, 0o700)
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", path)
	}
	return Check(path, info)
}

// Check returns ErrOpen, with the command that mends it, where the file or directory behind info is open to others or
// belongs to somebody else.
func Check(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		want := "600"
		if info.IsDir() {
			want = "700"
		}
		return fmt.Errorf("%w: %s has mode %#o: run chmod %s %s", ErrOpen, path, mode, want, path)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Getuid() {
		return fmt.Errorf("%w: %s belongs to user %d, keyturn runs as %d: run chown %d %s",
			ErrOpen, path, owner.Uid, os.Getuid(), os.Getuid(), path)
	}
	return nil
}
