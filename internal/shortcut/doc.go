// Package shortcut answers the plainest requests of one path on a connection by itself, and hands every other connection to
// net/http: a request that a whole fleet asks all the time costs net/http three times what deciding about it does.
//
// It stands between a net.Listener and an http.Server, for plain HTTP/1.1 (RFC 9112). Plain is a GET of the path, without a
// body, whose whole head is there at once and says nothing that would change how a message is read. Such a head is read
// strictly; nothing is ever read leniently here. When in doubt, the connection goes to net/http for good, with every byte that
// was not answered: all rules about odd requests, and all time-outs of slow ones, stay net/http's.
//
// The package knows nothing of what is asked. It returns the errors of the listener as they are.
package shortcut
