package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
)

const (
	seqSize  = 8  // a sequence: big-endian, so that keys sort by it
	timeSize = 12 // an instant: seconds and nanoseconds, so that keys sort by it
	sumSize  = 4  // CRC-32C at the end of each value
)

// errName refuses a name that could not be told apart from its neighbours in a key.
var errName = errors.New("names of regions, subjects and lists must not be empty or hold a zero byte")

func validName(s string) bool {
	return s != "" && strings.IndexByte(s, 0) < 0
}

// checksum binds a value to its key and table, so that neither damage nor a misplaced page can pass one for another.
func checksum(t table, key, value []byte) uint32 {
	return crc32.Update(crc32.Update(seed(t, len(key)), castagnoli(), key), castagnoli(), value)
}

// castagnoli is the polynomial that processors know. The table is made once and shared by the standard library.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// seed starts a checksum. Key and value lie side by side in a page, so the length of the key has to count too.
func seed(t table, keyLen int) uint32 {
	return uint32(t+1)<<16 ^ uint32(keyLen)
}

// refKey is region, zero, sequence: how an entry is found in its ledger.
func refKey(region string, seq uint64) []byte {
	b := make([]byte, 0, len(region)+1+seqSize)
	b = append(append(b, region...), 0)
	return binary.BigEndian.AppendUint64(b, seq)
}

// splitRef takes a key of refKey apart.
func splitRef(k []byte) (region []byte, seq uint64, ok bool) {
	n := len(k) - seqSize
	if n < 2 || k[n-1] != 0 {
		return nil, 0, false
	}
	return k[:n-1], binary.BigEndian.Uint64(k[n:]), true
}

// pair is two parts with a zero between them: subject and refKey, list and subject.
func pair[B string | []byte](a string, b B) []byte {
	k := make([]byte, 0, len(a)+1+len(b))
	k = append(append(k, a...), 0)
	return append(k, b...)
}

// dateKey is where the time-ordered index keeps what becomes of ref at the instant t.
func dateKey(t time.Time, k kind, ref []byte) []byte {
	b := make([]byte, 0, timeSize+1+len(ref))
	b = append(appendTime(b, t), byte(k))
	return append(b, ref...)
}

func splitDate(b []byte) (t time.Time, k kind, ref []byte, ok bool) {
	if len(b) <= timeSize+1 {
		return time.Time{}, 0, nil, false
	}
	return readTime(b), kind(b[timeSize]), b[timeSize+1:], true
}

func appendTime(b []byte, t time.Time) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(t.Unix())^1<<63)
	return binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond()))
}

// readTime reads timeSize bytes. The zero time comes back as the zero time.
func readTime(b []byte) time.Time {
	return time.Unix(int64(binary.BigEndian.Uint64(b)^1<<63), int64(binary.BigEndian.Uint32(b[8:]))).UTC()
}

// appendText writes a length and the text after it.
func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func readText(b []byte) (text, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, false
	}
	return b[w : w+int(n)], b[w+int(n):], true
}

func encodeHead(h authority.Head) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, seqSize+len(h.Sum)+sumSize), h.Seq), h.Sum...)
}

func decodeHead(v []byte) (authority.Head, error) {
	if len(v) < seqSize {
		return authority.Head{}, brokenf("a head is too short")
	}
	return authority.Head{Seq: binary.BigEndian.Uint64(v), Sum: bytes.Clone(v[seqSize:])}, nil
}

// An extra is what an entry of a ledger has beside its record and what may change: its secret and the dates.
type extra struct {
	secret        []byte
	secretExpires time.Time
	copyExpires   time.Time
	gone          string // the subject whose copy was swept; "" as long as the copy is there
}

const (
	hasSecret = 1 << iota
	copyGone
)

func (x extra) isZero() bool {
	return x.secret == nil && x.secretExpires.IsZero() && x.copyExpires.IsZero() && x.gone == ""
}

func encodeExtra(x extra) []byte {
	var flags byte
	if x.secret != nil {
		flags |= hasSecret
	}
	if x.gone != "" {
		flags |= copyGone
	}
	b := append(make([]byte, 0, 2*timeSize+1+len(x.gone)+2+len(x.secret)+sumSize), flags)
	b = appendTime(appendTime(b, x.secretExpires), x.copyExpires)
	if x.gone != "" {
		b = appendText(b, x.gone)
	}
	return append(b, x.secret...)
}

// decodeExtra reads what encodeExtra wrote; the secret is a part of v.
func decodeExtra(v []byte) (extra, error) {
	if len(v) < 1+2*timeSize {
		return extra{}, brokenf("an entry's secret and dates are too short")
	}
	flags, rest := v[0], v[1+2*timeSize:]
	x := extra{secretExpires: readTime(v[1:]), copyExpires: readTime(v[1+timeSize:])}
	if flags&copyGone != 0 {
		gone, after, ok := readText(rest)
		if !ok {
			return extra{}, brokenf("the subject of a swept copy is cut off")
		}
		x.gone, rest = string(gone), after
	}
	if flags&hasSecret != 0 {
		x.secret = rest
	}
	return x, nil
}

// claimYields marks a claim that has a third date. It is the highest bit of the first date's nanoseconds, which no instant
// needs: a claim without that date is as it has always been.
const claimYields = 0x80

func encodeClaim(c authority.Claim) []byte {
	b := appendTime(make([]byte, 0, 3*timeSize+len(c.Value)+sumSize), c.At)
	b = appendTime(b, c.ExpiresAt)
	if !c.Yields.IsZero() {
		b[timeSize-4] |= claimYields
		b = appendTime(b, c.Yields)
	}
	return append(b, c.Value...)
}

func decodeClaim(key string, v []byte) (authority.Claim, error) {
	if len(v) < 2*timeSize {
		return authority.Claim{}, brokenf("the claim %q is too short", key)
	}
	c := authority.Claim{Key: key, ExpiresAt: readTime(v[timeSize:])}
	at := [timeSize]byte(v)
	rest := v[2*timeSize:]
	if at[timeSize-4]&claimYields != 0 {
		if len(rest) < timeSize {
			return authority.Claim{}, brokenf("the claim %q is too short", key)
		}
		at[timeSize-4] &^= claimYields
		c.Yields, rest = readTime(rest), rest[timeSize:]
	}
	c.At, c.Value = readTime(at[:]), bytes.Clone(rest)
	return c, nil
}
