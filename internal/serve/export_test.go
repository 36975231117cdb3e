package serve

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// Handler answers without a listener.
func (s *Server) Handler() http.Handler { return s.handler() }

// KeepHouse is the loop that Run has beside the HTTP server.
func (s *Server) KeepHouse(ctx context.Context) { s.keepHouse(ctx) }

// ReadExport reads an export to its end, and returns how many records and hashes are in it.
func ReadExport(r io.Reader) (n int, err error) {
	x := httpapi.NewExportReader(r)
	for ; ; n++ {
		if _, err := x.Next(); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}
