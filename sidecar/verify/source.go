package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// patienceOfOne is how long one request may take, besides what it waits for news.
const patienceOfOne = 10 * time.Second

// newSource finds out what the text names.
func newSource(text string, o Options) (source, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok && !o.KeysOnly {
		if path == "" {
			return nil, errors.New("the source names no socket: want unix:/path")
		}
		return &feed{"http://localhost", newGetter(o, func(t *http.Transport) {
			t.Proxy = nil
			t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", path)
			}
		})}, nil
	}
	base, err := address(text)
	if err != nil {
		return nil, err
	}
	if !o.KeysOnly {
		return &feed{base, newGetter(o, func(t *http.Transport) { t.Proxy = nil })}, nil
	}
	if !strings.HasSuffix(base, ".json") {
		return &keySet{base: base, issuer: o.Issuer, getter: newGetter(o, nil)}, nil
	}
	if o.Issuer == "" {
		return nil, errors.New("a key set does not say whose it is: Options.Issuer is missing")
	}
	return &keySet{url: base, issuer: o.Issuer, getter: newGetter(o, nil)}, nil
}

// address checks a URL and returns it without a slash at its end. Whoever can change an answer can sign tokens: so https, or
// a server on this host.
func address(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return "", errors.New("the source is not a URL such as http://127.0.0.1:8081, nor unix:/path") // the text may hold a password
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("the URL of the source has more than scheme, host and path")
	case u.Scheme == "http" && !httpapi.NamesThisHost(u.Host):
		return "", fmt.Errorf("%s is not on this host: the URL of the source has to begin with https", u.Host)
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}

// getter reads answers of one server.
type getter struct {
	client *http.Client
	own    *http.Transport // nil: somebody else's
}

// newGetter follows no redirects: they would lead to a place that nobody named.
func newGetter(o Options, change func(*http.Transport)) getter {
	g := getter{client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if o.Transport != nil {
		g.client.Transport = o.Transport
		return g
	}
	g.own = &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConns: 2, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
		// A connection that is dead, though nobody was told, does not end with a request in vain over HTTP/2: it is pinged.
		HTTP2: &http.HTTP2Config{SendPingTimeout: patienceOfOne / 2, PingTimeout: patienceOfOne / 2},
	}
	if change != nil {
		change(g.own)
	}
	g.client.Transport = g.own
	return g
}

// refusal is an answer other than 200.
type refusal struct{ status int }

// Error names the status.
func (r refusal) Error() string {
	return fmt.Sprintf("the source answers %d %s", r.status, http.StatusText(r.status))
}

// wrong reports whether asking again would get the same answer.
func (r refusal) wrong() bool { return r.status < 500 && r.status != http.StatusTooManyRequests }

// Is makes r an errWrong where it is wrong.
func (r refusal) Is(target error) bool { return target == errWrong && r.wrong() }

// get returns the body of a 200 that has at most limit bytes, or a refusal.
func (g getter) get(ctx context.Context, url string, wait time.Duration, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+patienceOfOne)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "keyturn-verify")
	answer, err := g.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, refusal{answer.StatusCode}
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = fmt.Errorf("the source answers with more than %d bytes", limit)
	}
	return body, err
}

func (g getter) close() {
	if g.own != nil {
		g.own.CloseIdleConnections()
	}
}
