package main_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	keyturn "github.com/keyturn/keyturn/cli"
)

// atTerminal runs a command as if a person sat there, and answers what it asks.
func (u *user) atTerminal(answer string, args ...string) result {
	u.t.Helper()
	var stdout, stderr bytes.Buffer
	a := app(func(name string) string { return u.env[name] }, strings.NewReader(answer), &stdout, &stderr)
	a.Now, a.Terminal = u.clock.now, func(any) bool { return true }
	r := result{exit: a.Run(args)}
	r.stdout, r.stderr = stdout.String(), stderr.String()
	return r
}

func TestRotate_AsksOnATerminal(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	id, _ := u.held()
	next := strings.TrimSuffix(id, "-1") + "-2"
	for _, no := range []string{"", "\n", "n\n", "nope\n"} {
		r := u.atTerminal(no, "credentials", "rotate", "--update-config", "--window", "90m")
		if r.exit != 1 || r.stdout != "" || !strings.Contains(r.stderr, "not confirmed, nothing was changed") || len(u.pending()) > 0 {
			t.Fatalf("%q: exit %d, %v: %s", no, r.exit, u.pending(), r.stderr)
		}
		for _, told := range []string{
			"version      1 -> 2, with the client id " + next, "(in 1 h 30 min)", "every host and person that shares it",
			`context "` + u.contextName() + `" of ` + u.env["KEYTURN_CONFIG"], "Rotate? [y/N] ",
		} {
			if !strings.Contains(r.stderr, told) {
				t.Errorf("it does not say %q:\n%s", told, r.stderr)
			}
		}
	}
	if now := u.version(); now != 1 {
		t.Fatalf("version %d without a yes", now)
	}
	if r := u.atTerminal("y\n", "credentials", "rotate", "--update-config"); r.exit != 0 {
		t.Errorf("exit %d: %s", r.exit, r.stderr)
	}
	if r := u.atTerminal("", "credentials", "rotate", "--update-config", "--yes"); r.exit != 0 || strings.Contains(r.stderr, "y/N") {
		t.Errorf("exit %d: %s", r.exit, r.stderr)
	}
	r := u.atTerminal("YES\n", "credentials", "rotate", "--update-config", "--emergency")
	if r.exit != 0 || !strings.Contains(r.stderr, "dead at once and for ever") {
		t.Errorf("exit %d: %s", r.exit, r.stderr)
	}
	if now := u.version(); now != 4 {
		t.Errorf("version %d", now)
	}
}

func TestRotate_WhatIsOwedIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	before := u.version()
	u.stopAt(3, rotations()["Window0"]...)
	if r := u.atTerminal("", rotations()["Window0"]...); r.exit != 0 || strings.Contains(r.stderr, "y/N") {
		t.Errorf("exit %d: %s", r.exit, r.stderr)
	}
	u.healed(before, "finished at a terminal")
}

func TestScreen_ColourOnATerminalOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		terminal bool
		env      map[string]string
		colour   bool
	}{
		{true, nil, true},
		{false, nil, false},
		{true, map[string]string{"NO_COLOR": "1"}, false},
		{true, map[string]string{"TERM": "dumb"}, false},
	} {
		var stdout, stderr bytes.Buffer
		a := app(func(name string) string { return c.env[name] }, strings.NewReader(""), &stdout, &stderr)
		a.Terminal = func(any) bool { return c.terminal }
		if exit := a.Run([]string{"token"}); exit != 2 {
			t.Fatalf("exit %d: %s", exit, &stderr)
		}
		if got := strings.Contains(stderr.String(), "\x1b["); got != c.colour || stdout.Len() > 0 {
			t.Errorf("%+v: %q", c, stderr.String())
		}
	}
}

// TestScreen_SignOfLife: whoever waits over a second on a terminal sees that something is going on, and nothing of it is
// left when the data comes.
func TestScreen_SignOfLife(t *testing.T) {
	t.Parallel()
	for terminal, want := range map[bool]bool{true: true, false: false} {
		var both bytes.Buffer
		seen := make(chan struct{})
		var once sync.Once
		slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/oauth/token" {
				_, _ = io.WriteString(w, `{"access_token":"t","expires_in":60}`)
				return
			}
			if terminal {
				select {
				case <-seen:
				case <-r.Context().Done():
				}
			} else {
				time.Sleep(1500 * time.Millisecond) // longer than it takes where it comes
			}
			_, _ = io.WriteString(w, `{"credentials":[],"next_cursor":null}`)
		}))
		t.Cleanup(slow.Close)
		env := fakeEnv(t, slow.URL)
		a := app(func(name string) string { return env[name] }, strings.NewReader(""), &both, writer(func(p []byte) (int, error) {
			if bytes.Contains(p, []byte("list the credentials")) {
				once.Do(func() { close(seen) })
			}
			return both.Write(p)
		}))
		a.Terminal = func(any) bool { return terminal }
		if exit := a.Run([]string{"credentials", "list", "--json", "--timeout", "1m"}); exit != 0 {
			t.Fatal(both.String())
		}
		text := both.String()
		if got := strings.Contains(text, "list the credentials at "+slow.URL); got != want {
			t.Errorf("on a terminal: %v: %q", terminal, text)
		}
		if end := "\x1b[K{\"credentials\":[],\"next_cursor\":null}\n"; terminal && !strings.HasSuffix(text, end) {
			t.Errorf("it is still there when the data comes: %q", text)
		}
	}
}

