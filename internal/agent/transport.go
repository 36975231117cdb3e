package agent

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// transport is the way to the authority. A connection may die without a word: a machine is gone, or something in between has
// forgotten it. Then a new one would work at once, and the dead one must not be asked again.
type transport struct{ *http.Transport }

// newTransport changes t, which nobody uses yet. Over HTTP/2 all requests share one connection, which does not end with a request
// that gets no answer: so it is pinged where nothing comes.
func newTransport(t *http.Transport) transport {
	t.MaxIdleConnsPerHost = 16
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second}
	return transport{t}
}

// RoundTrip implements http.RoundTripper. Over HTTP/1.1 a request without an answer ends its connection, and then all idle ones,
// which lead the same way: else the next requests would wait for each of these in vain.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.Transport.RoundTrip(r)
	if err != nil && errors.Is(r.Context().Err(), context.DeadlineExceeded) {
		t.CloseIdleConnections()
	}
	return answer, err
}

// closeIdle ends connections that nobody uses.
func closeIdle(t http.RoundTripper) {
	if t, ok := t.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
