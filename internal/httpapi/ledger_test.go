package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/e2e"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/ledger"
)

// peerToken is the token that a peer gets by private_key_jwt.
func (f *fixture) peerToken(h *e2e.Host, peerID string) string {
	f.T.Helper()
	a := f.Want(200, "POST", "/v1/oauth/token", h.Assertion(f.T, peerID, f.URL, f.clock.Now().Unix()))
	return a.Text("access_token")
}

// joined is a new peer, with its token.
func (f *fixture) joined() (peerID, bearer string) {
	f.T.Helper()
	key := f.Want(201, "POST", "/v1/join-keys", e2e.Bearer(f.admin()), e2e.JSON(`{}`)).Text("join_key")
	h := e2e.NewHost(f.T)
	peerID = f.Want(201, "POST", "/v1/peers/join", e2e.JSON(h.Join(f.T, key))).Text("peer_id")
	return peerID, f.peerToken(h, peerID)
}

// follow asks for the ledger after what a page has told, in another goroutine.
func (f *fixture) follow(bearer, after string, wait int) <-chan e2e.Answer {
	answered := make(chan e2e.Answer, 1)
	go func() {
		answered <- f.Do("GET", fmt.Sprintf("/v1/ledger?after=%s&wait_seconds=%d", after, wait), e2e.Bearer(bearer))
	}()
	return answered
}

func soon(t testing.TB, answered <-chan e2e.Answer) e2e.Answer {
	t.Helper()
	select {
	case a := <-answered:
		return a
	case <-time.After(25 * time.Second): // before the wait of 30 s is over
		t.Fatal("no answer came")
		return e2e.Answer{}
	}
}

func (f *fixture) cursor() string {
	f.T.Helper()
	heads, err := f.authority.LedgerAfter(f.T.Context(), copier, f.clock.Now().UTC().Truncate(time.Second), nil, 1)
	if err != nil {
		f.T.Fatal(err)
	}
	return authority.Cursor(heads.Heads).String()
}

var copier = access.Caller{Scopes: credential.NewScopes(credential.LedgerRead)}

// soleWriter is an authority as keyturn serve is one: its requests can wait.
var soleWriter = setup{options: authority.Options{SoleWriter: true}}

// stoppable is a server can be stopped, and tells when a request has been let in.
func (f *fixture) stoppable(stopping <-chan struct{}, entered chan<- struct{}) *httptest.Server {
	h := httpapi.NewServer(f.authority, httpapi.ServerOptions{Now: f.clock.Now, Stopping: stopping})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		h.ServeHTTP(w, r)
	}))
	f.T.(*testing.T).Cleanup(s.Close)
	return s
}

func TestLedger_IsForPeers(t *testing.T) {
	t.Parallel()
	f := newFixture(t, soleWriter)
	_, bearer := f.joined()
	f.Want(200, "GET", "/v1/ledger", e2e.Bearer(bearer))
	f.Want(403, "GET", "/v1/ledger", e2e.Bearer(f.admin()))
	f.Want(401, "GET", "/v1/ledger")
	f.Want(403, "GET", "/v1/credentials", e2e.Bearer(bearer)) // and for nothing else
	f.Want(403, "GET", "/v1/export", e2e.Bearer(bearer))
}

func TestLedger_RefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	f := newFixture(t, soleWriter)
	_, bearer := f.joined()
	for _, query := range []string{
		"wait_seconds=31", "wait_seconds=-1", "wait_seconds=x", "wait_seconds=1.5", "limit=0", "limit=5001", "limit=x",
		"after=local", "after=local:-1", "after=local:1,local:2", "after=:1",
	} {
		if a := f.Want(400, "GET", "/v1/ledger?"+query, e2e.Bearer(bearer)); a.Text("code") != "INVALID_REQUEST" {
			t.Errorf("%s: %s", query, a.Body)
		}
	}
}

// A request that waits is answered by the commit that it waits for.
func TestLedger_WaitsForNews(t *testing.T) {
	t.Parallel()
	f := newFixture(t, soleWriter)
	_, bearer := f.joined()
	answered := f.follow(bearer, f.cursor(), 30)
	f.clock.Advance(time.Second)
	f.create(map[string]any{"name": "news"})
	a := soon(t, answered)
	records, _ := a.Object()["records"].([]any)
	if a.Status != 200 || len(records) != 2 || fmt.Sprint(a.Object()["poll_after_seconds"]) != "0" {
		t.Errorf("%d with %d records: %.300s", a.Status, len(records), a.Body)
	}
}

// Where no news comes, the answer has a proof of the instant at which it was given.
func TestLedger_AnswersInTheEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t, soleWriter)
	_, bearer := f.joined()
	var once sync.Once
	s := httptest.NewServer(httpapi.NewServer(f.authority, httpapi.ServerOptions{Now: func() time.Time {
		defer once.Do(func() { f.clock.Advance(time.Minute) }) // the first is the instant of the request
		return f.clock.Now()
	}}))
	t.Cleanup(s.Close)
	client, cursor := f.client(s.URL), f.cursor()
	began := time.Now()
	p, err := client.Ledger(t.Context(), bearer, cursor, 500, time.Second)
	if err != nil {
		t.Fatalf("ledger: %v", err)
	}
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("answered after %v, want the second of the wait", took)
	}
	if len(p.Records) != 0 || p.Freshness == nil {
		t.Fatalf("page: %+v", p)
	}
	if at := f.proofAt(p); !at.Equal(f.clock.Now().UTC().Truncate(time.Second)) {
		t.Errorf("the proof is of %v, and the answer of %v", at, f.clock.Now())
	}
}

