package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// client is what the load authenticates with.
type client struct{ id, secret string }

// request is a token request as it goes over the wire, made before the clock runs.
func (c client) request(address string) []byte {
	body := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.id}, "client_secret": {c.secret}}.Encode()
	return fmt.Appendf(nil, "POST /v1/oauth/token HTTP/1.1\r\nHost: %s\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", address, len(body), body)
}

// tokenRequests are those of all clients.
func tokenRequests(address string, clients []client) [][]byte {
	requests := make([][]byte, len(clients))
	for i, c := range clients {
		requests[i] = c.request(address)
	}
	return requests
}

// authzRequests ask a sidecar about each token, as a proxy does.
func authzRequests(address string, tokens []string) [][]byte {
	requests := make([][]byte, len(tokens))
	for i, text := range tokens {
		requests[i] = fmt.Appendf(nil, "GET /authz HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", address, text)
	}
	return requests
}

// load sends requests over n connections until the time is over, and returns how many were answered per second. Each
// connection goes through the requests from a place of its own.
func load(address string, requests [][]byte, n int, d time.Duration) (float64, error) {
	var answered atomic.Int64
	errs := make(chan error, n)
	var group sync.WaitGroup
	start := time.Now()
	for i := range n {
		group.Go(func() {
			errs <- connection(address, requests, i*len(requests)/n, start.Add(d), &answered)
		})
	}
	group.Wait()
	took := time.Since(start)
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return float64(answered.Load()) / took.Seconds(), all
}

func connection(address string, requests [][]byte, next int, end time.Time, answered *atomic.Int64) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the load is over
	in := bufio.NewReader(conn)
	for time.Now().Before(end) {
		if _, err := conn.Write(requests[next%len(requests)]); err != nil {
			return err
		}
		next++
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answered %s", address, res.Status)
		}
		answered.Add(1)
	}
	return nil
}
