package bolt_test

import (
	"testing"

	"github.com/keyturn/keyturn/internal/bolt"
)

// open opens the store at path and closes it when t ends.
func open(t testing.TB, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
