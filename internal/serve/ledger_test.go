package serve_test

import (
	"net/http"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/e2e"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// A peer that waits for news is answered when the server stops: it does not hold up the stop.
func TestServer_StopEndsWaitingPeers(t *testing.T) {
	t.Parallel()
	h := run(t, config(t))
	a := &e2e.API{T: t, URL: h.URL(), Client: &http.Client{Transport: h.transport}}
	root := a.Want(201, "POST", "/v1/bootstrap", e2e.JSON(`{}`))
	admin := a.Token(root.Text("client_id"), root.Text("client_secret"))
	key := a.Want(201, "POST", "/v1/join-keys", e2e.Bearer(admin), e2e.JSON(`{}`)).Text("join_key")
	host := e2e.NewHost(t)
	joined := a.Want(201, "POST", "/v1/peers/join", e2e.JSON(host.Join(t, key)))
	assertion := host.Assertion(t, joined.Text("peer_id"), joined.Text("issuer"), time.Now().Unix())
	bearer := a.Want(200, "POST", "/v1/oauth/token", assertion).Text("access_token")

	sent := make(chan struct{})
	client, err := httpapi.NewClient(h.URL(), httpapi.ClientOptions{Timeout: 40 * time.Second, Transport: telling{&http.Transport{}, sent}})
	if err != nil {
		t.Fatal(err)
	}
	all, err := h.Ledger(t.Context(), bearer, "", 500, 0)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := client.Ledger(t.Context(), bearer, authority.Cursor(all.Heads).String(), 500, 30*time.Second)
		answered <- err
	}()
	<-sent
	for range 50 { // by then it has been read: it was sent before all of these
		a.Want(200, "GET", "/livez")
	}
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil { // what is under way is cut off after 10 s
		t.Errorf("the waiting request: %v", err)
	}
}

// telling closes a channel when the connection for a request is there, and the request on its way.
type telling struct {
	next http.RoundTripper
	sent chan struct{}
}

func (c telling) RoundTrip(r *http.Request) (*http.Response, error) {
	trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { close(c.sent) }}
	return c.next.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
}
