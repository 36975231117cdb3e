package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/dynamo"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/keys/vault"
)

// address is where the functions answer: before the table is lost, and after.
type address struct {
	*httptest.Server
	api atomic.Pointer[http.Handler]
}

func newAddress(t *testing.T) *address {
	t.Helper()
	a := &address{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if api := a.api.Load(); api != nil {
			(*api).ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(a.Close)
	return a
}

// peer runs a sidecar of h until the test ends. Its clock stands still at h's time.
func (h *home) peer(c client, url string) (a *agent.Agent, dir string) {
	h.t.Helper()
	var made struct {
		JoinKey string `json:"join_key"`
	}
	if err := json.Unmarshal([]byte(h.call(c, "POST", "/v1/join-keys", `{"max_scopes":["admin"]}`)), &made); err != nil {
		h.t.Fatal(err)
	}
	at, dir := h.at, filepath.Join(h.t.TempDir(), "sidecar")
	a, err := agent.Open(h.t.Context(), agent.Config{
		Authority: url, DataDir: dir, Listen: "127.0.0.1:0", Name: "host", JoinKey: made.JoinKey, SignAtOnce: true,
		Now: func() time.Time { return at },
	})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(h.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	h.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			h.t.Error(err)
		}
	})
	return a, dir
}

// follows waits until a sidecar lets a client in of whom it has to hear first.
func follows(t *testing.T, a *agent.Agent, at time.Time, c client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		_, err := a.Authenticate(ctx, at, access.Proof{ClientID: c.id, Secret: c.secret.Reveal()})
		s := a.Status(at)
		if err == nil && s.Problem == "" && s.Refused == 0 {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the sidecar does not follow: %v, %+v", err, s)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (h *home) made(by client, name string) client {
	h.t.Helper()
	caller := h.caller(by)
	c, err := insist(func() (authority.Created, error) {
		return h.a.Create(h.t.Context(), caller, authority.Origin{At: h.at}, authority.CreateRequest{Name: name}, authority.Once{})
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return client{c.Credential.ID.String(), c.Secret}
}

// The table is lost, and what one sidecar writes down brings the cluster back into another one: the private keys come with it,
// sealed, and the sidecar goes on where it was.
func TestImport_ALostTableComesBackFromASidecar(t *testing.T) {
	t.Parallel()
	api := server.Client(t, region, nil)
	custody := keys.NewSealed(new(vault.Memory))
	lost := newHome(t, openTable(t, api, server.Table(t, api), dynamo.Options{}), custody)
	x := lived(lost)
	where := newAddress(t)
	where.api.Store(&lost.api)
	sidecar, dir := lost.peer(x.root, where.URL)
	follows(t, sidecar, lost.at, x.spare)

	where.api.Store(nil) // nobody asks that table for anything any more
	var file bytes.Buffer
	lines := httpapi.NewExportWriter(&file)
	if err := agent.Export(t.Context(), dir, func() time.Time { return lost.at }, lines.Page); err != nil {
		t.Fatal(err)
	}
	cut := file.String()
	if err := lines.End(); err != nil {
		t.Fatal(err)
	}
	s := openTable(t, api, server.Table(t, api), dynamo.Options{})
	if _, err := load(t.Context(), s, custody, bytes.NewReader([]byte(cut))); err == nil {
		t.Error("an export that broke off was loaded")
	}
	if _, err := load(t.Context(), s, keys.NewSealed(new(vault.Memory)), bytes.NewReader(file.Bytes())); err == nil {
		t.Error("it was loaded for a key that cannot open the ledger key")
	}
	if _, err := load(t.Context(), s, custody, &file); err != nil {
		t.Fatal(err)
	}
	if err := sure(func() error { return takeHome(t.Context(), s, custody, region, lost.at) }); err != nil {
		t.Fatal(err)
	}
	there := newHome(t, s, custody)
	there.at = lost.at
	x.goesOn(there)
	where.api.Store(&there.api)
	follows(t, sidecar, there.at, there.made(x.root, "after"))
}
