package bolt_test

import (
	"path/filepath"
	"testing"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/authority/storetest"
)

func TestStore_Suite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) authority.Store {
		return open(t, filepath.Join(t.TempDir(), "keyturn.db"))
	})
}
