package replica_test

import (
	"context"
	"os"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
)

func remove(path string) error { return os.Remove(path) }

// Adopt moves the file. Its lock is let go of before, as is that of the one whose place it takes.
func (s *spareFile) Adopt(context.Context) (authority.Store, error) {
	if err := s.store.Close(); err != nil {
		return nil, err
	}
	if err := s.h.store.Close(); err != nil {
		return nil, err
	}
	if err := os.Rename(s.h.path+".new", s.h.path); err != nil {
		return nil, err
	}
	store, err := bolt.Open(s.h.path, bolt.Options{})
	s.h.store = store
	return store, err
}
