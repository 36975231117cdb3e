package jwk

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
)

var errPair = errors.New("jwk: the private part does not belong to the public part")

// MarshalPrivate returns the private JWK of an *ecdsa.PrivateKey on P-256, an ed25519.PrivateKey or an *rsa.PrivateKey
// with two primes: the members of Key.MarshalJSON, then the private ones. What it returns, ParsePrivate reads. The
// result is a secret: whoever has it signs.
func MarshalPrivate(s crypto.Signer) ([]byte, error) {
	w, err := privateWire(s)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(w)
	if err != nil {
		return nil, errors.New("jwk: the private key cannot be written")
	}
	if _, err := ParsePrivate(b); err != nil {
		return nil, err
	}
	return b, nil
}

// ParsePrivate reads one private JWK of at most 8 KiB by the rules of Parse, with key_ops that have sign where they are
// there. It checks that the private part belongs to the public part. An RSA key needs all of d, p, q, dp, dq and qi, and
// no oth (RFC 7518 §6.3.2). It returns an *ecdsa.PrivateKey, an ed25519.PrivateKey or an *rsa.PrivateKey.
func ParsePrivate(b []byte) (crypto.Signer, error) {
	m, err := readMembers(b, maxKey)
	if err != nil {
		return nil, err
	}
	k, err := m.key("sign")
	if err != nil {
		return nil, err
	}
	switch pub := k.pub.(type) {
	case *ecdsa.PublicKey:
		return m.ecPrivate(pub)
	case ed25519.PublicKey:
		return m.ed25519Private(pub)
	case *rsa.PublicKey:
		return m.rsaPrivate(pub)
	}
	return nil, errUnsupported
}

func (m members) ecPrivate(pub *ecdsa.PublicKey) (crypto.Signer, error) {
	d, err := m.fixed("d", coordinate)
	if err != nil {
		return nil, err
	}
	priv, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	if err != nil || !priv.PublicKey.Equal(pub) {
		return nil, errPair
	}
	return priv, nil
}

func (m members) ed25519Private(pub ed25519.PublicKey) (crypto.Signer, error) {
	seed, err := m.fixed("d", ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	priv := ed25519.NewKeyFromSeed(seed)
	if !pub.Equal(priv.Public()) {
		return nil, errPair
	}
	return priv, nil
}

func (m members) rsaPrivate(pub *rsa.PublicKey) (crypto.Signer, error) {
	if m.has("oth") {
		return nil, fmt.Errorf("jwk: %w: an RSA key of more than two primes", errUnsupported)
	}
	var n [6]*big.Int
	for i, name := range [...]string{"d", "p", "q", "dp", "dq", "qi"} {
		var err error
		if n[i], err = m.number(name); err != nil {
			return nil, err
		}
	}
	priv := &rsa.PrivateKey{PublicKey: *pub, D: n[0], Primes: n[1:3:3]}
	priv.Precompute()
	if priv.Validate() != nil {
		return nil, errPair
	}
	if c := priv.Precomputed; c.Dp.Cmp(n[3]) != 0 || c.Dq.Cmp(n[4]) != 0 || c.Qinv.Cmp(n[5]) != 0 {
		return nil, errPair
	}
	return priv, nil
}

func privateWire(s crypto.Signer) (wire, error) {
	switch s := s.(type) {
	case *ecdsa.PrivateKey:
		return ecWire(s)
	case ed25519.PrivateKey:
		return ed25519Wire(s)
	case *rsa.PrivateKey:
		return rsaWire(s)
	}
	return wire{}, fmt.Errorf("jwk: %w: a %T", errUnsupported, s)
}

func ecWire(s *ecdsa.PrivateKey) (wire, error) {
	k, err := New(&s.PublicKey)
	if err != nil {
		return wire{}, err
	}
	d, err := s.Bytes()
	if err != nil {
		return wire{}, errPair
	}
	k.wire.D = encode(d)
	return k.wire, nil
}

func ed25519Wire(s ed25519.PrivateKey) (wire, error) {
	if len(s) != ed25519.PrivateKeySize {
		return wire{}, errors.New("jwk: an Ed25519 key of the wrong length")
	}
	k, err := New(s.Public())
	if err != nil {
		return wire{}, err
	}
	k.wire.D = encode(s.Seed())
	return k.wire, nil
}

func rsaWire(s *rsa.PrivateKey) (wire, error) {
	k, err := New(&s.PublicKey)
	if err != nil {
		return wire{}, err
	}
	if len(s.Primes) != 2 {
		return wire{}, fmt.Errorf("jwk: %w: an RSA key without exactly two primes", errUnsupported)
	}
	own := &rsa.PrivateKey{PublicKey: s.PublicKey, D: s.D, Primes: s.Primes} // s may not be precomputed
	own.Precompute()
	if own.Validate() != nil {
		return wire{}, errPair
	}
	number := func(n *big.Int) string { return encode(n.Bytes()) }
	k.wire.D, k.wire.P, k.wire.Q = number(s.D), number(s.Primes[0]), number(s.Primes[1])
	k.wire.DP, k.wire.DQ, k.wire.QI = number(own.Precomputed.Dp), number(own.Precomputed.Dq), number(own.Precomputed.Qinv)
	return k.wire, nil
}
