package agent_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/devcluster"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/testport"
)

// Most of these tests wait for the disk, or until somebody asks again: more of them at once than there are processors.
func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "10")
	go watch()
	m.Run()
}

// stalled is when this machine last stood still, or hardly moved, in nanoseconds since 1970.
var stalled atomic.Int64

const (
	look      = 50 * time.Millisecond
	aftermath = 5 * time.Second // what follows: connections that are made anew, pulls after a pause
)

func watch() {
	for last := time.Now(); ; {
		time.Sleep(look)
		now := time.Now()
		if now.Sub(last) > time.Second {
			stalled.Store(now.UnixNano())
		}
		last = now
	}
}

// stoodStill reports whether what has just been answered may be the doing of a machine that stood still. It waits a little, for
// who looks after that may have stood still, too.
func stoodStill() bool {
	time.Sleep(4 * look)
	return time.Since(time.Unix(0, stalled.Load())) < aftermath
}

// world is a cluster with sidecars, and a clock that can be set ahead.
type world struct {
	*devcluster.Cluster
	t     *testing.T
	ahead atomic.Int64 // how far the clock is ahead of the machine's
	admin string
	http  *http.Client
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// start starts a cluster with that many sidecars.
func start(t *testing.T, peers int) *world {
	t.Helper()
	w := &world{t: t, http: &http.Client{Transport: &http.Transport{}, Timeout: 2 * time.Minute}}
	t.Cleanup(w.http.CloseIdleConnections)
	c, err := devcluster.Start(t.Context(), devcluster.Options{
		Dir: t.TempDir(), Peers: peers, Now: w.now, Version: "test", Listen: testport.Hold(t), // for it may come back there
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Cluster = c
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	w.admin = w.token(w.URL(), w.ClientID(), w.Secret().Reveal(), "").AccessToken
	return w
}

// answer is an answer with its body.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) code() string {
	var e struct{ Code string }
	_ = json.Unmarshal(a.body, &e)
	return e.Code
}

// send asks anything, and again where the answer is 503 and the machine has just stood still: that may be why.
func (w *world) send(method, url string, header http.Header, body string) answer {
	w.t.Helper()
	a := w.sendOnce(method, url, header, body)
	for a.status == http.StatusServiceUnavailable && stoodStill() {
		a = w.sendOnce(method, url, header, body)
	}
	return a
}

func (w *world) sendOnce(method, url string, header http.Header, body string) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for name, values := range header {
		if name == "Host" {
			r.Host = values[0]
		}
		r.Header[name] = values
	}
	a, err := w.http.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{a.StatusCode, a.Header, text}
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func basic(id, secret string) http.Header {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	return r.Header
}

// tryToken asks a server for a token.
func (w *world) tryToken(server, id, secret, scope string) (httpapi.Token, error) {
	w.t.Helper()
	header := basic(id, secret)
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	a := w.send(http.MethodPost, server+"/v1/oauth/token", header, url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}.Encode())
	if a.status != 200 {
		return httpapi.Token{}, &httpapi.Error{Status: a.status, Code: httpapi.Code(a.code()), Message: string(a.body)}
	}
	var t httpapi.Token
	return t, json.Unmarshal(a.body, &t)
}

// token asks until it is there, and fails the test by any error but 503: that is the answer where others have not answered for seconds.
func (w *world) token(server, id, secret, scope string) (t httpapi.Token) {
	w.t.Helper()
	err := w.certain(func() (err error) {
		t, err = w.tryToken(server, id, secret, scope)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return t
}

// certain tries until the answer is not 503.
func (w *world) certain(try func() error) (err error) {
	w.t.Helper()
	w.eventually("an answer that is not 503", func() bool {
		err = try()
		var e *httpapi.Error
		return !errors.As(err, &e) || e.Status != http.StatusServiceUnavailable
	})
	return err
}

// sent is send until the answer is not 503.
func (w *world) sent(method, url string, header http.Header, body string) (a answer) {
	w.t.Helper()
	w.eventually("an answer that is not 503", func() bool {
		a = w.send(method, url, header, body)
		return a.status != http.StatusServiceUnavailable
	})
	return a
}

// refusedWith fails the test unless err is that refusal.
func (w *world) refusedWith(err error, code httpapi.Code, what string) {
	w.t.Helper()
	var e *httpapi.Error
	if !errors.As(err, &e) || e.Code != code {
		w.t.Errorf("%s: %v, want %s", what, err, code)
	}
}

// call asks the API of a server as admin.
func (w *world) call(server, method, path string, body, into any) {
	w.t.Helper()
	client, err := httpapi.NewClient(server, httpapi.ClientOptions{Transport: w.http.Transport, Timeout: time.Minute})
	if err != nil {
		w.t.Fatal(err)
	}
	once := http.Header{}
	if method == http.MethodPost { // asked again, it is done once
		once.Set(httpapi.HeaderIdempotencyKey, rand.Text()+rand.Text())
	}
	err = w.certain(func() error {
		a, err := client.Call(w.t.Context(), httpapi.Request{Method: method, Path: path, Bearer: w.admin, Body: body, Header: once})
		if err == nil && into != nil {
			err = a.Decode(into)
		}
		return err
	})
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
}

// create makes a credential at the authority.
func (w *world) create(scopes ...string) httpapi.Created {
	w.t.Helper()
	var made httpapi.Created
	w.call(w.URL(), http.MethodPost, "/v1/credentials", httpapi.CreateRequest{Scopes: scopes}, &made)
	return made
}

// Up hides Cluster.Up: connections to what listened there before may look as if they could be used again.
func (w *world) Up(ctx context.Context) error {
	w.http.CloseIdleConnections()
	return w.Cluster.Up(ctx)
}

// RestartSidecar hides Cluster.RestartSidecar, as Up does.
func (w *world) RestartSidecar(ctx context.Context, n int) error {
	defer w.http.CloseIdleConnections()
	return w.Cluster.RestartSidecar(ctx, n)
}

// eventually polls until ok, for a time that no machine needs.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Minute)
	defer cancel()
	for pause := 5 * time.Millisecond; !ok(); pause = min(pause*5/4, 50*time.Millisecond) {
		select {
		case <-ctx.Done():
			w.t.Fatalf("never: %s", what)
		case <-time.After(pause):
		}
	}
}

func (w *world) status(n int) (s httpapi.SidecarStatus) {
	w.t.Helper()
	a := w.send(http.MethodGet, w.Sidecars()[n-1]+"/v1/sidecar/status", nil, "")
	if err := json.Unmarshal(a.body, &s); err != nil || a.status != 200 {
		w.t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return s
}

// head is how long the authority's ledger is.
func (w *world) head() (seq uint64) {
	w.t.Helper()
	a := w.send(http.MethodGet, w.URL()+"/metrics", nil, "")
	_, value, _ := strings.Cut(string(a.body), `keyturn_ledger_head{region="local"} `)
	if _, err := fmt.Sscan(value, &seq); err != nil {
		w.t.Fatalf("%v: %.2000s", err, a.body)
	}
	return seq
}
