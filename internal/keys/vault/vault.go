// Package vault is a KMS for tests, in memory: it opens what it sealed for who has the very same labels. Nothing but tests
// uses it. Where the real protocol matters, there is internal/keys/kms/local.
package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"maps"
	"sync"

	"github.com/keyturn/keyturn/internal/keys"
)

// Memory is a keys.Sealer. The zero value is ready; it is for many goroutines.
type Memory struct {
	mu   sync.Mutex
	kept map[string]entry // by what stands for it outside
}

type entry struct {
	secret []byte
	labels map[string]string
}

// Seal implements keys.Sealer. It never fails.
func (m *Memory) Seal(_ context.Context, secret []byte, labels map[string]string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept == nil {
		m.kept = map[string]entry{}
	}
	sealed := rand.Text()
	m.kept[sealed] = entry{bytes.Clone(secret), maps.Clone(labels)}
	return []byte(sealed), nil
}

// Open implements keys.Sealer. The error is keys.ErrNotSealed.
func (m *Memory) Open(_ context.Context, sealed []byte, labels map[string]string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.kept[string(sealed)]; ok && maps.Equal(e.labels, labels) {
		return bytes.Clone(e.secret), nil
	}
	return nil, keys.ErrNotSealed
}
