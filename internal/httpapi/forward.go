package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
)

// HeaderForwarded names the region that passes a request on. Such a request is not passed on again: while the home moves,
// each of two regions may take the other one for it.
const HeaderForwarded = "Keyturn-Forwarded-By"

// ForwardTimeout bounds one request to the home region, where ForwardOptions say nothing else.
const ForwardTimeout = 8 * time.Second

// ForwardOptions are the optional parts of a Forward.
type ForwardOptions struct {
	Timeout   time.Duration     // of one request; 0: ForwardTimeout
	Transport http.RoundTripper // nil: one of its own
}

// Forward passes requests on to the authority of another region. It may be used from many goroutines.
type Forward struct {
	base *url.URL
	o    ForwardOptions
}

// NewForward returns a Forward to the authority at base, such as https://keyturn.us-east-1.example.com, with or without a
// path. The error says what is wrong with the address.
func NewForward(base string, o ForwardOptions) (*Forward, error) {
	u, err := parseServer(base)
	if err != nil {
		return nil, err
	}
	o.Timeout = cmp.Or(o.Timeout, ForwardTimeout)
	if o.Transport == nil {
		o.Transport = http.DefaultTransport.(*http.Transport).Clone()
	}
	return &Forward{u, o}, nil
}

// passedOn and passedBack are the headers that go to the home region and come back from it: the caller's own credentials,
// and what belongs to the request. A cookie, or what a proxy has added, stays here.
func passedOn() []string {
	return []string{
		"Authorization", "Content-Type", "Content-Encoding", "Accept", "User-Agent", HeaderIdempotencyKey, HeaderBootstrapToken, HeaderSidecar,
	}
}

func passedBack() []string {
	return []string{"Content-Type", "Cache-Control", "Pragma", "Location", "Retry-After", "Www-Authenticate", "Allow", HeaderReplayed}
}

// ask sends a request on and returns the answer. ErrUnreachable says that no authority has answered: what the request would
// have done may be done.
func (f *Forward) ask(ctx context.Context, c *call, from string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, f.o.Timeout)
	defer cancel()
	u := *f.base
	u.RawPath = f.base.EscapedPath() + c.URL.EscapedPath()
	u.Path += c.URL.Path
	u.RawQuery = c.URL.RawQuery
	r, err := http.NewRequestWithContext(ctx, c.Method, u.String(), io.NopCloser(bytes.NewReader(c.sent)))
	if err != nil {
		return answer{}, unreachable(err)
	}
	r.ContentLength = int64(len(c.sent))
	if len(c.sent) == 0 {
		r.Body = http.NoBody
	}
	for _, name := range passedOn() {
		if values := c.Header.Values(name); len(values) > 0 {
			r.Header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
		}
	}
	r.Header.Set(HeaderClientRequest, c.seen.RequestID)
	r.Header.Set("X-Forwarded-For", c.seen.Source)
	if from != "" {
		r.Header.Set(HeaderForwarded, from)
	}
	resp, err := f.o.Transport.RoundTrip(r)
	if err != nil {
		return answer{}, unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return answer{}, unreachable(fmt.Errorf("the answer broke off: %w", err))
	case len(body) > maxAnswer:
		return answer{}, unreachable(fmt.Errorf("the answer is larger than %d MiB", maxAnswer>>20))
	case resp.Header.Get(HeaderRequestID) == "":
		return answer{}, unreachable(fmt.Errorf("status %d, and not from an authority", resp.StatusCode))
	}
	return passed(resp, body), nil
}

// passed is the home region's answer as this region gives it.
func passed(resp *http.Response, body []byte) answer {
	a := answer{status: resp.StatusCode, raw: body, header: map[string]string{}}
	if len(body) == 0 {
		a.raw = nil
	}
	for _, name := range passedBack() {
		if value := resp.Header.Get(name); value != "" {
			a.header[name] = value
		}
	}
	a.media = a.header["Content-Type"]
	return a
}

// errElsewhere marks what only another region can answer.
var errElsewhere = errors.New("the home region has to be asked")

// homeRoute is never passed on: the region that is asked is the one that is to become home.
const homeRoute = "/v1/cluster/home"

