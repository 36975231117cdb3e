package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/keys"
)

func TestServer_PanicIsAnsweredAndLogged(t *testing.T) {
	t.Parallel()
	var seen httpapi.Observation
	h := httpapi.NewServer(nil, httpapi.ServerOptions{Observe: func(o httpapi.Observation) { seen = o }})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/cluster/identity", nil)) // no authority behind it: it panics
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), `"code":"INTERNAL"`) {
		t.Errorf("= %d %s", w.Code, w.Body)
	}
	if seen.Err == nil || !strings.Contains(seen.Err.Error(), "panic") || strings.Contains(w.Body.String(), "panic") {
		t.Errorf("logged %v, answered %s", seen.Err, w.Body)
	}
}

func TestBootstrap_WithoutTokenTakesTheNameOfThisHost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := bolt.Open(dir+"/keyturn.db", bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	custody, err := keys.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	a, err := authority.Open(t.Context(), store, custody, authority.Options{Private: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	h := httpapi.NewServer(a, httpapi.ServerOptions{})
	for _, c := range []struct {
		host string
		want int
	}{
		{"evil.example", 400},
		{"evil.example:8080", 400},
		{"10.0.0.1:8080", 400},
		{"localhost.evil.example", 400},
		{"", 400},
		{"127.0.0.1:8080", 201},
		{"localhost:8080", 409},
		{"LOCALHOST", 409},
		{"[::1]:8080", 409},
		{"[::1]", 409},
	} {
		r := httptest.NewRequest(http.MethodPost, "/v1/bootstrap", strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
		r.Host = c.host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("Host %q: %d %s, want %d", c.host, w.Code, w.Body, c.want)
		}
	}
}
