package httpapi

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
)

// authzRoute is where a proxy asks whether to let a request through, with any method and anything behind it.
const authzRoute = "/authz"

// authz answers /authz (nginx's auth_request, Envoy's ext_authz, Traefik's ForwardAuth, Caddy's forward_auth). The body is not
// looked at. A whole fleet asks it on every request: who is let in costs no more than has to be, and every refusal goes the way
// of all answers.
type authz struct {
	sidecar
	refusal endpoint
}

// ServeHTTP lets in, or refuses.
func (z authz) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := z.server.o.Now()
	at := now.UTC().Truncate(time.Second)
	a, allowed, err := z.judge(r, at)
	if err != nil {
		z.refusal.any = func(*call) (answer, error) { return answer{}, err }
		z.refusal.ServeHTTP(w, r)
		return
	}
	seen := Observation{
		At: at, Context: r.Context(), Method: r.Method, Route: authzRoute, Status: http.StatusOK, RequestID: requestID(r),
		Source: z.server.source(r), ClientID: allowed.ClientID, Version: allowed.Version, Proven: a.Token == "",
	}
	writeAllowed(w, seen.RequestID, &allowed)
	if observe := z.server.o.Observe; observe != nil {
		seen.Took = z.server.o.Now().Sub(now)
		observe(seen)
	}
}

func (z authz) judge(r *http.Request, at time.Time) (a Attempt, allowed Allowed, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	if a, err = attempt(r); err != nil {
		return a, allowed, err
	}
	allowed, err = z.node.Authorize(r.Context(), at, a)
	return a, allowed, err
}

// attempt reads who shows what.
func attempt(r *http.Request) (Attempt, error) {
	var a Attempt
	if r.URL.RawQuery != "" {
		if err := a.ask(r.URL.RawQuery); err != nil {
			return a, err
		}
	}
	text, bearer := bearerToken(r)
	if bearer {
		a.Token = text
		return a, nil
	}
	user, password, basic, err := basicAuth(r)
	if err != nil || !basic {
		return a, access.ErrToken
	}
	a.Proof = access.Proof{ClientID: user, Secret: password}
	return a, nil
}

// ask reads what the proxy wants to know.
func (a *Attempt) ask(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return refuse(http.StatusBadRequest, InvalidRequest, "the query is not valid")
	}
	for _, name := range []string{"scope", "audience"} { // what else is in the query may be the client's own
		if err := unrepeated(url.Values{name: values[name]}); err != nil {
			return err
		}
	}
	a.Audience = values.Get("audience")
	a.Scopes, err = credential.SplitScopes(values.Get("scope"))
	return err
}

// writeAllowed is the whole answer to a proxy: headers, and an empty body.
func writeAllowed(w http.ResponseWriter, requestID string, a *Allowed) {
	values := [...]string{
		requestID, a.ClientID, a.Credential, a.Scope, strconv.Itoa(a.Version), strconv.Itoa(int(a.Age / time.Second)), "no-store",
	}
	h := w.Header()
	for i, name := range [...]string{
		HeaderRequestID, HeaderClientID, HeaderCredential, HeaderScope, HeaderVersion, HeaderAge, "Cache-Control",
	} {
		h[name] = values[i : i+1 : i+1] // one array for all
	}
	w.WriteHeader(http.StatusOK)
}

// basicTried reports whether the caller of /authz has shown a secret.
func basicTried(r *http.Request) bool {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Basic")
}
