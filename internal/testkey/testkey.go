// Package testkey makes private keys and certificates for tests: the same seed is the same key, today and on every machine.
// Nothing but tests uses it, for a seed is no secret.
package testkey

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"sync"
)

// Ed25519 makes the Ed25519 key of a seed, anew each time: a test may change it.
func Ed25519(seed string) ed25519.PrivateKey {
	d := sha256.Sum256([]byte(seed))
	return ed25519.NewKeyFromSeed(d[:])
}

// P256 makes the EC key on P-256 of a seed, anew each time. It panics where the seed makes no key: one in four billion.
func P256(seed string) *ecdsa.PrivateKey {
	d := sha256.Sum256([]byte(seed))
	return must(ecdsa.ParseRawPrivateKey(elliptic.P256(), d[:]))
}

// RSA returns an RSA key of 2048 bits: the same one for the whole test process, because it takes a while to make. Nobody
// changes it.
func RSA() *rsa.PrivateKey { return made() }

var made = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

func must[K any](key K, err error) K {
	if err != nil {
		panic(err)
	}
	return key
}
