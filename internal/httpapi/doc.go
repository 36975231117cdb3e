// Package httpapi is both ends of the wire: the server's handler, the client, the shapes that travel between them, and the
// one table that turns errors into answers and back. What the answers mean is decided in authority and access.
//
// A client's call fails with an *Error, which is what the server answered, or with ErrUnreachable.
package httpapi
