package httpapi

import (
	"crypto/rand"
	"io"
	"net/http"
)

// metricsWriter is a *metrics.Set.
type metricsWriter interface{ WritePrometheus(w io.Writer) }

// WithMetrics adds GET /metrics to an API, for this host alone unless it is open: for all others the path does not exist.
func WithMetrics(api http.Handler, set metricsWriter, open bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" || !open && !FromThisHost(r) {
			api.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set(HeaderRequestID, rand.Text())
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			h.Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusMethodNotAllowed)
			_, _ = w.Write([]byte(`{"error":"this path takes GET, HEAD","code":"METHOD_NOT_ALLOWED"}` + "\n"))
			return
		}
		h.Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		set.WritePrometheus(w)
	})
}
