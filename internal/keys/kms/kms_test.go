package kms_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"maps"
	"os"
	"testing"

	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/keys/kms"
	"github.com/keyturn/keyturn/internal/keys/kms/local"
)

// moto is the KMS of this package's tests.
type moto struct{ local.Server }

var server = new(moto)

func TestMain(m *testing.M) {
	code := m.Run()
	server.Stop()
	os.Exit(code)
}

func TestSealer(t *testing.T) {
	t.Parallel()
	client, key := server.Key(t, "us-east-1")
	s := kms.New(client, key)
	secret := make([]byte, 4096) // the most that is sealed: an RSA key is 2.5 kB
	rand.Read(secret)
	labels := map[string]string{keys.LabelPurpose: keys.PurposeLedger, keys.LabelKey: "k1"}
	sealed, err := s.Seal(t.Context(), secret, labels)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, secret[:32]) {
		t.Fatal("the secret stands in what was sealed")
	}
	if got, err := s.Open(t.Context(), sealed, labels); err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("open: %d bytes, %v", len(got), err)
	}

	for name, change := range map[string]func(map[string]string){
		"AnotherPurpose": func(l map[string]string) { l[keys.LabelPurpose] = keys.PurposeToken },
		"AnotherKey":     func(l map[string]string) { l[keys.LabelKey] = "k2" },
		"LabelMissing":   func(l map[string]string) { delete(l, keys.LabelKey) },
		"LabelTooMany":   func(l map[string]string) { l["more"] = "x" },
	} {
		t.Run(name, func(t *testing.T) {
			changed := maps.Clone(labels)
			change(changed)
			if got, err := s.Open(t.Context(), sealed, changed); !errors.Is(err, keys.ErrNotSealed) {
				t.Errorf("= %d bytes, %v, want ErrNotSealed", len(got), err)
			}
		})
	}
	t.Run("Garbage", func(t *testing.T) {
		for _, text := range [][]byte{[]byte("x"), bytes.Repeat([]byte{1}, 200), sealed[:len(sealed)-1], append(bytes.Clone(sealed), 0)} {
			if got, err := s.Open(t.Context(), text, labels); err == nil {
				t.Errorf("opened %d bytes", len(got))
			}
		}
	})
	t.Run("KeyOfSomebodyElse", func(t *testing.T) {
		_, foreign := server.Key(t, "us-east-1")
		word, err := kms.New(client, foreign).Seal(t.Context(), secret, labels)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Open(t.Context(), word, labels); err == nil {
			t.Errorf("opened %d bytes that another key has sealed", len(got))
		}
	})
	t.Run("NoKey", func(t *testing.T) {
		gone := kms.New(client, key[:len(key)-4]+"0000")
		_, err := gone.Seal(t.Context(), secret, labels)
		if err == nil || errors.Is(err, keys.ErrNotSealed) {
			t.Errorf("= %v", err)
		}
	})
}
