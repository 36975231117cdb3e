package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/shortcut"
)

// judge is a sidecar that only answers /authz, by the token.
type judge struct {
	httpapi.Sidecar
	short bool // all that it is asked has to be answered at once
	mu    sync.Mutex
	asked []httpapi.Attempt
}

func (j *judge) questions() []httpapi.Attempt {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.asked)
}

func (j *judge) Authorize(_ context.Context, at time.Time, a httpapi.Attempt) (httpapi.Allowed, error) {
	if a.AtOnce != j.short {
		return httpapi.Allowed{}, fmt.Errorf("at once: %t", a.AtOnce)
	}
	a.AtOnce = false
	j.mu.Lock()
	j.asked = append(j.asked, a)
	j.mu.Unlock()
	if at.Nanosecond() != 0 || at.Location() != time.UTC {
		return httpapi.Allowed{}, fmt.Errorf("the instant is %s", at)
	}
	switch a.Token + a.Proof.Secret {
	case "good", "secret":
		return httpapi.Allowed{ClientID: "cli_x-3", Credential: "cli_x", Scope: "a.read b.read", Version: 3, Age: 1500 * time.Millisecond}, nil
	case "odd":
		return httpapi.Allowed{ClientID: "cli_y\r\nKeyturn-Scope: admin", Credential: " cli_y ", Version: 1234}, nil
	case "scope":
		return httpapi.Allowed{}, access.ErrForbidden
	case "stale":
		return httpapi.Allowed{}, access.ErrStale
	case "panic":
		panic("no judgement")
	case "broken":
		return httpapi.Allowed{}, errors.New("the disk is on fire")
	}
	return httpapi.Allowed{}, access.ErrToken
}

// way is a server of the judge's API, and what it has observed.
type way struct {
	*judge
	address string
	mu      sync.Mutex
	seen    []string
}

func (w *way) observe(o httpapi.Observation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	timely := o.Took >= 0 && o.Took < time.Minute && time.Since(o.At).Abs() < time.Minute && o.Context != nil
	o.At, o.Took, o.Context = time.Time{}, 0, nil
	text, _, _ := strings.Cut(fmt.Sprintf("%t %+v", timely, o), "goroutine") // without a stack
	w.seen = append(w.seen, random.ReplaceAllString(text, "RANDOM"))
}

func (w *way) observations() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

// serveWay serves until the test ends.
func serveWay(t *testing.T, short bool) *way {
	t.Helper()
	w := &way{judge: &judge{short: short}}
	api := httpapi.NewSidecar(w.judge, httpapi.SidecarOptions{Hosts: httpapi.NamesThisHost, ServerOptions: httpapi.ServerOptions{
		Observe: w.observe, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}})
	var l net.Listener
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address = l.Addr().String()
	s := &http.Server{Handler: api}
	if short {
		o := shortcut.Options{HeadTimeout: time.Minute, IdleTimeout: time.Minute, WriteTimeout: time.Minute, MaxHead: 16 << 10}
		wrapped := shortcut.Listen(l, api.Shortcut(), o)
		t.Cleanup(func() {
			if n := wrapped.HandedOver(); n != 0 {
				t.Errorf("%d connections were handed over", n)
			}
			if err := wrapped.Drain(t.Context()); err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
		})
		l = wrapped
	}
	t.Cleanup(func() { _ = s.Close() })
	go func() { _ = s.Serve(l) }()
	return w
}

var random = regexp.MustCompile(`[A-Z2-7]{26}`) // a request id that was made here

// ask sends one plain request, and returns the answer's bytes without what differs each time.
func (w *way) ask(t *testing.T, target, host string, lines []string) (status, header, body string) {
	t.Helper()
	c, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	text := "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + strings.Join(append(lines, "", ""), "\r\n")
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	a, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	if _, err := http.ParseTime(a.Header.Get("Date")); err != nil {
		t.Error(err)
	}
	a.Header.Del("Date")
	var h, b strings.Builder
	_ = a.Header.Write(&h)
	_, _ = bufio.NewReader(a.Body).WriteTo(&b)
	return a.Status, random.ReplaceAllString(h.String(), "RANDOM"), random.ReplaceAllString(b.String(), "RANDOM")
}

