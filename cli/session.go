package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/cli/internal/journal"
	"github.com/keyturn/keyturn/internal/duration"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// session is one command's dealings with one server.
type session struct {
	*App
	settings
	client  *httpapi.Client
	retried bool   // a request of this command was sent more than once
	bearer  string // the access token, once there is one
}

// open makes a session with the configured server. A named context may be missing where the command will make it.
func (a *App) open(missing bool) (*session, error) {
	set, err := a.settings(missing)
	if err != nil {
		return nil, err
	}
	if set.server == "" {
		return nil, usage("no server is configured; give --server URL, set KEYTURN_SERVER, or run: keyturn config set NAME --server URL")
	}
	s := &session{App: a, settings: set}
	s.client, err = httpapi.NewClient(set.server, httpapi.ClientOptions{
		Timeout:   time.Duration(a.flags.Timeout),
		UserAgent: "keyturn/" + a.Version,
		Sent:      s.sent,
		Retrying:  s.retrying,
	})
	if err != nil {
		return nil, usage(err.Error())
	}
	if a.flags.Verbose && s.client.Plain() {
		a.screen.warn("%s is not encrypted: whoever is on the way can read the secret; use https", set.server)
	}
	return s, nil
}

func (s *session) sent(method, url string, status int, requestID string, took time.Duration) {
	if !s.flags.Verbose {
		return
	}
	answer := "no answer"
	if status != 0 {
		answer = fmt.Sprintf("%d, request %s", status, or(requestID))
	}
	s.screen.note("%s %s: %s, %s", method, url, answer, took.Round(time.Millisecond))
}

func (s *session) retrying(cause error, wait time.Duration) {
	s.retried = true
	s.screen.relabel("%s; trying again", cause)
	if s.flags.Verbose {
		s.screen.note("%s; trying again in %s", cause, wait.Round(time.Millisecond))
	}
}

// call calls the API with an access token.
func (s *session) call(what string, r httpapi.Request) (httpapi.Answer, error) {
	if err := s.authenticate(); err != nil {
		return httpapi.Answer{}, err
	}
	r.Bearer = s.bearer
	return s.send(what, r)
}

// show calls the API and prints what text makes of the answer; with --json the answer as it is.
func show[T any](a *App, what string, r httpapi.Request, text func(answer T) string) error {
	s, err := a.open(false)
	if err != nil {
		return err
	}
	answer, err := s.call(what, r)
	if err != nil || a.flags.JSON {
		return orWire(a, answer.Body, err)
	}
	var v T
	if err := answer.Decode(&v); err != nil {
		return failed(what, err)
	}
	return a.data(text(v))
}

// send calls the API with r as it is.
func (s *session) send(what string, r httpapi.Request) (answer httpapi.Answer, err error) {
	err = s.screen.during(what+" at "+s.server, func() error {
		answer, err = s.client.Call(s.Context, r)
		return err
	})
	return answer, failed(what, s.interrupted(err))
}

// authenticate gets the session's access token, once.
func (s *session) authenticate() error {
	if s.bearer != "" {
		return nil
	}
	t, _, err := s.token("", "")
	s.bearer = t.AccessToken
	return err
}

// token gets an access token with the configured secret, and warns where that one is superseded.
func (s *session) token(scope, audience string) (httpapi.Token, []byte, error) {
	if s.clientID == "" {
		return httpapi.Token{}, nil, usage("no client id is configured; set KEYTURN_CLIENT_ID, or run: keyturn config set NAME --client-id ID --secret-stdin")
	}
	secret, err := s.reveal(s.Context, s.App)
	if err != nil {
		return httpapi.Token{}, nil, err
	}
	t, raw, err := s.tokenFor(httpapi.TokenParams{ClientID: s.clientID, ClientSecret: secret, Scope: scope, Audience: audience})
	if err != nil {
		return t, raw, s.unauthenticated(err)
	}
	s.warnSuperseded(t)
	return t, raw, nil
}

func (s *session) tokenFor(p httpapi.TokenParams) (t httpapi.Token, raw []byte, err error) {
	err = s.screen.during("get a token from "+s.server, func() error {
		t, raw, err = s.client.Token(s.Context, p)
		return err
	})
	return t, raw, s.interrupted(err)
}

// interrupted names the cause of an error that came because the program was to stop.
func (a *App) interrupted(err error) error {
	if err != nil && a.Context.Err() != nil {
		return errInterrupted
	}
	return err
}

// unauthenticated explains a token that was not given. A rotation that was cut off may be why the secret is dead, and
// then there is a way back.
func (s *session) unauthenticated(err error) error {
	f := &failure{what: "authenticate as " + s.clientID, why: err, next: advice(err)}
	var e *httpapi.Error
	if !errors.As(err, &e) || e.OAuth != "invalid_client" {
		return f
	}
	folder, noFolder := s.pendingFolder()
	if noFolder != nil {
		return f
	}
	for _, p := range journal.All(folder) {
		if p.Server == s.server && p.Method == "POST" && s.Now().Sub(p.Started) < answerKept {
			f.next = fmt.Sprintf("a request of %s was cut off, and its answer may hold the new secret; run it again: %s", moment(p.Started, s.Now()), p.Command)
		}
	}
	return f
}

// warnSuperseded says how long the secret in use is still accepted, and how to get over it.
func (s *session) warnSuperseded(t httpapi.Token) {
	if t.SecretExpiresAt == nil || t.SecretExpiresAt.IsZero() {
		return
	}
	left := duration.Human(t.SecretExpiresAt.Sub(s.Now()))
	s.screen.warn("the secret in use is superseded: it is accepted for another %s, until %s, and version %d is current; %s",
		left, t.SecretExpiresAt.UTC().Format(time.RFC3339), t.SecretVersionCurrent, s.mend(t.SecretVersionCurrent))
}

// mend is how the secret in use is replaced by a newer one.
func (s *session) mend(version int) string {
	switch {
	case s.fromEnv:
		return "set KEYTURN_CLIENT_SECRET to the new one"
	case s.context.ClientSecretCommand != "":
		return fmt.Sprintf("make the client_secret_command of context %q print the new one", s.name)
	}
	return fmt.Sprintf("take the new one over with: keyturn config set %s --client-id %s --secret-stdin", shellWord(s.name), versioned(s.clientID, version))
}
