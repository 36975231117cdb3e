package serve

import (
	"crypto/rand"
	"net/http"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// withMetrics adds GET /metrics to the API, for this host alone unless the settings say otherwise: for all others the path
// does not exist.
func (s *Server) withMetrics(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" || !s.c.MetricsOpen && !httpapi.FromThisHost(r) {
			api.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set(httpapi.HeaderRequestID, rand.Text())
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			h.Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusMethodNotAllowed)
			_, _ = w.Write([]byte(`{"error":"this path takes GET, HEAD","code":"METHOD_NOT_ALLOWED"}` + "\n"))
			return
		}
		h.Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		s.metrics.WritePrometheus(w)
	})
}
