package main

import (
	"errors"
	"net/http"
	"strings"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// The exit statuses.
const (
	exitDone = iota
	exitFailed
	exitUsage
	exitRefused
	exitNotFound
	exitUnreachable
)

// failure is an error with what to do about it.
type failure struct {
	what string // what failed; "" where the reason says it all
	why  error
	next string // what to do next; "" where there is nothing to say
	exit int    // 0: what the reason calls for
}

// Error is "<what failed>: <why>; <what to do next>".
func (f *failure) Error() string {
	var parts []string
	for _, s := range []string{f.what, f.why.Error()} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	s := strings.Join(parts, ": ")
	if f.next != "" {
		s += "; " + f.next
	}
	return s
}

// Unwrap gives the reason.
func (f *failure) Unwrap() error { return f.why }

// errInterrupted says that a person or the system wanted the program to stop.
var errInterrupted = errors.New("interrupted")

// usage is an error in what was typed.
func usage(text string) error { return &failure{why: errors.New(text), exit: exitUsage} }

// failed says what failed, and what an answer of that kind calls for.
func failed(what string, err error) error {
	if err == nil {
		return nil
	}
	var f *failure
	if errors.As(err, &f) {
		return err
	}
	return &failure{what: what, why: err, next: advice(err)}
}

// advice is what to do about an error of the API where nothing more is known.
func advice(err error) string {
	var e *httpapi.Error
	switch {
	case errors.Is(err, httpapi.ErrUnreachable):
		return "check the server's address and the network, or try again"
	case !errors.As(err, &e):
		return ""
	case e.OAuth == "invalid_client":
		return "get the current secret and give it with: keyturn config set NAME --client-id ID --secret-stdin"
	}
	switch e.Code {
	case httpapi.NotBootstrapped:
		return "found the cluster with: keyturn bootstrap"
	case httpapi.Forbidden:
		return "use a credential with that scope"
	case httpapi.Unavailable, httpapi.Stale, httpapi.AuthorityUnreachable, httpapi.RateLimited:
		return "try again in a moment"
	case httpapi.Conflict:
		return "look at it and try again"
	}
	return ""
}

// exitStatus is the exit status for an error.
func exitStatus(err error) int {
	var f *failure
	var e *httpapi.Error
	switch {
	case errors.As(err, &f) && f.exit != 0:
		return f.exit
	case errors.Is(err, httpapi.ErrUnreachable):
		return exitUnreachable
	case !errors.As(err, &e):
		return exitFailed
	case e.Code == httpapi.NotFound:
		return exitNotFound
	case e.Code == "" && e.Status < 500: // not keyturn's answer
		return exitFailed
	case e.Code == httpapi.NotBootstrapped, e.Status >= 400 && e.Status < 500:
		return exitRefused
	case e.Status == http.StatusBadGateway, e.Status == http.StatusServiceUnavailable, e.Status == http.StatusGatewayTimeout:
		return exitUnreachable
	}
	return exitFailed
}