// TestShortcut_SaysWhatNetHTTPSays: the same requests, the same answers, the same questions to the node, and one observation each.
func TestShortcut_SaysWhatNetHTTPSays(t *testing.T) {
	t.Parallel()
	short, alone := serveWay(t, true), serveWay(t, false)
	for name, row := range map[string]struct {
		target, host string
		lines        []string
		status       string
	}{
		"LetIn":              {"/authz", "localhost", []string{"Authorization: Bearer good"}, "200 OK"},
		"LetInBelow":         {"/authz/bills/1", "127.0.0.1:8081", []string{"Authorization: bearer good"}, "200 OK"},
		"LetInBySecret":      {"/authz?", "[::1]:8081", []string{"Authorization: Basic Y2xpX3g6c2VjcmV0"}, "200 OK"},
		"OddValues":          {"/authz", "localhost", []string{"Authorization: Bearer odd"}, "200 OK"},
		"NoToken":            {"/authz", "localhost", nil, "401 Unauthorized"},
		"NoSuchScheme":       {"/authz", "localhost", []string{"Authorization: Digest good"}, "401 Unauthorized"},
		"BadToken":           {"/authz", "localhost", []string{"Authorization: Bearer bad"}, "401 Unauthorized"},
		"BadSecret":          {"/authz", "localhost", []string{"Authorization: Basic Y2xpX3g6c2VjcmV0Cg=="}, "401 Unauthorized"},
		"BadBasic":           {"/authz", "localhost", []string{"Authorization: Basic %"}, "401 Unauthorized"},
		"LackingScope":       {"/authz?scope=a.read+c.read&audience=x", "localhost", []string{"Authorization: Bearer scope"}, "403 Forbidden"},
		"Stale":              {"/authz", "localhost", []string{"Authorization: Bearer stale"}, "503 Service Unavailable"},
		"Broken":             {"/authz", "localhost", []string{"Authorization: Bearer broken"}, "500 Internal Server Error"},
		"Panic":              {"/authz", "localhost", []string{"Authorization: Bearer panic"}, "500 Internal Server Error"},
		"QueryTwice":         {"/authz?scope=a&scope=b", "localhost", []string{"Authorization: Bearer good"}, "400 Bad Request"},
		"QueryNotValid":      {"/authz?scope=%zz", "localhost", []string{"Authorization: Bearer good"}, "400 Bad Request"},
		"QuerySemicolon":     {"/authz?a=1;scope=b", "localhost", []string{"Authorization: Bearer good"}, "400 Bad Request"},
		"ForeignHost":        {"/authz", "evil.example", []string{"Authorization: Bearer good"}, "400 Bad Request"},
		"ForeignLocalhost":   {"/authz", "localhost.evil.example", nil, "400 Bad Request"},
		"Forwarded":          {"/authz", "localhost", []string{"Authorization: Bearer good", "X-Forwarded-For: 192.0.2.7, 198.51.100.9"}, "200 OK"},
		"ForwardedByMore":    {"/authz", "localhost", []string{"Authorization: Bearer good", "X-Forwarded-For: 192.0.2.7, 127.0.0.9"}, "200 OK"},
		"ForwardedRefused":   {"/authz", "localhost", []string{"X-Forwarded-For: 192.0.2.7"}, "401 Unauthorized"},
		"RequestID":          {"/authz", "localhost", []string{"Authorization: Bearer good", "X-Request-ID: an.id_1-2"}, "200 OK"},
		"RequestIDRefused":   {"/authz", "localhost", []string{"X-Request-Id: an.id"}, "401 Unauthorized"},
		"RequestIDLong":      {"/authz", "localhost", []string{"Authorization: Bearer good", "X-Request-Id: " + strings.Repeat("x", 65)}, "200 OK"},
		"RequestIDOdd":       {"/authz", "localhost", []string{"Authorization: Bearer good", "X-Request-Id: a b"}, "200 OK"},
		"RequestIDLikeToken": {"/authz", "localhost", []string{"Authorization: Bearer good", "X-Request-Id: eyJhbGciOiJFUzI1NiJ9"}, "200 OK"},
	} {
		before := len(short.questions())
		wantStatus, wantHeader, wantBody := alone.ask(t, row.target, row.host, row.lines)
		status, header, body := short.ask(t, row.target, row.host, row.lines)
		if status != row.status || status != wantStatus || body != wantBody {
			t.Errorf("%s: %s %s, and net/http %s %s", name, status, body, wantStatus, wantBody)
		}
		if diff := cmp.Diff(wantHeader, header); diff != "" {
			t.Errorf("%s: (-net/http +shortcut)\n%s", name, diff)
		}
		if n := len(short.questions()) - before; n > 1 {
			t.Errorf("%s: the node was asked %d times", name, n)
		}
	}
	if diff := cmp.Diff(alone.questions(), short.questions()); diff != "" {
		t.Errorf("questions (-net/http +shortcut)\n%s", diff)
	}
	if diff := cmp.Diff(alone.observations(), short.observations()); diff != "" {
		t.Errorf("observations (-net/http +shortcut)\n%s", diff)
	}
}