func (f *fixture) client(server string) *httpapi.Client {
	f.T.Helper()
	c, err := httpapi.NewClient(server, httpapi.ClientOptions{Timeout: 2 * time.Minute})
	if err != nil {
		f.T.Fatal(err)
	}
	return c
}

// The client's page is the server's.
func TestLedger_BothEndsAgree(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	_, bearer := f.joined()
	id, _ := f.create(map[string]any{"name": "one"})
	f.Want(204, "DELETE", "/v1/credentials/"+id, e2e.Bearer(f.admin()))
	at := f.clock.Now().UTC().Truncate(time.Second)
	want, err := f.authority.LedgerAfter(t.Context(), copier, at, authority.Cursor{"local": 2}, 8)
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.client(f.URL).Ledger(t.Context(), bearer, "local:2", 8, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the server's page (-) and the client's (+):\n%s", diff)
	}
	if got.PollAfter != 5*time.Second {
		t.Errorf("poll after %v", got.PollAfter) // and it did not wait, although it was asked to
	}
}

// A peer that is removed hears no more, be it in the middle of a request.
func TestLedger_EndsWithThePeer(t *testing.T) {
	t.Parallel()
	f := newFixture(t, soleWriter)
	peerID, bearer := f.joined()
	answered := f.follow(bearer, f.cursor(), 30)
	f.Want(204, "DELETE", "/v1/peers/"+peerID, e2e.Bearer(f.admin()))
	if a := soon(t, answered); a.Status != 401 {
		t.Errorf("%d: %.300s", a.Status, a.Body)
	}
	f.Want(401, "GET", "/v1/ledger", e2e.Bearer(bearer))
}

// A server that stops answers those who wait.
func TestLedger_EndsWithTheServer(t *testing.T) {
	t.Parallel()
	f := newFixture(t, soleWriter)
	_, bearer := f.joined()
	stopping, entered := make(chan struct{}), make(chan struct{}, 1)
	s := f.stoppable(stopping, entered)
	answered := make(chan error, 1)
	go func() {
		p, err := f.client(s.URL).Ledger(t.Context(), bearer, f.cursor(), 500, 30*time.Second)
		if err == nil && len(p.Records) > 0 {
			err = errors.New("records that nobody wrote")
		}
		answered <- err
	}()
	<-entered
	close(stopping)
	select {
	case err := <-answered:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(25 * time.Second):
		t.Fatal("it went on waiting")
	}
}

// A caller who goes away waits no longer.
func TestLedger_EndsWithTheCaller(t *testing.T) {
	t.Parallel()
	f := newFixture(t, soleWriter)
	_, bearer := f.joined()
	entered := make(chan struct{}, 1)
	s := f.stoppable(nil, entered)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := f.client(s.URL).Ledger(ctx, bearer, f.cursor(), 500, 30*time.Second)
		ended <- err
	}()
	<-entered
	cancel()
	if err := <-ended; !errors.Is(err, httpapi.ErrUnreachable) && !errors.Is(err, context.Canceled) {
		t.Errorf("ledger: %v", err)
	}
	s.Close() // waits for the handler
}

// The client asks once: whoever follows has a patience of its own.
func TestClient_LedgerAsksOnce(t *testing.T) {
	t.Parallel()
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer s.Close()
	c, err := httpapi.NewClient(s.URL, httpapi.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Ledger(t.Context(), "t", "", 1, 0); err == nil || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

// proofAt is the instant of a page's proof, which has to count.
func (f *fixture) proofAt(p authority.LedgerPage) time.Time {
	f.T.Helper()
	c, err := f.authority.Cluster(f.T.Context())
	if err != nil {
		f.T.Fatal(err)
	}
	says, err := ledger.NewVerifier(c.LedgerKeys...).Freshness(*p.Freshness)
	if err != nil {
		f.T.Fatal(err)
	}
	return says.At
}

// What a page says is bounded by what was asked for, whoever has changed it on the way.
func TestClient_LedgerIsNoLargerThanAskedFor(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		records, hashes, heads int
		good                   bool
	}{
		"AsAsked":        {authority.MaxLedgerPage, authority.MaxLedgerPage, 256, true},
		"MoreRecords":    {authority.MaxLedgerPage + 1, 0, 1, false},
		"MoreHashes":     {0, authority.MaxLedgerPage + 1, 1, false},
		"MoreRegions":    {0, 0, 257, false},
		"NothingAtAll":   {0, 0, 0, true},
		"ManyTimesOver":  {20 * authority.MaxLedgerPage, 0, 1, false},
		"RegionsByTheMB": {0, 0, 50_000, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page := httpapi.LedgerPage{Heads: map[string]uint64{}}
			for range row.records {
				page.Records = append(page.Records, httpapi.SignedRecord{Payload: "e30", KeyID: "k", Signature: "AAAA"})
			}
			for range row.hashes {
				page.Hashes = append(page.Hashes, httpapi.LedgerHash{Region: "local", Seq: 1})
			}
			for i := range row.heads {
				page.Heads[fmt.Sprint("r", i)] = 1
			}
			text, err := json.Marshal(page)
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write(text)
			}))
			defer server.Close()
			got, err := newClient(t, server.URL, httpapi.ClientOptions{}).Ledger(t.Context(), "t", "", authority.MaxLedgerPage, 0)
			if (err == nil) != row.good || !row.good && len(got.Records)+len(got.Heads) > 0 {
				t.Errorf("%d records, %d heads, %v", len(got.Records), len(got.Heads), err)
			}
		})
	}
}
