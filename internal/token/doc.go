// Package token makes and reads the two kinds of JWT that keyturn knows: its own access tokens (RFC 9068), and the
// assertions with which clients and peers authenticate (RFC 7523). It takes the algorithm from the key, never from the
// token. It knows nothing of credentials and has no clock: who calls compares the times.
//
// ErrToken says that a text is not a token that one of the given keys signed; it never repeats the text.
package token
