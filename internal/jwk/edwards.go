package jwk

import (
	"crypto/ed25519"
	"math/big"
	"slices"
)

// onEd25519 says whether b is the one spelling (RFC 8032 §5.1.3) of a point on edwards25519 that can be a public key.
// The eight points of small order cannot: they verify signatures that anybody can make. crypto/ed25519 looks at a key
// only when it verifies, and accepts those.
//
// The curve is x² = u/v with u = y²-1 and v = dy²+1, so y is on it if uv is a square. y = 1 and y = -1 give uv = 0. The
// rest of small order has y = 0 (order 4), or doubles to it (order 8), which is dy⁴+2y²-1 = 0.
func onEd25519(b []byte) bool {
	if len(b) != ed25519.PublicKeySize {
		return false
	}
	p, d := fieldOfEd25519()
	mod := func(x *big.Int) *big.Int { return x.Mod(x, p) }
	mul := func(x, y *big.Int) *big.Int { return mod(new(big.Int).Mul(x, y)) }
	one := big.NewInt(1)

	bigEndian := slices.Clone(b)
	slices.Reverse(bigEndian)
	bigEndian[0] &= 0x7f // the sign of x
	y := new(big.Int).SetBytes(bigEndian)
	if y.Cmp(p) >= 0 {
		return false
	}
	y2 := mul(y, y)
	u := mod(new(big.Int).Sub(y2, one))
	dy2 := mul(d, y2)
	v := mod(new(big.Int).Add(dy2, one))
	if big.Jacobi(mul(u, v), p) != 1 {
		return false
	}
	order8 := new(big.Int).Add(mul(dy2, y2), y2)
	order8.Add(order8, y2).Sub(order8, one)
	return y.Sign() != 0 && mod(order8).Sign() != 0
}

// fieldOfEd25519 returns p = 2^255-19 and d = -121665/121666 mod p (RFC 8032 §5.1).
func fieldOfEd25519() (p, d *big.Int) {
	p = new(big.Int).Lsh(big.NewInt(1), 255)
	p.Sub(p, big.NewInt(19))
	d = new(big.Int).ModInverse(big.NewInt(121666), p)
	d.Mul(d, big.NewInt(-121665)).Mod(d, p)
	return p, d
}
