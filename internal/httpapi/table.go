package httpapi

import (
	"errors"
	"net/http"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
)

// rule says how an error of the domain is answered.
type rule struct {
	err    error
	status int
	code   Code
	oauth  string        // the error of RFC 6749 §5.2 at the OAuth endpoints
	words  string        // "" lets the error speak; what could hold a cause has words of its own
	retry  time.Duration // Retry-After
}

// rules is the one table from errors to answers; the first that matches counts. What is not in it is a 500 without detail.
func rules() []rule {
	return []rule{
		{ErrUnreachable, 503, AuthorityUnreachable, "temporarily_unavailable", "the authority cannot be reached: try again", 5 * time.Second},
		{authority.ErrNotHome, 503, AuthorityUnreachable, "temporarily_unavailable", "another region is home, and this one has no way to it", 30 * time.Second},
		{errElsewhere, 503, Unavailable, "temporarily_unavailable", "this has not arrived in this region, for all that is known: try again", 5 * time.Second},
		{access.ErrStale, 503, Stale, "temporarily_unavailable", "", 5 * time.Second},
		{access.ErrBeyond, 503, Stale, "temporarily_unavailable", "", 5 * time.Second},
		{access.ErrNotBootstrapped, 503, NotBootstrapped, "temporarily_unavailable", "", 5 * time.Second},
		{access.ErrClock, 503, Unavailable, "temporarily_unavailable", access.ErrClock.Error(), 30 * time.Second},
		{access.ErrUnavailable, 503, Unavailable, "temporarily_unavailable", "not available at the moment: try again", time.Second},
		{access.ErrScope, 400, InvalidScope, "invalid_scope", "", 0},
		{credential.ErrScopeForm, 400, InvalidScope, "invalid_scope", "", 0},
		{access.ErrRequest, 400, InvalidRequest, "invalid_request", "", 0},
		{credential.ErrInput, 400, InvalidRequest, "invalid_request", "", 0},
		{credential.ErrRefused, 401, Unauthorized, "invalid_client", "", 0},
		{access.ErrToken, 401, Unauthorized, "invalid_client", "unauthorized", 0},
		{authority.ErrBootstrapToken, 401, Unauthorized, "invalid_client", "unauthorized", 0},
		{authority.ErrJoinKey, 401, Unauthorized, "invalid_client", "unauthorized", 0},
		{access.ErrForbidden, 403, Forbidden, "unauthorized_client", "insufficient scope", 0},
		{authority.ErrNotKnown, 404, NotFound, "invalid_request", "", 0},
		{authority.ErrRaced, 409, Conflict, "invalid_request", "", 0},
		{authority.ErrSelfRevocation, 409, SelfRevocation, "invalid_request", "", 0},
		{authority.ErrLastAdmin, 409, LastAdmin, "invalid_request", "", 0},
		{authority.ErrAlreadyBootstrapped, 409, AlreadyBootstrapped, "invalid_request", "", 0},
		{authority.ErrLicenseExpired, 403, LicenseExpired, "invalid_request", "", 0},
		{authority.ErrLicenseLimit, 403, LicenseLimit, "invalid_request", "", 0},
		{authority.ErrLicense, 400, LicenseInvalid, "invalid_request", "", 0},
		{authority.ErrMismatch, 422, IdempotencyMismatch, "invalid_request", "", 0},
	}
}

// asError turns any error into the answer that it gets.
func asError(err error) *Error {
	var ready *Error
	if errors.As(err, &ready) {
		return ready
	}
	for _, r := range rules() {
		if !errors.Is(err, r.err) {
			continue
		}
		e := &Error{Status: r.status, Code: r.code, OAuth: r.oauth, Message: r.words, RetryAfter: r.retry}
		if e.Message == "" {
			e.Message = err.Error()
		}
		return e
	}
	return &Error{Status: http.StatusInternalServerError, Code: Internal, OAuth: "server_error", Message: "internal error"}
}

// refuse makes an error answer that no rule of the domain stands behind.
func refuse(status int, code Code, message string) *Error {
	return &Error{Status: status, Code: code, OAuth: "invalid_request", Message: message}
}
