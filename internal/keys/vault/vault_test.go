package vault_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/keys/vault"
)

var _ keys.Sealer = (*vault.Memory)(nil)

func TestMemory_OpensForTheSameLabelsOnly(t *testing.T) {
	t.Parallel()
	var m, another vault.Memory
	labels := map[string]string{"purpose": "token", "key": "k1"}
	secret := []byte("a secret")
	sealed, err := m.Seal(t.Context(), secret, labels)
	if err != nil || bytes.Contains(sealed, secret) {
		t.Fatalf("%q, %v", sealed, err)
	}
	clear(secret) // it was the caller's
	labels["key"] = "k2"
	for _, wrong := range []map[string]string{nil, labels, {"purpose": "token"}, {"purpose": "token", "key": "k1", "more": ""}} {
		if got, err := m.Open(t.Context(), sealed, wrong); !errors.Is(err, keys.ErrNotSealed) {
			t.Errorf("%v: %q, %v", wrong, got, err)
		}
	}
	labels["key"] = "k1"
	if got, err := another.Open(t.Context(), sealed, labels); !errors.Is(err, keys.ErrNotSealed) {
		t.Errorf("another vault: %q, %v", got, err)
	}
	for range 2 {
		got, err := m.Open(t.Context(), sealed, labels)
		if err != nil || string(got) != "a secret" {
			t.Fatalf("%q, %v", got, err)
		}
		clear(got)
	}
}