// fakeEnv is the environment of somebody whose server is a fake one.
func fakeEnv(t *testing.T, server string) map[string]string {
	return map[string]string{
		"KEYTURN_CONFIG": t.TempDir() + "/config.json", "KEYTURN_SERVER": server, "PATH": "/usr/bin:/bin",
		"KEYTURN_CLIENT_ID":     "cli_00000000000000000000000000-1",
		"KEYTURN_CLIENT_SECRET": "sec_" + strings.Repeat("0", 43) + "028sx6",
	}
}

func TestApp_InterruptedAtAPrompt(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	stdin, keyboard := io.Pipe() // nobody types
	t.Cleanup(func() { _ = keyboard.Close() })
	ctx, interrupt := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	asked := writer(func(p []byte) (int, error) {
		if strings.Contains(string(p), "[y/N]") {
			interrupt()
		}
		return stderr.Write(p)
	})
	a := app(func(name string) string { return u.env[name] }, stdin, io.Discard, asked)
	a.Context, a.Terminal = ctx, func(any) bool { return true }
	if exit := a.Run([]string{"credentials", "rotate"}); exit != 1 || !strings.Contains(stderr.String(), "interrupted; nothing was changed") {
		t.Errorf("exit %d: %s", exit, &stderr)
	}
}

func TestApp_InterruptedDuringACallKeepsTheRequest(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	w := behindWire(t, u)
	w.hold = make(chan struct{})
	ctx, interrupt := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	a := app(func(name string) string { return u.env[name] }, strings.NewReader(""), io.Discard, &stderr)
	a.Context = ctx
	a.Step = func(name string) {
		if name == "written" {
			time.AfterFunc(200*time.Millisecond, interrupt)
		}
	}
	exit := a.Run([]string{"credentials", "rotate", "--update-config", "--window", "0"})
	close(w.hold)
	if exit != 1 || !strings.Contains(stderr.String(), "interrupted; it may have been done or not: run the same command again") || len(u.pending()) != 1 {
		t.Fatalf("exit %d, %v: %s", exit, u.pending(), &stderr)
	}
	u.must("credentials", "rotate", "--update-config", "--window", "0")
	u.healed(1, "interrupted")
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// TestPages_AllOfThem: a list comes whole, however many pages it has, and one page comes unchanged.
func TestPages_AllOfThem(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cursor := r.URL.Query().Get("cursor") + r.URL.Query().Get("after")
		switch {
		case r.URL.Path == "/v1/oauth/token":
			_, _ = io.WriteString(w, `{"access_token":"t"}`)
		case r.URL.Query().Get("include") != "":
			_, _ = io.WriteString(w, `{ "credentials" : [] , "next_cursor":null,"new":1}`)
		case r.URL.Path == "/v1/audit":
			_, _ = fmt.Fprintf(w, `{"events":[{"seq":%q},{"seq":2}],"next_cursor":"b"}`, cursor)
		case cursor == "":
			_, _ = io.WriteString(w, `{"credentials":[{"a":1},{"a":2}],"next_cursor":"x"}`)
		case cursor == "x":
			_, _ = io.WriteString(w, `{"credentials":[],"next_cursor":"y"}`)
		default:
			_, _ = io.WriteString(w, `{"credentials":[{"a":3}],"next_cursor":null}`)
		}
	}))
	t.Cleanup(server.Close)
	env := fakeEnv(t, server.URL)
	for args, want := range map[string]string{
		"credentials list --json":                   `{"credentials":[{"a":1},{"a":2},{"a":3}],"next_cursor":null}`,
		"credentials list --include-revoked --json": `{ "credentials" : [] , "next_cursor":null,"new":1}`,
		"audit --limit 3 --json":                    `{"events":[{"seq":""},{"seq":2},{"seq":"b"}],"next_cursor":null}`,
		"audit --limit 1 --json":                    `{"events":[{"seq":""}],"next_cursor":null}`,
	} {
		var stdout, stderr bytes.Buffer
		a := app(func(name string) string { return env[name] }, strings.NewReader(""), &stdout, &stderr)
		if exit := a.Run(strings.Fields(args)); exit != 0 || stdout.String() != want+"\n" {
			t.Errorf("%s: exit %d: %s%s", args, exit, &stdout, &stderr)
		}
	}
}

// TestApp_ReusedByTests: an App is a value that runs any number of times.
func TestApp_RunsAgain(t *testing.T) {
	t.Parallel()
	var stdout bytes.Buffer
	a := keyturn.App{
		Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: io.Discard, Env: func(string) string { return "" },
		Now: time.Now, Context: t.Context(), Version: "v1",
	}
	for range 2 {
		if exit := a.Run([]string{"version"}); exit != 0 {
			t.Fatal(exit)
		}
	}
	if strings.Count(stdout.String(), "keyturn v1 ") != 2 {
		t.Error(stdout.String())
	}
}

// At a terminal, a version that is still accepted is revoked after a look at who uses it, and after a yes.
func TestRevoke_AsksBeforeAnEarlyEnd(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	old := u.cluster.ClientID()
	u.must("credentials", "rotate", "--update-config")
	if r := u.atTerminal("n\n", "credentials", "revoke", old); r.exit != 1 || !strings.Contains(r.stderr, "nothing was changed") || !strings.Contains(r.stderr, old+" is accepted until") {
		t.Errorf("exit %d: %s", r.exit, r.stderr)
	}
	if r := u.must("credentials", "status"); !strings.Contains(r.stdout, "version 1: superseded") {
		t.Errorf("%s", r.stdout)
	}
	if r := u.atTerminal("y\n", "credentials", "revoke", old); r.exit != 0 || !strings.Contains(r.stderr, "Revoke it now? [y/N]") {
		t.Errorf("exit %d: %s", r.exit, r.stderr)
	}
	if r := u.must("credentials", "status"); !strings.Contains(r.stdout, "version 1: revoked") {
		t.Errorf("%s", r.stdout)
	}
}
