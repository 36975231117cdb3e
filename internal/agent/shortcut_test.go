package agent_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestShortcut_AnswersAsNetHTTPDoes asks a whole sidecar the same on both ways: a field that says how to read an answer, and
// changes none, makes a question net/http's.
func TestShortcut_AnswersAsNetHTTPDoes(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	made := w.create("billing.read", "billing.write")
	c := w.another("127.0.0.1:0")
	a, _ := w.runs(c)
	tok := w.token(w.URL(), made.ClientID, made.ClientSecret, "").AccessToken
	secret := basic(made.ClientID, made.ClientSecret).Get("Authorization")
	w.eventually("the sidecar has it", func() bool { return w.send(http.MethodGet, a.URL()+"/authz", bearer(tok), "").status == 200 })
	host := strings.TrimPrefix(a.URL(), "http://")
	rows := map[string]struct {
		target, host string
		lines        []string
		status       int
	}{
		"LetIn":        {"/authz", host, []string{"Authorization: Bearer " + tok}, 200},
		"BySecret":     {"/authz/bills?scope=billing.read", host, []string{"Authorization: " + secret}, 200},
		"NoToken":      {"/authz", host, nil, 401},
		"BadToken":     {"/authz", host, []string{"Authorization: Bearer x.y.z"}, 401},
		"BadSecret":    {"/authz", host, []string{"Authorization: Basic eDp5"}, 401},
		"LackingScope": {"/authz?scope=admin", host, []string{"Authorization: Bearer " + tok}, 403},
		"BadQuery":     {"/authz?scope=a&scope=b", host, []string{"Authorization: Bearer " + tok}, 400},
		"ForeignHost":  {"/authz", "evil.example", []string{"Authorization: Bearer " + tok}, 400},
		"Forwarded":    {"/authz", host, []string{"Authorization: Bearer " + tok, "X-Forwarded-For: 192.0.2.7"}, 200},
		"RequestID":    {"/authz", host, []string{"Authorization: Bearer " + tok, "X-Request-Id: of-the-client"}, 200},
		"BadRequestID": {"/authz", host, []string{"Authorization: Bearer " + tok, "X-Request-Id: sec_x"}, 200},
	}
	both := func(name string, status int) {
		row := rows[name]
		before := a.HandedOver()
		short := w.raw(host, row.target, row.host, row.lines)
		if n := a.HandedOver() - before; n != 0 {
			t.Errorf("%s: it was net/http's", name)
		}
		long := w.raw(host, row.target, row.host, append([]string{"TE: trailers"}, row.lines...))
		if n := a.HandedOver() - before; n != 1 {
			t.Errorf("%s: it was not net/http's", name)
		}
		if diff := cmp.Diff(long, short); diff != "" || !strings.HasPrefix(short, http.StatusText(status)+"\n") {
			t.Errorf("%s: want %d; (-net/http +shortcut)\n%s\n%s", name, status, diff, short)
		}
	}
	for name, row := range rows {
		both(name, row.status)
	}
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	w.ahead.Store(int64(2 * time.Hour))
	both("BySecret", 200)
	rows["Stale"] = rows["BySecret"]
	stale := rows["Stale"]
	stale.target = "/authz?scope=billing.write"
	rows["Stale"] = stale
	both("Stale", 503)
}

// TestShortcut_WhatWouldWaitIsNetHTTPs: there it is noticed that a client has gone, who would keep a place among those who ask.
func TestShortcut_WhatWouldWaitIsNetHTTPs(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	a, _ := w.runs(w.another("127.0.0.1:0"))
	made := w.create("billing.read")
	unknown := basic("cli_01jd6y0e00f2bvwrw0xk3y4t5z", made.ClientSecret).Get("Authorization")
	host := strings.TrimPrefix(a.URL(), "http://")
	for _, want := range []string{"Unauthorized", "Service Unavailable"} {
		if want != "Unauthorized" {
			if err := w.Down(); err != nil {
				t.Fatal(err)
			}
		}
		before := a.HandedOver()
		if got := w.raw(host, "/authz", host, []string{"Authorization: " + unknown}); !strings.HasPrefix(got, want+"\n") {
			t.Errorf("want %s: %s", want, got)
		}
		if n := a.HandedOver() - before; n != 1 {
			t.Errorf("%s: %d connections were left to net/http", want, n)
		}
	}
}

