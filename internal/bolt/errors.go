package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	berrors "go.etcd.io/bbolt/errors"

	"github.com/keyturn/keyturn/internal/authority"
)

// Errors that callers branch on. The error that a caller gets wraps one of them and names the file.
var (
	// ErrLocked says that another process, or another Store of this one, has the file open.
	ErrLocked = errors.New("another keyturn is using it")
	// ErrDamaged says that the file is not what was written: cut off, altered, or not a store at all. It is never
	// repaired, and nothing is answered from the damaged part.
	ErrDamaged = errors.New("damaged")
)

// A damage says what is wrong with which file.
type damage struct {
	path  string
	cause string
}

func (d *damage) Error() string {
	return fmt.Sprintf("%s is damaged: %s; nothing was changed: move it away, then put a backup of it in its place, or "+
		"load an export or another copy into a new one with `keyturn import`", d.path, d.cause)
}

func (d *damage) Unwrap() error { return ErrDamaged }

// broken is damage before the file's name is known: what lies below the Store reports it, and the Store adds the name.
type broken string

func (b broken) Error() string { return string(b) }

func brokenf(format string, args ...any) error {
	return broken(fmt.Sprintf(format, args...))
}

// explain gives an error of a call the name of the file, and leaves the two errors of the contract and those of the
// context as they are.
func (s *Store) explain(err error) error {
	var b broken
	switch {
	case err == nil:
		return nil
	case errors.As(err, &b):
		return &damage{path: s.path, cause: err.Error()}
	case errors.Is(err, ErrDamaged), errors.Is(err, authority.ErrConflict), errors.Is(err, authority.ErrNotFound),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, berrors.ErrTimeout):
		return lockedError(s.path)
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return fmt.Errorf("%s: %w", s.path, fs.ErrClosed)
	}
	return fmt.Errorf("%s: %w", s.path, err)
}

// shell quotes a path for the command that an error message offers.
func shell(path string) string {
	if strings.ContainsFunc(path, func(r rune) bool {
		return !strings.ContainsRune("/._-+=:,@", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
}

func lockedError(path string) error {
	return fmt.Errorf("%s: %w; stop that one first", path, ErrLocked)
}

func replacedError(path string) error {
	return fmt.Errorf("%s: the file was removed or replaced while it was in use: nothing more is written to the old one; "+
		"stop every keyturn that uses it, then put the right file in its place", path)
}

func modeError(path string, mode fs.FileMode) error {
	return fmt.Errorf("%s: mode %04o is wider than 0600: run `chmod 600 %s`: %w",
		path, mode.Perm(), shell(path), fs.ErrPermission)
}

func ownerError(path string, owner, self int) error {
	return fmt.Errorf("%s: it belongs to user %d and this is user %d: run `chown %d %s`: %w",
		path, owner, self, self, shell(path), fs.ErrPermission)
}

// wouldBlock reports that a lock is held elsewhere.
func wouldBlock(err error) bool {
	return errors.Is(err, syscall.EWOULDBLOCK)
}
