package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/disk"
	"github.com/keyturn/keyturn/internal/replica"
)

// copyFile is the file with the copy of the ledgers.
type copyFile struct {
	*bolt.Store
	path string
}

func openCopy(path string) (*copyFile, error) {
	s, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		return nil, err
	}
	return &copyFile{s, path}, nil
}

// spareFile is where a new copy is pulled into.
const spareFile = replicaFile + ".new"

// spare implements replica.Options.Spare.
func (a *Agent) spare(context.Context) (replica.Spare, error) {
	path := filepath.Join(a.c.DataDir, spareFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	fresh, err := openCopy(path)
	if err != nil {
		return nil, err
	}
	return &spare{a, fresh}, nil
}

// spare is a copy beside the one in use.
type spare struct {
	agent *Agent
	fresh *copyFile
}

// Store implements replica.Spare.
func (s *spare) Store() authority.Store { return s.fresh }

// Adopt implements replica.Spare: the new file takes the old one's name, so that a crash leaves one or the other.
func (s *spare) Adopt(context.Context) (authority.Store, error) {
	if err := s.fresh.Close(); err != nil {
		return nil, err
	}
	a := s.agent
	a.copyMu.Lock()
	defer a.copyMu.Unlock()
	path := a.store.path
	if err := a.store.Close(); err != nil {
		return nil, err
	}
	if err := os.Rename(s.fresh.path, path); err != nil {
		return nil, err
	}
	if err := disk.SyncDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	store, err := openCopy(path)
	if err != nil {
		return nil, err
	}
	a.store = store
	return store, nil
}

// Discard implements replica.Spare.
func (s *spare) Discard() error {
	return errors.Join(s.fresh.Close(), os.Remove(s.fresh.path))
}

// sweep removes what the clock has ended from the copy.
func (a *Agent) sweep(ctx context.Context, at time.Time) (int, error) {
	a.copyMu.Lock()
	defer a.copyMu.Unlock()
	return a.store.Sweep(ctx, at)
}
