package httpapi

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
)

// ServerOptions of a Server.
type ServerOptions struct {
	Now            func() time.Time  // nil: time.Now
	Version        string            // of the build, as the identity tells it
	TrustedProxies []netip.Prefix    // whose X-Forwarded-For, -Proto and -Host count
	Observe        func(Observation) // called once for each answered request; nil: nobody looks
	Stopping       <-chan struct{}   // closed when the server stops: what waits for news is answered then; nil: never

	// Forward passes requests on to the authorities of other regions, by their names: to the one that is home what only home
	// may do, and what is not known here. nil: nothing is passed on.
	Forward map[string]*Forward

	// Only says which routes are answered here, by their patterns: others do not exist. nil: all.
	Only func(pattern string) bool
}

// Observation is what there is to log and to count of one request. It holds no secret, no token and no query.
type Observation struct {
	At         time.Time
	Took       time.Duration
	Context    context.Context // the request's: what stood in front of the server may have left something in it
	Method     string
	Route      string // the pattern, such as "/v1/credentials/{client_id}"; "other" for an unknown path
	Status     int
	Code       string // of an error answer
	RequestID  string
	Source     string // the caller's address
	ClientID   string // who called, once that is known
	Version    int    // the secret version behind the call; 0 where none is known
	Superseded bool   // that version is superseded
	Proven     bool   // the client has shown that version's secret, or signed with its key, and was accepted
	Sidecar    string // the peer that says to have passed the request on, and to have counted that; "" for none
	Bytes      int64  // of the answer's body
	Forwarded  bool   // another peer has answered
	Err        error  // the cause of a 5xx
}

// server answers for one node.
type server struct {
	node      Node
	authority *authority.Authority // the node, where it is one; nil on a sidecar
	o         ServerOptions
	upstream  *Forward // to the authority, on a sidecar
	passed    func()   // see SidecarOptions.Passed
}

// NewServer returns the handler of the whole API of an authority.
func NewServer(a *authority.Authority, o ServerOptions) http.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &server{node: a, authority: a, o: o}
	return s.handler(s.routes())
}

// handler answers these routes, and all other paths with 404.
func (s *server) handler(routes map[string]methods) http.Handler {
	mux := http.NewServeMux()
	for path, r := range routes {
		if s.o.Only == nil || s.o.Only(path) {
			mux.Handle(path, endpoint{server: s, pattern: path, methods: r})
		}
	}
	other := endpoint{server: s, pattern: "other"}
	mux.Handle("/", other)
	return exactPaths{mux, other}
}

// methods are the handlers of one path.
type methods map[string]handler

// handler answers one call: a value, or an error for the table. Only endpoint writes.
type handler func(*call) (answer, error)

// routes is the whole API of an authority.
func (s *server) routes() map[string]methods {
	read, write := credential.CredentialsRead, credential.CredentialsWrite
	return map[string]methods{
		"/livez":  {"GET": s.live},
		"/readyz": {"GET": s.ready},

		"/.well-known/openid-configuration":       {"GET": s.discovery},
		"/.well-known/oauth-authorization-server": {"GET": s.discovery},
		"/.well-known/jwks.json":                  {"GET": s.jwks},

		tokenRoute:             {"POST": oauth(s.token)},
		"/v1/oauth/introspect": {"POST": oauth(s.introspect)},

		"/v1/bootstrap":                  {"POST": s.atHome(s.bootstrap)},
		"/v1/cluster/identity":           {"GET": s.identity},
		homeRoute:                        {"POST": s.bearer(credential.Admin, s.moveHome)},
		"/v1/cluster/credentials":        {"GET": s.bearer(read, s.shared)},
		"/v1/cluster/credentials/rotate": {"POST": s.atHome(s.once(write, s.rotateShared))},

		"/v1/credentials":                    {"GET": s.bearer(read, s.list), "POST": s.atHome(s.once(write, s.create))},
		"/v1/credentials/{client_id}":        {"GET": s.bearer(read, s.get), "DELETE": s.bearer(write, s.revoke)},
		"/v1/credentials/{client_id}/rotate": {"POST": s.atHome(s.once(write, s.rotate))},

		"/v1/join-keys":               {"GET": s.bearer(credential.PeersRead, s.listJoinKeys), "POST": s.atHome(s.bearer(credential.PeersWrite, s.createJoinKey))},
		"/v1/join-keys/{join_key_id}": {"DELETE": s.bearer(credential.PeersWrite, s.revokeJoinKey)},
		"/v1/peers":                   {"GET": s.bearer(credential.PeersRead, s.listPeers)},
		"/v1/peers/join":              {"POST": s.atHome(s.join)},
		"/v1/peers/self/usage":        {"POST": s.bearer(credential.LedgerRead, s.reportUsage)},
		"/v1/peers/{peer_id}": {
			"GET":    s.bearer(credential.PeersRead, s.getPeer),
			"PATCH":  s.atHome(s.bearer(credential.PeersWrite, s.changePeer)),
			"DELETE": s.bearer(credential.PeersWrite, s.removePeer),
		},

		"/v1/audit":       {"GET": s.bearer(read, s.audit)},
		"/v1/export":      {"GET": s.bearer(credential.Admin, s.export)},
		"/v1/license":     {"PUT": s.atHome(s.bearer(credential.Admin, s.license))},
		"/v1/ledger":      {"GET": s.bearer(credential.LedgerRead, s.ledgers)},
		"/v1/ledger-keys": {"POST": s.atHome(s.bearer(credential.Admin, s.vouch))},
		"/v1/keys/rotate": {"POST": s.atHome(s.bearer(credential.Admin, s.rotateKey))},
	}
}

// exactPaths refuses what ServeMux would redirect or answer by itself: a path that is not in its clean form, or none.
type exactPaths struct{ mux, other http.Handler }

func (e exactPaths) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !cleanPath(r.URL.Path) {
		e.other.ServeHTTP(w, r)
		return
	}
	e.mux.ServeHTTP(w, r)
}

// cleanPath: it begins with one slash, and has no empty, "." or ".." segment before its end.
func cleanPath(p string) bool {
	if p == "" || p[0] != '/' {
		return false
	}
	for i := 0; i+1 < len(p); i++ {
		if p[i] == '/' && (p[i+1] == '/' || p[i+1] == '.' && !wellKnownAt(p, i+1)) {
			return false
		}
	}
	return true
}

func wellKnownAt(p string, i int) bool { return len(p) > i+1 && p[i+1] != '.' && p[i+1] != '/' }
