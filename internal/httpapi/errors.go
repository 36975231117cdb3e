package httpapi

import (
	"errors"
	"fmt"
	"time"
)

// Code is the machine-readable part of an error answer.
type Code string

// The codes of the API.
const (
	InvalidRequest       Code = "INVALID_REQUEST"
	InvalidScope         Code = "INVALID_SCOPE"
	LicenseInvalid       Code = "LICENSE_INVALID"
	Unauthorized         Code = "UNAUTHORIZED"
	Forbidden            Code = "FORBIDDEN"
	LicenseExpired       Code = "LICENSE_EXPIRED"
	LicenseLimit         Code = "LICENSE_LIMIT"
	NotFound             Code = "NOT_FOUND"
	MethodNotAllowed     Code = "METHOD_NOT_ALLOWED"
	TooLarge             Code = "TOO_LARGE"
	UnsupportedMediaType Code = "UNSUPPORTED_MEDIA_TYPE"
	Conflict             Code = "CONFLICT"
	SelfRevocation       Code = "SELF_REVOCATION"
	LastAdmin            Code = "LAST_ADMIN"
	AlreadyBootstrapped  Code = "ALREADY_BOOTSTRAPPED"
	IdempotencyMismatch  Code = "IDEMPOTENCY_MISMATCH"
	RateLimited          Code = "RATE_LIMITED"
	Internal             Code = "INTERNAL"
	NotBootstrapped      Code = "NOT_BOOTSTRAPPED"
	AuthorityUnreachable Code = "AUTHORITY_UNREACHABLE"
	Stale                Code = "STALE"
	Unavailable          Code = "UNAVAILABLE"
)

// ErrUnreachable says that no answer came: whether the call had an effect is not known.
var ErrUnreachable = errors.New("the authority cannot be reached")

// Error is an error answer of the API, the same on both ends of the wire.
type Error struct {
	Status     int           // HTTP status
	Code       Code          // "" where something in between answered
	Message    string        // words for a person: "error", or "error_description" of the OAuth endpoints
	OAuth      string        // RFC 6749 §5.2 error; "" outside the OAuth endpoints
	RequestID  string        // Keyturn-Request-Id
	RetryAfter time.Duration // 0: none given
}

// Error gives the words, the code and the request id.
func (e *Error) Error() string {
	s := e.Message
	if e.Code != "" {
		s += fmt.Sprintf(" (%s)", e.Code)
	}
	if e.RequestID != "" && e.Status >= 500 {
		s += fmt.Sprintf(", request %s", e.RequestID)
	}
	return s
}
