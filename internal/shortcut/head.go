package shortcut

import "bytes"

const (
	maxFields = 64 // of a plain head
	maxReads  = 8  // of a Route
)

// head is what is read of a plain request. It points into the bytes that it was read from.
type head struct {
	target []byte           // path and query (RFC 9112 §3.2.1)
	host   []byte           // value of the one Host field
	values [maxReads][]byte // of the fields that Route.Reads names; nil: there is none
}

// read reads the head at the beginning of b, and returns its length in bytes with the empty line; 0 where it is not whole, or
// not plain.
func (h *head) read(b []byte, r *Route) int {
	*h = head{}
	line, rest, ok := cutLine(b)
	if !ok || !h.requestLine(line, r.Path) {
		return 0
	}
	for range maxFields + 1 {
		if line, rest, ok = cutLine(rest); !ok {
			return 0
		}
		if len(line) == 0 {
			if h.host == nil { // RFC 9112 §3.2
				return 0
			}
			return len(b) - len(rest)
		}
		if !h.field(line, r.Reads) {
			return 0
		}
	}
	return 0
}

// cutLine takes off one line that ends with CR LF. A lone LF ends none (RFC 9112 §2.2); a lone CR is left in the line, where no
// rule allows it.
func cutLine(b []byte) (line, rest []byte, ok bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 1 || b[i-1] != '\r' {
		return nil, nil, false
	}
	return b[:i-1], b[i+1:], true
}

// requestLine reads "GET <target> HTTP/1.1": one space each (RFC 9112 §3).
func (h *head) requestLine(line []byte, path string) bool {
	line, get := bytes.CutPrefix(line, []byte("GET "))
	target, version := bytes.CutSuffix(line, []byte(" HTTP/1.1"))
	if !get || !version {
		return false
	}
	h.target = target
	p, query, _ := bytes.Cut(target, []byte("?"))
	below := len(p) > len(path) && p[len(path)] == '/'
	return (len(p) == len(path) || below) && string(p[:len(path)]) == path && all(p, inPath) && all(query, inQuery)
}

// field reads one field line (RFC 9112 §5). A line that goes on from the one before (obs-fold, §5.2) has no name and is refused.
func (h *head) field(line []byte, reads []string) bool {
	colon := bytes.IndexByte(line, ':')
	if colon < 1 || !all(line[:colon], inName) || !all(line[colon+1:], inValue) {
		return false
	}
	name, value := line[:colon], bytes.Trim(line[colon+1:], " \t")
	switch {
	case same(name, "Host"):
		return once(&h.host, value) && all(value, inHost)
	case same(name, "Connection"):
		return same(value, "keep-alive")
	case changesFraming(name):
		return false
	}
	for i, s := range reads {
		if same(name, s) {
			return once(&h.values[i], value)
		}
	}
	return true
}

// once keeps a value that is there, and the only one.
func once(kept *[]byte, value []byte) bool {
	if *kept != nil || len(value) == 0 {
		return false
	}
	*kept = value
	return true
}

// changesFraming names what says that there is more than a head, or that another protocol follows (RFC 9112 §6, RFC 9110 §7.8,
// §10.1.1, §10.1.4, §6.6.2).
func changesFraming(name []byte) bool {
	switch len(name) {
	case 2:
		return same(name, "TE")
	case 6:
		return same(name, "Expect")
	case 7:
		return same(name, "Upgrade") || same(name, "Trailer")
	case 14:
		return same(name, "Content-Length") || same(name, "HTTP2-Settings")
	case 17:
		return same(name, "Transfer-Encoding")
	}
	return false
}

// same compares without regard to the case of ASCII letters.
func same(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if lower(c) != lower(s[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
