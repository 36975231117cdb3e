package id

import (
	"encoding/binary"
	"strings"
)

const (
	size     = 16 // bytes of an identifier
	textSize = 26 // its characters: 130 bits, of which the first two are always 0
	alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
)

// encode writes b as one number, the most significant digit first. encoding/base32 would fill up at the other end.
func encode(b [size]byte) string {
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	var text [textSize]byte
	for i := textSize - 1; i >= 0; i-- {
		text[i] = alphabet[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
	return string(text[:])
}

// decode is the inverse of encode. It refuses every text that encode does not write, so a value has one spelling.
func decode(s string) (b [size]byte, ok bool) {
	if len(s) != textSize || s[0] > '7' {
		return b, false
	}
	var hi, lo uint64
	for i := range textSize {
		digit := strings.IndexByte(alphabet, s[i])
		if digit < 0 {
			return b, false
		}
		hi = hi<<5 | lo>>59
		lo = lo<<5 | uint64(digit)
	}
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	return b, true
}
