package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

const lockPoll = 20 * time.Millisecond

// openFile opens and locks the file of a store, and makes it first where there is none.
func openFile(path string, timeout time.Duration) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := create(path); err != nil {
			return nil, err
		}
		f, err = os.OpenFile(path, os.O_RDWR, 0)
	}
	if err != nil {
		return nil, err
	}
	if err := takeFile(f, path, timeout); err != nil {
		_ = f.Close()
		return nil, err
	}
	removeDrafts(path)
	return f, nil
}

func takeFile(f *os.File, path string, timeout time.Duration) error {
	if err := checkFile(f, path); err != nil {
		return err
	}
	if err := lock(f, path, timeout); err != nil {
		return err
	}
	return inPlace(f, path)
}

// inPlace refuses a file that no longer has its name: somebody has removed it, or put a backup in its place, and what is
// written to it is lost as soon as it is closed.
func inPlace(f *os.File, path string) error {
	named, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	opened, failed := f.Stat()
	if failed != nil {
		return failed
	}
	if err != nil || !os.SameFile(named, opened) {
		return replacedError(path)
	}
	return nil
}

// lock takes the file for this process alone. It is the same lock that bbolt takes.
func lock(f *os.File, path string, timeout time.Duration) error {
	var late <-chan time.Time
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := tryLock(f)
		if err == nil {
			return nil
		}
		if !wouldBlock(err) {
			return fmt.Errorf("%s: lock: %w", path, err)
		}
		if late == nil {
			late = time.After(max(timeout, 0))
		}
		select {
		case <-late:
			return lockedError(path)
		case <-tick.C:
		}
	}
}

// create makes an empty store under a name of its own and gives it its real name when it is complete and durable: a
// crash leaves either a whole store or none. When somebody else was faster, theirs is as good.
func create(path string) error {
	draft, err := os.CreateTemp(filepath.Dir(path), draftPrefix(path)+"*")
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	defer func() { _ = os.Remove(draft.Name()) }()
	if err := fill(draft); err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	if err := os.Link(draft.Name(), path); err != nil {
		if _, there := os.Lstat(path); there == nil {
			return nil
		}
		return fmt.Errorf("create %s: %w", path, err)
	}
	return syncFolder(filepath.Dir(path))
}

// draftPrefix begins the names of drafts; a number follows.
func draftPrefix(path string) string { return "." + filepath.Base(path) + ".draft-" }

// removeDrafts removes what a crash in create left behind. Only the one that has the store locked does so.
func removeDrafts(path string) {
	found, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return // the folder may be closed to reading; drafts do no harm
	}
	for _, e := range found {
		number, ok := strings.CutPrefix(e.Name(), draftPrefix(path))
		if ok && strings.Trim(number, "0123456789") == "" {
			_ = os.Remove(filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
}

// fill writes an empty store into f and closes it.
func fill(f *os.File) error {
	db, err := openDB(f)
	if err != nil {
		_ = f.Close()
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range append(tableNames[:], aboutBucket) {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		sum := checksum(about, []byte(formatKey), []byte{format})
		b := tx.Bucket([]byte(aboutBucket))
		if err := b.Put([]byte(formatKey), binary.LittleEndian.AppendUint32([]byte{format}, sum)); err != nil {
			return err
		}
		return (&change{view: view{tx}}).finish()
	})
	return errors.Join(err, db.Close())
}
