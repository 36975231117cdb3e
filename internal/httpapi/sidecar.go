package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
)

// Sidecar is a Node with what only a sidecar answers. All else of the API it passes on to its authority.
type Sidecar interface {
	Node

	// Authorize judges a request that a proxy asks about. It returns access.ErrToken, access.ErrRefused (or what matches it),
	// access.ErrForbidden, access.ErrStale, access.ErrNotBootstrapped or access.ErrUnavailable; ErrTakesTime only where it may.
	Authorize(ctx context.Context, at time.Time, a Attempt) (Allowed, error)
	// Denies reports whether a token says to be of a credential, a version or an issuer that is denied on this host. It is not
	// verified: a sidecar passes it on, or does not.
	Denies(token string) bool
	// Feed returns what has died since a cursor. It returns access.ErrRequest for what is no cursor of the copy that it has now.
	Feed(ctx context.Context, at time.Time, q FeedQuery) (Feed, error)
	// Status is for people and for GET /v1/sidecar/status.
	Status(at time.Time) SidecarStatus

	// Deny refuses a credential or a peer on this host at once, until Allow. It returns access.ErrRequest for what is neither.
	Deny(name string) error
	// Allow takes a Deny back, with the same error.
	Allow(name string) error
	// Resync drops the copy of the ledgers and accepts the authority's anew.
	Resync(ctx context.Context) error
}

// Attempt is what a proxy asks about: who shows what, for which scopes and which audience.
type Attempt struct {
	Token    string       // of the Bearer scheme; "" where there is none
	Proof    access.Proof // of the Basic scheme; zero where there is none
	Scopes   credential.Scopes
	Audience string // "": the issuer
	AtOnce   bool   // the answer is to be ErrTakesTime where somebody else would have to be asked
}

// ErrTakesTime is Authorize's answer to an Attempt AtOnce for which it would have to wait.
var ErrTakesTime = errors.New("to answer takes time")

// Allowed is who was let in.
type Allowed struct {
	ClientID   string
	Credential string // cli_<26>
	Scope      string
	Version    int
	Age        time.Duration // since the last proof of freshness
}

// Headers of an answer to a proxy.
const (
	HeaderClientID   = "Keyturn-Client-Id"
	HeaderCredential = "Keyturn-Credential"
	HeaderScope      = "Keyturn-Scope"
	HeaderVersion    = "Keyturn-Version"
	HeaderAge        = "Keyturn-Age" // seconds
)

// HeaderControl proves that whoever calls deny, allow or resync can read the sidecar's data directory.
const HeaderControl = "Keyturn-Control"

// SidecarOptions of a sidecar's server.
type SidecarOptions struct {
	ServerOptions
	Upstream *Forward               // to the authority
	Hosts    func(host string) bool // which Host headers are answered; nil: all
	Control  string                 // what HeaderControl has to hold; "": nobody controls
	Passed   func()                 // called after the authority has answered what could have changed something; nil: nobody cares
}

// NewSidecar returns the handler of the whole API of a sidecar.
func NewSidecar(n Sidecar, o SidecarOptions) *SidecarServer {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &server{node: n, o: o.ServerOptions, upstream: o.Upstream, passed: o.Passed}
	own := sidecar{server: s, node: n, o: o}
	routes := s.routes()
	for path := range routes {
		if !ownRoute(path) {
			routes[path] = own.passingOn(routes[path])
		}
	}
	for path, m := range own.routes() {
		routes[path] = m
	}
	api := s.handler(routes)
	return &SidecarServer{
		hosts: o.Hosts, api: api, foreign: endpoint{server: s, pattern: "other", any: foreignHost},
		authz: authz{own, endpoint{server: s, pattern: authzRoute}},
	}
}

// SidecarServer answers the whole API of a sidecar.
type SidecarServer struct {
	hosts        func(host string) bool // nil: all
	authz        authz
	api, foreign http.Handler
}

// ServeHTTP implements http.Handler.
func (s *SidecarServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.hosts != nil && !s.hosts(r.Host):
		s.foreign.ServeHTTP(w, r)
	case isAuthz(r.URL.Path):
		s.authz.ServeHTTP(w, r)
	default:
		s.api.ServeHTTP(w, r)
	}
}

// foreignHost refuses a request that was meant for somebody else: a web page whose name was pointed to this host (DNS
// rebinding) brings its own name.
func foreignHost(*call) (answer, error) {
	return answer{}, refuse(http.StatusBadRequest, InvalidRequest, "this sidecar does not answer by that name: call it by a loopback address or localhost")
}

// ownRoute reports whether a sidecar answers a route of the authority by itself.
func ownRoute(path string) bool {
	switch path {
	case "/livez", "/readyz", "/v1/oauth/token", "/v1/oauth/introspect", "/v1/cluster/identity", "/v1/ledger":
		return true
	}
	return strings.HasPrefix(path, "/.well-known/")
}

// passingOn keeps the methods of a route, and has the authority answer them: not to who is denied on this host.
func (s sidecar) passingOn(m methods) methods {
	to := methods{}
	for method := range m {
		to[method] = func(c *call) (answer, error) {
			for _, value := range c.Header.Values("Authorization") {
				if text, shown := bearerIn(value); shown && s.node.Denies(text) {
					return answer{}, fmt.Errorf("%w: it is denied on this host", access.ErrToken)
				}
			}
			return answer{}, access.ErrBeyond
		}
	}
	return to
}

// sidecar answers what only a sidecar has.
type sidecar struct {
	*server
	node Sidecar
	o    SidecarOptions
}

func (s sidecar) routes() map[string]methods {
	return map[string]methods{
		"/v1/sidecar/feed":   {"GET": s.feed},
		"/v1/sidecar/status": {"GET": s.status},
		"/v1/sidecar/deny":   {"POST": s.control(func(c *call, id string) error { return s.node.Deny(id) })},
		"/v1/sidecar/allow":  {"POST": s.control(func(c *call, id string) error { return s.node.Allow(id) })},
		"/v1/sidecar/resync": {"POST": s.control(func(c *call, _ string) error { return s.node.Resync(c.Context()) })},
	}
}
