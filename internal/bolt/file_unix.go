//go:build unix

package bolt

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// checkFile refuses a file that others can read or write, or that is somebody else's.
func checkFile(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return ownerError(path, int(st.Uid), os.Geteuid())
	}
	if info.Mode().Perm()&0o177 != 0 {
		return modeError(path, info.Mode())
	}
	return nil
}

func tryLock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// release lets go of the lock and closes the file. Closing alone would not do: where bbolt has not unmapped the file, the
// mapping keeps the lock.
func release(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}

// fileSize returns the file's size in bytes. It is called before every read, so it allocates nothing.
func fileSize(f *os.File) (int64, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return 0, err
	}
	return st.Size, nil
}

// syncFolder makes a new name durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}
