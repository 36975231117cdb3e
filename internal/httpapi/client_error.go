package httpapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// maxMessage is how much of an error's words is kept, in characters.
const maxMessage = 512

// parseError is the inverse of the server's error table: it reads both shapes, {"error","code"} and that of RFC 6749
// §5.2, and says so where neither came, because then it was not keyturn that answered.
func parseError(resp *http.Response, body []byte) *Error {
	e := &Error{
		Status:     resp.StatusCode,
		RequestID:  resp.Header.Get(HeaderRequestID),
		RetryAfter: parseRetryAfter(resp.Header.Get("Retry-After")),
	}
	var wire struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Code        Code   `json:"code"`
		RequestID   string `json:"request_id"`
	}
	if json.Unmarshal(body, &wire) != nil || wire.Error == "" {
		e.Message = foreign(resp)
		return e
	}
	e.Code, e.RequestID = wire.Code, cmp.Or(e.RequestID, wire.RequestID)
	e.Message = wire.Error
	if oauthError(wire.Error) {
		e.OAuth = wire.Error
		e.Message = cmp.Or(wire.Description, wire.Error)
	}
	e.Message = printable(e.Message)
	return e
}

// printable keeps an answer from playing with the terminal that it is printed on.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	if runes := []rune(s); len(runes) > maxMessage {
		s = string(runes[:maxMessage]) + "…"
	}
	return s
}

// foreign describes an answer that is not in keyturn's form: a proxy's, a gateway's, or another program's.
func foreign(resp *http.Response) string {
	status := fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		to := "another address"
		if u, err := url.Parse(resp.Header.Get("Location")); err == nil && u.Host != "" {
			to = u.Scheme + "://" + u.Host
		}
		return fmt.Sprintf("redirected (%s) to %s, where no credentials are sent; call that address itself if it is the right one", status, to)
	case resp.StatusCode >= 500:
		return fmt.Sprintf("something between here and the authority answered %s", status)
	}
	return fmt.Sprintf("the answer %s is not keyturn's; check the server's address", status)
}

func oauthError(s string) bool {
	switch s {
	case "invalid_client", "invalid_request", "invalid_scope", "invalid_grant", "invalid_token", "insufficient_scope",
		"unsupported_grant_type", "unauthorized_client", "server_error", "temporarily_unavailable":
		return true
	}
	return false
}

// parseRetryAfter reads seconds (RFC 9110 §10.2.3). The form with a date is not used by the API and counts as none.
func parseRetryAfter(s string) time.Duration {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n), 1<<30) * time.Second
}
