package shortcut

import (
	"log"
	"net/http"
	"time"
)

// Route is the one path that is answered here.
type Route struct {
	// Path has no slash at its end; everything below it belongs to it.
	Path string
	// Reads are the header fields that Answer looks at, in their canonical form: at most 8, and Host is none of them. A
	// request that repeats one of them, or leaves it empty, is not plain.
	Reads []string
	// Answer judges a request. For a 200 without a body it appends the header fields to out, each ended by CR LF, and returns
	// a nil handler. For every other answer it returns the handler that gives it, and out does not matter. It returns nil twice
	// for what takes time: then the connection goes to net/http with this request, for only there it is noticed that a client
	// has gone. So neither Answer nor the handler waits for anything.
	//
	// The request's header has no fields but those of Reads. The request is used again for the next one: nothing may keep it,
	// its URL or its header, but their strings may be kept. Its context ends when connections are cut, and not when the client
	// goes away. A handler that is returned gets a request of its own with the whole header. It has to know nothing of what
	// net/http offers beyond a plain ResponseWriter.
	Answer func(r *http.Request, out []byte) ([]byte, http.Handler)
}

// Options of a Listener. Those of the first group are required.
type Options struct {
	HeadTimeout  time.Duration // of a connection until its first request
	IdleTimeout  time.Duration // between requests
	WriteTimeout time.Duration // of one answer
	MaxHead      int           // bytes of a plain head

	Log *log.Logger      // gets panics, as http.Server.ErrorLog does; nil: nobody looks
	Now func() time.Time // nil: time.Now
}
