package httpapi

import (
	"errors"
	"net/http"
	"strings"

	"github.com/keyturn/keyturn/internal/shortcut"
)

// Shortcut is the route of /authz for connections that ask nothing else: who is let in there costs no more than the decision.
// Both ways share the decision, the fields of its answer and the observation.
func (s *SidecarServer) Shortcut() shortcut.Route {
	return shortcut.Route{Path: authzRoute, Reads: authzReads(), Answer: s.answerShortly}
}

// authzReads are the header fields that decide looks at.
func authzReads() []string { return []string{"Authorization", HeaderClientRequest, "X-Forwarded-For"} }

// answerShortly implements shortcut.Route's Answer.
func (s *SidecarServer) answerShortly(r *http.Request, out []byte) ([]byte, http.Handler) {
	if s.hosts != nil && !s.hosts(r.Host) {
		return out, s.foreign
	}
	l, err := s.authz.decide(r, true)
	if errors.Is(err, ErrTakesTime) {
		return nil, nil
	}
	if err != nil {
		return out, s.authz.refusing(err)
	}
	values := l.fields()
	for i, name := range letFields() {
		out = appendField(out, name, values[i])
	}
	s.authz.observe(&l)
	return out, nil
}

// isAuthz reports whether a path is that of a proxy's question.
func isAuthz(path string) bool {
	below, ok := strings.CutPrefix(path, authzRoute)
	return ok && (below == "" || below[0] == '/')
}

// appendField appends a header field. Like net/http it lets no value end its line.
func appendField(out []byte, name, value string) []byte {
	out = append(append(out, name...), ": "...)
	if strings.IndexByte(value, '\n') >= 0 || strings.IndexByte(value, '\r') >= 0 {
		value = strings.NewReplacer("\r", " ", "\n", " ").Replace(value)
	}
	return append(append(out, value...), "\r\n"...)
}
