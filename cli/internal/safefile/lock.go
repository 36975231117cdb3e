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

// Lock keeps every other process from what a path stands for, until Release or the end of this process, however it ends.
type Lock struct {
	f *os.File
}

// Acquire takes the lock that belongs to path: a file beside it, which is gone after Release. It waits for another holder
// until ctx ends, after one call of waiting (which may be nil). A missing folder is made with mode 0700.
func Acquire(ctx context.Context, path string, waiting func()) (*Lock, error) {
	folder := filepath.Dir(path)
	name := filepath.Join(folder, "."+filepath.Base(path)+".lock")
	for {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
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
