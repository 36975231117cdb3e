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

// authz is /authz (nginx's auth_request, Envoy's ext_authz, Traefik's ForwardAuth, Caddy's forward_auth). The body is not
// looked at.
func (s sidecar) authz(c *call) (answer, error) {
	a, err := attempt(c.Request)
	if err != nil {
		return answer{}, err
	}
	allowed, err := s.node.Authorize(c.Context(), c.at, a)
	if err != nil {
		return answer{}, err
	}
	c.seen.ClientID, c.seen.Version, c.seen.Proven = allowed.ClientID, allowed.Version, a.Token == ""
	return answer{allowed: &allowed}, nil
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
func (c *call) writeAllowed(w http.ResponseWriter, a *Allowed) {
	values := [...]string{a.ClientID, a.Credential, a.Scope, strconv.Itoa(a.Version), strconv.Itoa(int(a.Age / time.Second)), "no-store"}
	h := w.Header()
	for i, name := range [...]string{HeaderClientID, HeaderCredential, HeaderScope, HeaderVersion, HeaderAge, "Cache-Control"} {
		h[name] = values[i : i+1 : i+1] // one array for all: this is asked on every request of a fleet
	}
	c.seen.Status = http.StatusOK
	w.WriteHeader(http.StatusOK)
}

// basicTried reports whether the caller of /authz has shown a secret.
func basicTried(r *http.Request) bool {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Basic")
}
