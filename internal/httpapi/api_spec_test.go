package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func checkedClient(t *testing.T, s *httptest.Server) *http.Client {
	c := s.Client()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}
