package verify

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// claimsKey is where Middleware leaves the claims in a request's context.
type claimsKey struct{}

// FromContext returns the claims of the token with which a request came through Middleware; false outside of one.
func FromContext(ctx context.Context) (Claims, bool) {
	c, ok := ctx.Value(claimsKey{}).(Claims)
	return c, ok
}

// Middleware lets requests through to next whose Bearer token (RFC 6750 §2.1) is good for what is wanted. All others it
// answers as keyturn itself does: 401 with a challenge, 403, or 503 STALE with Retry-After.
func (v *Verifier) Middleware(want Want, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, err := Claims{}, ErrInvalid
		if text, ok := bearer(r); ok {
			claims, err = v.Check(r.Context(), text, want)
		}
		if err != nil {
			v.refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, claims)))
	})
}

// refuse answers with the table of the API. What the path of r means to the API does not matter in another service.
func (v *Verifier) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var late *staleError
	if errors.As(err, &late) {
		err = late.public()
	}
	plain := &http.Request{Method: r.Method, URL: &url.URL{Path: "/"}, Header: r.Header, RemoteAddr: r.RemoteAddr}
	httpapi.Fail(w, plain.WithContext(r.Context()), v.now(), err)
}

// bearer returns the token of the one Authorization header.
func bearer(r *http.Request) (string, bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	text = strings.TrimSpace(text)
	return text, strings.EqualFold(scheme, "Bearer") && text != ""
}
