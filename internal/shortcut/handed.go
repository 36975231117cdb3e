package shortcut

import (
	"errors"
	"net"
)

// handed is a connection that gives first what has been read from it.
type handed struct {
	net.Conn
	rest []byte
}

// Read implements net.Conn.
func (h *handed) Read(b []byte) (int, error) {
	if len(h.rest) == 0 {
		h.rest = nil // it is a piece of a larger buffer
		return h.Conn.Read(b)
	}
	n := copy(b, h.rest)
	h.rest = h.rest[n:]
	return n, nil
}

// CloseWrite is what net/http ends a connection with after a refusal, so that the client can still read it.
func (h *handed) CloseWrite() error {
	if c, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}