// answerHere runs a handler, and passes the request on where another region is home and knows more: what only home may do,
// and what is not known here, which is no refusal.
func (c *call) answerHere(h handler) (answer, error) {
	s := c.server
	a, err := h(c)
	err = s.unknownHere(c, err)
	if s.o.Forward == nil && s.upstream == nil {
		return a, err
	}
	elsewhere := errors.Is(err, errElsewhere)
	notHere := elsewhere || errors.Is(err, authority.ErrNotHome) || s.upstream != nil && errors.Is(err, access.ErrBeyond)
	if !notHere || c.seen.Route == homeRoute && s.authority != nil {
		return a, err
	}
	passed, unreached := s.forward(c)
	if unreached != nil && s.upstream != nil && c.seen.Route == tokenRoute {
		return c.alone(h)
	}
	switch {
	case unreached != nil && elsewhere:
		return answer{}, fmt.Errorf("%w: %v", err, unreached) // what is not known is asked for again, whoever is out of reach
	case unreached != nil:
		return answer{}, fmt.Errorf("%w: %w", err, unreached)
	}
	c.seen.Code, c.seen.Forwarded = codeIn(passed), true
	return passed, nil
}

// aloneKey marks the context of a request that the authority has been asked about in vain.
type aloneKey struct{}

// Alone reports whether the authority has been asked in vain, so that a sidecar does by itself what it can.
func Alone(ctx context.Context) bool { return ctx.Value(aloneKey{}) != nil }

// alone runs a handler again after the authority did not answer.
func (c *call) alone(h handler) (answer, error) {
	c.Request = c.WithContext(context.WithValue(c.Context(), aloneKey{}, true))
	a, err := h(c)
	if errors.Is(err, access.ErrBeyond) {
		err = fmt.Errorf("%w: %w", err, ErrUnreachable)
	}
	return a, err
}

// unknownHere marks an error that only says that something has not arrived in this region, where that is not the home.
func (s *server) unknownHere(c *call, err error) error {
	unheard := errors.Is(err, authority.ErrNotKnown) || errors.Is(err, access.ErrUnknown)
	if !unheard || s.authority == nil || s.authority.AtHome(c.Context()) == nil {
		return err
	}
	return &notHere{err}
}

// notHere is an error of this region that another one may see otherwise. Its cause is for the log only: to the table of
// errors it is not what it would be at home.
type notHere struct{ cause error }

func (e *notHere) Error() string { return errElsewhere.Error() + ": " + e.cause.Error() }

func (*notHere) Is(target error) bool { return target == errElsewhere }

// forward asks the home region; a sidecar asks its authority.
func (s *server) forward(c *call) (answer, error) {
	if s.upstream != nil {
		return s.askUpstream(c)
	}
	home, _, err := s.authority.Home(c.Context())
	if errors.Is(err, access.ErrNotBootstrapped) && len(s.o.Forward) == 1 { // whoever else there is founds the cluster
		home, err = slices.Collect(maps.Keys(s.o.Forward))[0], nil
	}
	f := s.o.Forward[home]
	switch {
	case err != nil:
		return answer{}, err
	case f == nil:
		return answer{}, unreachable(fmt.Errorf("no address of %s is known here", home))
	case c.Header.Get(HeaderForwarded) != "":
		return answer{}, unreachable(fmt.Errorf("%.64q takes this region for the home", c.Header.Get(HeaderForwarded)))
	}
	return f.ask(c.Context(), c, s.authority.Region())
}

// askUpstream is forward on a sidecar.
func (s *server) askUpstream(c *call) (answer, error) {
	c.Header.Del(HeaderSidecar)
	if c.seen.Proven {
		c.Header.Set(HeaderSidecar, s.node.Self().String())
	}
	a, err := s.upstream.ask(c.Context(), c, "")
	if s.passed != nil && c.Method != http.MethodGet && c.Method != http.MethodHead {
		s.passed()
	}
	return a, err
}

// codeIn reads the code of an error answer, for the log.
func codeIn(a answer) string {
	var body errorBody
	if a.status >= 400 {
		_ = json.Unmarshal(a.raw, &body)
	}
	return string(body.Code)
}

// atHome is for what only home may do: where another region is home, nothing of the request is looked at here.
func (s *server) atHome(h handler) handler {
	return func(c *call) (answer, error) {
		if err := s.authority.AtHome(c.Context()); err != nil {
			return answer{}, err
		}
		return h(c)
	}
}
