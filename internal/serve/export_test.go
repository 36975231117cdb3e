package serve

import (
	"context"
	"net/http"
)

// Handler answers without a listener.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// KeepHouse is the loop that Run has beside the HTTP server.
func (s *Server) KeepHouse(ctx context.Context) { s.keepHouse(ctx) }
