// Package id makes, parses and prints the identifiers of every noun: a prefix that says which noun, an underscore, and
// 26 characters of lower-case Crockford base32 for 128 bits, most significant first, as TypeID 0.3 has it. The first
// 48 bits are milliseconds since 1970 (UTC), so identifiers of one kind sort by time as plain text. Each value has one
// spelling: no upper case, no look-alikes, no padding.
//
// The package knows no noun beyond its prefix and looks nothing up. Every error of a parser wraps ErrMalformed.
package id

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrMalformed says that a text is no identifier of the kind that was asked for.
var ErrMalformed = errors.New("malformed identifier")

// Kind is the prefix of an identifier, without the underscore.
type Kind string

// The kinds of identifiers, one for each noun that has them.
const (
	Client   Kind = "cli"
	Peer     Kind = "peer"
	Cluster  Kind = "clu"
	License  Kind = "lic"
	Customer Kind = "cust"
	JoinKey  Kind = "jk"
)

// ID is an identifier in its only spelling, such as cli_01jd6y0e00f2bvwrw0xk3y4t5z. The empty ID means none. An ID that
// comes from outside has to go through Parse: a conversion checks nothing.
type ID string

// New returns a fresh identifier: the milliseconds of at, and 74 random bits, laid out as UUIDv7 (RFC 9562 §5.7). An
// instant that 48 bits cannot hold (before 1970, or after the year 10889) counts as the nearest one that they can.
func New(k Kind, at time.Time) ID {
	var b [size]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	putMillis(&b, at)
	b[6] = b[6]&0x0f | 0x70 // version 7
	b[8] = b[8]&0x3f | 0x80 // variant of RFC 9562
	return join(k, b)
}

// First returns the smallest identifier of the millisecond that at falls into: where a page that begins at that time
// begins. It is no identifier of anything.
func First(k Kind, at time.Time) ID {
	var b [size]byte
	putMillis(&b, at)
	return join(k, b)
}

// Parse returns s as an identifier of kind k. Any 128 bits will do, also such as New does not make. The error wraps
// ErrMalformed.
func Parse(k Kind, s string) (ID, error) {
	if kind, _, ok := split(s); !ok || kind != k {
		return "", fmt.Errorf("%w: want %s_ and %d characters of %s, got %s", ErrMalformed, k, textSize, alphabet, quote(s))
	}
	return ID(s), nil
}

// Kind returns the kind of i, or "" where i is none or was not parsed.
func (i ID) Kind() Kind {
	k, _, _ := split(string(i))
	return k
}

// Time returns when i was made, in UTC, cut to milliseconds. It is the zero time where i is none or was not parsed.
func (i ID) Time() time.Time {
	_, b, ok := split(string(i))
	if !ok {
		return time.Time{}
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[:8]) >> 16)).UTC()
}

// String returns the text of i.
func (i ID) String() string { return string(i) }

func known(k Kind) bool {
	switch k {
	case Client, Peer, Cluster, License, Customer, JoinKey:
		return true
	}
	return false
}

func join(k Kind, b [size]byte) ID { return ID(string(k) + "_" + encode(b)) }

func split(s string) (Kind, [size]byte, bool) {
	prefix, text, _ := strings.Cut(s, "_")
	b, ok := decode(text)
	if !ok || !known(Kind(prefix)) {
		return "", b, false
	}
	return Kind(prefix), b, true
}

func putMillis(b *[size]byte, at time.Time) {
	const most = 1<<48 - 1
	ms := uint64(min(max(at.UnixMilli(), 0), most))
	binary.BigEndian.PutUint16(b[0:], uint16(ms>>32))
	binary.BigEndian.PutUint32(b[2:], uint32(ms))
}

// quote prints input for an error: at most 40 characters, which is the longest identifier there is. Somebody who pastes
// a secret where an identifier belongs must not find it in a log.
func quote(s string) string {
	const longest = 40
	switch {
	case strings.Contains(s, "sec_"):
		return "what looks like a secret"
	case len(s) > longest:
		return fmt.Sprintf("%q and %d bytes more", s[:longest], len(s)-longest)
	}
	return fmt.Sprintf("%q", s)
}