// varying is what differs between two answers to one question: a request id that was made there, and an age.
var varying = regexp.MustCompile(`[A-Z2-7]{26}|Keyturn-Age: \d+`)

// raw sends one request over a connection of its own, and returns the answer as text without what differs each time.
func (w *world) raw(address, target, host string, lines []string) string {
	w.t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	text := "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + strings.Join(append(lines, "", ""), "\r\n")
	if _, err := io.WriteString(c, text); err != nil {
		w.t.Fatal(err)
	}
	a, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	a.Header.Del("Date")
	var b strings.Builder
	b.WriteString(http.StatusText(a.StatusCode) + "\n")
	_ = a.Header.Write(&b)
	_, _ = io.Copy(&b, a.Body)
	return varying.ReplaceAllString(b.String(), "…")
}

// TestShortcut_NginxStaysOnIt runs the documented configuration: its pooled connections are never left to net/http, whatever
// its clients send and however they are answered.
func TestShortcut_NginxStaysOnIt(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	made := w.create("billing.read")
	tok := w.token(w.URL(), made.ClientID, made.ClientSecret, "").AccessToken
	dir := shortDir(t)
	c := w.another("unix:" + filepath.Join(dir, "sidecar"))
	c.SocketMode = 0o666
	a, _ := w.runs(c)
	own := filepath.Join(dir, "nginx")
	if err := os.Mkdir(own, 0o755); err != nil {
		t.Fatal(err)
	}
	v := &world{Cluster: w.Cluster, t: t}
	v.startNginx(own, c.Listen, service(t))
	browser := bearer(tok)
	for name, value := range map[string]string{
		"Cookie": strings.Repeat("a=b; ", 500) + "c=d", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)", "Accept": "*/*", "Te": "trailers",
		"X-Forwarded-For": "192.0.2.1", "Upgrade": "websocket", "X-Request-Id": "one",
	} {
		browser[name] = []string{value}
	}
	asked := 0
	for range 10 {
		for _, row := range []struct {
			method, path string
			header       http.Header
			status       int
		}{
			{"GET", "/bills/1", bearer(tok), 200},
			{"GET", "/bills/1?x=%20y", browser, 200},
			{"GET", "/else", basic(made.ClientID, made.ClientSecret), 200},
			{"GET", "/bills/1", nil, 401},
			{"GET", "/bills/1", bearer("x.y.z"), 401},
			{"POST", "/bills/1", browser, 200},
			{"POST", "/bills/pay", bearer(tok), 403},
		} {
			asked++
			got := v.send(row.method, "http://bills.example"+row.path, row.header, map[bool]string{true: "some body"}[row.method == "POST"])
			if got.status != row.status {
				t.Errorf("%s %s: %d %s", row.method, row.path, got.status, got.body)
			}
		}
	}
	if n := a.HandedOver(); n != 0 {
		t.Errorf("%d connections were left to net/http", n)
	}
	v.over(strings.TrimPrefix(c.Listen, "unix:"))
	if text := string(v.send(http.MethodGet, "http://sidecar/metrics", nil, "").body); countOf(text) != asked {
		t.Errorf("%d of %d were counted", countOf(text), asked)
	}
}

var authzCount = regexp.MustCompile(`keyturn_request_duration_seconds_count\{route="/authz"\} (\d+)`)

func countOf(text string) (n int) {
	if found := authzCount.FindStringSubmatch(text); found != nil {
		for _, c := range found[1] {
			n = 10*n + int(c-'0')
		}
	}
	return n
}
