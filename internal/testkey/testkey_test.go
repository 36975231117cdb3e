package testkey_test

import (
	"crypto"
	"testing"

	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/testkey"
)

func TestKeys_AreTheirSeeds(t *testing.T) {
	t.Parallel()
	for thumbprint, key := range map[string]crypto.Signer{
		"SXLVIdhuLWkvkBeP6VyhE_zPvMSr6XG4uNKNtCt9pJE": testkey.Ed25519("a"),
		"yEWDI9OOxhYs94DKrFnpayN_CzIyOjYAtvoWyliSQek": testkey.P256("a"),
	} {
		if k, err := jwk.New(key.Public()); err != nil || k.ID() != thumbprint {
			t.Errorf("%s, %v; want %s", k.ID(), err, thumbprint)
		}
	}
}

func TestKeys_AreMadeAnew(t *testing.T) {
	t.Parallel()
	ed, ec, rs := testkey.Ed25519("a"), testkey.P256("a"), testkey.RSA()
	ed[0] ^= 1
	if ed.Equal(testkey.Ed25519("a")) || ec == testkey.P256("a") {
		t.Error("what one test changes, another one sees")
	}
	if rs != testkey.RSA() {
		t.Error("the RSA key is made twice")
	}
}
