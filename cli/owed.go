package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"syscall"
	"time"

	"github.com/keyturn/keyturn/cli/internal/journal"
	"github.com/keyturn/keyturn/internal/backoff"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// answerKept is how long the authority gives an answer again.
const answerKept = 24 * time.Hour

// owed is a request whose answer must not be lost. It is written down before it is sent, and forgotten when its answer has
// arrived where it belongs; in between, the same command sends it again with the same key and the same token, and the
// authority gives the same answer.
type owed struct {
	what    string        // "rotate the shared credential"
	command string        // with target: what tells its journal from another
	target  string        // what it is about
	entry   journal.Entry // Method, Path, Body and UpdateConfig are set
	header  http.Header   // sent with it and not written down
	public  bool          // it takes no access token

	prepare func() error                               // checks and asks before anything is written down
	deliver func(e journal.Entry, answer []byte) error // brings the answer where it belongs; done twice, it does no harm
}

// settle sends o, or finishes what an earlier run of the same command left.
func (s *session) settle(o owed) error {
	folder, err := s.pendingFolder()
	if err != nil {
		return err
	}
	j, err := s.journal(folder, journal.Name(s.server, o.owner(s), o.command, o.target))
	if err != nil {
		return unwritten(err)
	}
	defer j.Close()
	if err := s.reload(o); err != nil {
		return err
	}
	o.entry.Server = s.server
	e, found, err := j.Entry()
	if err != nil {
		return err
	}
	if found {
		if over, err := s.finish(j, e, o); over || err != nil {
			return err
		}
	}
	return s.begin(j, o)
}

// unwritten refuses to send what could be lost.
func unwritten(err error) error {
	f := &failure{what: "write the request down before it is sent", why: err, next: "nothing was sent"}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		f.next += "; name a config in a folder that can be written, with --config or KEYTURN_CONFIG"
	}
	return f
}

// reload reads the config again: whoever had the journal before may have put a new secret into it.
func (s *session) reload(o owed) error {
	now, err := s.App.settings(true)
	if err != nil {
		return err
	}
	if now.name == "" {
		now.name = s.name
		now.context, now.known = now.file.Context(now.name)
	}
	before := o.owner(s)
	server := s.server
	if s.settings = now; s.server != server || o.owner(s) != before {
		return &failure{what: o.what, why: errors.New("the config has changed meanwhile"), next: "run it again"}
	}
	return nil
}

// owner is who asks, by a name that the answer itself does not change.
func (o owed) owner(s *session) string {
	if o.public {
		return ""
	}
	return bare(s.clientID)
}

func (s *session) journal(folder, name string) (*journal.Journal, error) {
	ctx, cancel := context.WithTimeout(s.Context, time.Duration(s.flags.Timeout))
	defer cancel()
	return journal.Open(ctx, folder, name, func() {
		s.screen.note("waiting for another keyturn that does the same")
	})
}

// begin sends a new request.
func (s *session) begin(j *journal.Journal, o owed) error {
	if err := o.prepare(); err != nil {
		return err
	}
	s.step("prepared")
	e := o.entry
	if !o.public {
		if err := s.authenticate(); err != nil {
			return err
		}
		e.Token = s.bearer
	}
	e.Context, e.Client, e.Key = s.name, o.owner(s), journal.NewKey()
	e.Started, e.Command = s.Now().UTC().Truncate(time.Second), "keyturn "+shellWords(s.args)
	s.step("authenticated")
	if err := j.Write(e); err != nil {
		return unwritten(err)
	}
	s.step("written")
	s.retried = false
	answer, err := s.attempt(e, o)
	if err != nil {
		return s.unsettled(j, e, o, err, s.retried)
	}
	return s.arrive(j, e, o, answer)
}

// finish gets the answer to a request that was written down before. It is over when that was what is asked now, and it is
// not when the request turned out never to have arrived.
func (s *session) finish(j *journal.Journal, e journal.Entry, o owed) (over bool, err error) {
	same := e.Same(o.entry)
	s.screen.note("finishing the request of %s: %s", moment(e.Started, s.Now()), e.Command)
	answer, err := s.again(e, o)
	if unauthorized(err) && !o.public {
		// The authority knows no answer to it: it never arrived, or more than 24 hours ago.
		if !same {
			s.screen.note("that request never arrived, or too long ago: it is dropped")
			return false, j.Remove()
		}
		if err := s.authenticate(); err != nil {
			return false, err
		}
		e.Token = s.bearer
		if err := j.Write(e); err != nil {
			return false, err
		}
		s.step("renewed")
		answer, err = s.again(e, o)
	}
	if err != nil {
		return false, s.unsettled(j, e, o, err, true)
	}
	if err := s.arrive(j, e, o, answer); err != nil {
		return false, err
	}
	if !same {
		return true, &failure{
			what: o.what, why: errors.New("an earlier request was finished instead, and the new one was not sent"),
			next: "run it again to send it", exit: exitFailed,
		}
	}
	return true, nil
}

func (s *session) attempt(e journal.Entry, o owed) (httpapi.Answer, error) {
	header := o.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set(httpapi.HeaderIdempotencyKey, e.Key)
	r := httpapi.Request{Method: e.Method, Path: e.Path, Bearer: e.Token, Header: header}
	if len(e.Body) > 0 {
		r.Body = e.Body
	}
	return s.send(o.what, r)
}

// again sends a request that may have been sent before. The first one may still be under way there: then the second one
// collides with it, and has the answer a moment later.
func (s *session) again(e journal.Entry, o owed) (httpapi.Answer, error) {
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		answer, err := s.attempt(e, o)
		var api *httpapi.Error
		if !errors.As(err, &api) || api.Code != httpapi.Conflict || wait > 2*time.Second {
			return answer, err
		}
		if !backoff.Wait(s.Context, wait) {
			return answer, err
		}
	}
}

// arrive brings an answer where it belongs, and only then forgets the request.
func (s *session) arrive(j *journal.Journal, e journal.Entry, o owed, answer httpapi.Answer) error {
	s.step("answered")
	if err := o.deliver(e, answer.Body); err != nil {
		return &failure{
			what: o.what, why: fmt.Errorf("it is done, but its answer did not arrive: %w", err), exit: exitStatus(err),
			next: "nothing is lost for 24 hours: run the same command again: " + e.Command,
		}
	}
	s.step("delivered")
	if err := j.Remove(); err != nil {
		return err
	}
	s.step("forgotten")
	return nil
}

// unsettled judges a request without an answer of its own. What was certainly not done is forgotten.
func (s *session) unsettled(j *journal.Journal, e journal.Entry, o owed, err error, before bool) error {
	if refused(err, before) {
		if forget := j.Remove(); forget != nil {
			return errors.Join(err, forget)
		}
		return failed(o.what, err)
	}
	var f *failure
	if errors.As(err, &f) {
		err = f.why
	}
	return &failure{
		what: o.what, why: err, exit: exitStatus(err),
		next: "it may have been done or not: run the same command again, which is safe for 24 hours: " + e.Command,
	}
}

// refused reports whether an answer proves that the request had no effect. When it was sent before, an answer that could
// be about the second one alone proves nothing.
func refused(err error, before bool) bool {
	var e *httpapi.Error
	if !errors.As(err, &e) || e.Status < 400 || e.Status > 499 || e.Code == "" {
		return false
	}
	if !before {
		return true
	}
	return e.Status != http.StatusUnauthorized && e.Status != http.StatusTooManyRequests && e.Code != httpapi.Conflict
}

func unauthorized(err error) bool {
	var e *httpapi.Error
	return errors.As(err, &e) && e.Status == http.StatusUnauthorized
}
