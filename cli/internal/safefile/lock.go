package safefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// pollEvery is how often a lock that another process holds is tried again.
const pollEvery = 20 * time.Millisecond

// maxGone is how often in all a folder may be gone again before a lock is made in it. Some, like /dev/fd, never take a file.
const maxGone = 1000

// Lock keeps every other process from what a path stands for, until Release or the end of this process, however it ends.
type Lock struct {
	f *os.File
}

// Acquire takes the lock that belongs to path: a file beside it, which is gone after Release. It waits for another holder
// until ctx ends, after one call of waiting (which may be nil). A lock that is free is taken even when ctx has ended: what is
// to be written under it may be a secret that was just handed out. A missing folder is made with mode 0700. A symbolic link in
// the place of the lock is an error, and is not followed.
func Acquire(ctx context.Context, path string, waiting func()) (*Lock, error) {
	folder := filepath.Dir(path)
	name := filepath.Join(folder, "."+filepath.Base(path)+".lock")
	gone := 0
	for first := true; ; first = false {
		if !first && ctx.Err() != nil {
			return nil, fmt.Errorf("lock %s: %w", name, ctx.Err())
		}
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
		f, err := open(name)
		if errors.Is(err, fs.ErrNotExist) && gone < maxGone {
			gone++
			continue // its last holder removed the folder after we had made it
		}
		if err != nil {
			return nil, err
		}
		held, err := tryLock(f)
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if held && current(f, name) {
			return &Lock{f}, nil
		}
		_ = f.Close()
		if held {
			continue // its last holder removed the file after we had opened it
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("another process holds %s: %w", name, ctx.Err())
		case <-time.After(pollEvery):
		}
	}
}

// open opens a lock file, or makes it. A link could have it made anywhere, and is never the file that it leads to.
func open(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err == nil {
		return f, nil
	}
	if info, failed := os.Lstat(name); failed == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("lock %s: it is a symbolic link, which keyturn never makes; run: rm %s", name, quote(name))
	}
	return nil, err
}

// tryLock reports whether nobody else has the lock, and takes it.
func tryLock(f *os.File) (bool, error) {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, err
		}
	}
}

// current says whether f is still the file of that name.
func current(f *os.File, name string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(name)
	return err == nil && os.SameFile(mine, there)
}

// Release gives the lock up and removes its file.
func (l *Lock) Release() {
	_ = os.Remove(l.f.Name())
	_ = l.f.Close()
}
