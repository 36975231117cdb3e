// Package safefile keeps small private files so that a crash or a second process never leaves half of one: it writes them
// as a whole, reads them only where nobody else can, and locks them. It knows nothing of what is in them.
//
// Its errors name the path, and wrap what the system said.
package safefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/keyturn/keyturn/internal/disk"
)

// maxSize is what a file may hold, in bytes.
const maxSize = 1 << 20

// ErrMode says that others may read or write a file that is to be private.
var ErrMode = errors.New("others can read or change it")

// ErrOwner says that a file belongs to somebody else: what it holds was chosen by another user.
var ErrOwner = errors.New("another user may have written it")

// Read returns what is in a file that only its owner, who is us (disk.Ours), can read and write. The error is fs.ErrNotExist
// where there is none, ErrOwner or ErrMode with the command that mends it where its owner is another or its permissions are
// wider than 0600, and says so where it is over 1 MiB. A device of root's, such as /dev/null, may be read by everybody.
func Read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil {
		err = check(path, info) // before it is opened, too: a pipe that somebody planted would never open
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err = f.Stat()
	if err != nil {
		return nil, err
	}
	if err := check(path, info); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err == nil && len(b) > maxSize {
		err = fmt.Errorf("%s is larger than %d MiB", path, maxSize>>20)
	}
	return b, err
}

// check comes before a byte is read: a config of somebody else could name a command for us to run.
func check(path string, info fs.FileInfo) error {
	owner, ok := info.Sys().(*syscall.Stat_t)
	device := info.Mode()&fs.ModeDevice != 0 && ok && owner.Uid == 0
	if ok && !device && !disk.Ours(info) {
		self := os.Geteuid()
		return fmt.Errorf("%s belongs to user %d and this is user %d: %w; if you trust what is in it, run: chown %d %s",
			path, owner.Uid, self, ErrOwner, self, quote(path))
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s has mode %04o: %w; run: chmod 600 %s", path, info.Mode().Perm(), ErrMode, quote(path))
	}
	return nil
}

// Write replaces a file as disk.Write does; a folder that is missing is made with 0700. The caller holds the file's lock,
// because what an earlier crash left is removed first, so that no crash leaves more than one copy behind: that of disk.Write,
// and that of keyturns before it, which named it .tmp.
func Write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	earlier := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := errors.Join(disk.Tidy(path), disk.Discard(earlier)); err != nil {
		return err
	}
	return disk.Write(path, data)
}

// Resolve returns the file that path leads to through symbolic links, so that a write replaces that one and not a link.
// The file itself may be missing.
func Resolve(path string) (string, error) {
	for range 40 {
		info, err := os.Lstat(path)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			return path, err
		}
		to, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return "", fmt.Errorf("%s: too many symbolic links", path)
}

// quote writes a path so that a shell reads it as one word.
func quote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=:,@%") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
