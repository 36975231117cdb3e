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
	l, err := z.decide(r, false)
	if err != nil {
		z.refusing(err).ServeHTTP(w, r)
		return
	}
	h, values := w.Header(), l.fields()
	for i, name := range letFields() {
		h[name] = values[i : i+1 : i+1] // one array for all
	}
	w.WriteHeader(http.StatusOK)
	z.observe(&l)
}

// let is a request that is let in.
type let struct {
	Allowed
	began time.Time
	seen  Observation
}

// decide judges a request: the one place for every way on which it can come.
func (z authz) decide(r *http.Request, atOnce bool) (l let, err error) {
	l.began = z.server.o.Now()
	at := l.began.UTC().Truncate(time.Second)
	a, allowed, err := z.judge(r, at, atOnce)
	if err != nil {
		return l, err
	}
	l.Allowed = allowed
	l.seen = Observation{
		At: at, Context: r.Context(), Method: r.Method, Route: authzRoute, Status: http.StatusOK, RequestID: requestID(r),
		Source: z.server.source(r), ClientID: allowed.ClientID, Version: allowed.Version, Proven: a.Token == "",
	}
	return l, nil
}

func (z authz) judge(r *http.Request, at time.Time, atOnce bool) (a Attempt, allowed Allowed, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	if a, err = attempt(r); err != nil {
		return a, allowed, err
	}
	a.AtOnce = atOnce
	allowed, err = z.node.Authorize(r.Context(), at, a)
	return a, allowed, err
}

// refusing answers with what decide has said.
func (z authz) refusing(err error) http.Handler {
	z.refusal.any = func(*call) (answer, error) { return answer{}, err }
	return z.refusal
}

func (z authz) observe(l *let) {
	if observe := z.server.o.Observe; observe != nil {
		l.seen.Took = z.server.o.Now().Sub(l.began)
		observe(l.seen)
	}
}

// letFields are the names of what a proxy is told of who is let in, in the order in which net/http writes them.
func letFields() [7]string {
	return [...]string{
		"Cache-Control", HeaderAge, HeaderClientID, HeaderCredential, HeaderRequestID, HeaderScope, HeaderVersion,
	}
}

// fields are the values of letFields.
func (l *let) fields() [7]string {
	return [...]string{
		"no-store", strconv.Itoa(int(l.Age / time.Second)), l.ClientID, l.Credential, l.seen.RequestID, l.Scope,
		strconv.Itoa(l.Version),
	}
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

// basicTried reports whether the caller of /authz has shown a secret.
func basicTried(r *http.Request) bool {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Basic")
}
