package verify_test

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/token"
	"github.com/keyturn/keyturn/sidecar/verify"
)

// authority answers what an authority tells everybody, about w.
type authority struct {
	*world
	issuer, keys string // as the metadata have it
	asked        atomic.Int32
	down         atomic.Bool
}

// ServeHTTP implements http.Handler.
func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.asked.Add(1)
	var body any
	switch {
	case a.down.Load():
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case r.URL.Path == "/.well-known/openid-configuration":
		body = map[string]string{"issuer": a.issuer, "jwks_uri": a.keys}
	case r.URL.Path == "/.well-known/jwks.json":
		body, _ = a.KeySet(r.Context(), now)
	default:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(body)
}

func newAuthority(t tester) *authority {
	return &authority{world: newWorld(t), issuer: issuer, keys: issuer + "/.well-known/jwks.json"}
}

func TestKeysOnly_Sources(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		source string
		issuer string // option
		told   string // by the metadata
		keys   string
		fails  bool
	}{
		"Issuer":        {source: issuer},
		"IssuerSlash":   {source: issuer + "/"},
		"Named":         {source: issuer, issuer: issuer},
		"ElsewhereIs":   {source: "http://127.0.0.1:1", issuer: issuer},
		"KeySet":        {source: issuer + "/.well-known/jwks.json", issuer: issuer},
		"KeySetOfWhom":  {source: issuer + "/.well-known/jwks.json", fails: true},
		"OthersIssuer":  {source: issuer, told: billing, fails: true},
		"OtherIsNamed":  {source: issuer, issuer: billing, fails: true},
		"KeysInTheOpen": {source: issuer, keys: "http://a.example/.well-known/jwks.json", fails: true},
		"InTheOpen":     {source: "http://a.example", fails: true},
		"Socket":        {source: "unix:/run/keyturn.sock", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			if row.told != "" {
				a.issuer = row.told
			}
			if row.keys != "" {
				a.keys = row.keys
			}
			v, err := verify.New(t.Context(), row.source, verify.Options{KeysOnly: true, Issuer: row.issuer, Transport: direct{a}, Now: a.now})
			if row.fails {
				if err == nil {
					v.Close()
					t.Fatal("no error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			_, err = v.Check(t.Context(), a.sign(authorityI, nil), verify.Want{})
			is(t, err, nil)
			_, err = v.Check(t.Context(), a.sign(authorityI, func(c *token.Claims) { c.Issuer = billing }), verify.Want{})
			is(t, err, verify.ErrInvalid)
		})
	}
}

// The keys are read again each five minutes, and at once for a key that is not among them; and they do not last for ever.
func TestKeysOnly_Reads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		clock := func() time.Time { return now.Add(time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))) }
		v, err := verify.New(t.Context(), issuer, verify.Options{KeysOnly: true, Transport: direct{a}, Now: clock})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		synctest.Wait()
		asked := a.asked.Load()
		time.Sleep(50 * time.Minute)
		if n := a.asked.Load() - asked; n < 8 || n > 13 {
			t.Errorf("read %d times in 50 minutes", n)
		}
		lasting := func(c *token.Claims) { from(c, clock().Sub(now)) }
		old := a.sign(authorityI, lasting)
		a.publish(edKey("second"))
		_, err = v.Check(t.Context(), a.sign(authorityI, lasting), verify.Want{})
		is(t, err, nil)
		_, err = v.Check(t.Context(), old, verify.Want{})
		is(t, err, nil)

		a.revoke(sharedI)
		time.Sleep(10 * time.Minute)
		_, err = v.Check(t.Context(), old, verify.Want{}) // as the documentation says
		is(t, err, nil)

		a.down.Store(true)
		write := a.sign(authorityI, func(c *token.Claims) { lasting(c); c.Scope = "peers.write" })
		time.Sleep(54 * time.Minute)
		_, err = v.Check(t.Context(), write, verify.Want{})
		is(t, err, nil)
		time.Sleep(7 * time.Minute)
		write = a.sign(authorityI, func(c *token.Claims) { lasting(c); c.Scope = "peers.write" })
		_, err = v.Check(t.Context(), write, verify.Want{})
		is(t, err, verify.ErrStale)
		_, err = v.Check(t.Context(), a.sign(authorityI, lasting), verify.Want{})
		is(t, err, nil)
		time.Sleep(23 * time.Hour)
		_, err = v.Check(t.Context(), a.sign(authorityI, lasting), verify.Want{})
		is(t, err, verify.ErrStale)
	})
}

func TestKeysOnly_RetiredKey(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	v, err := verify.NewHasty(t.Context(), issuer, verify.Options{KeysOnly: true, Transport: direct{a}, Now: a.now})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	text := a.sign(sidecarI, nil)
	remember(t, v, text, verify.Want{})
	a.remove(sidecarI)
	sync1(t, v)
	_, err = v.Check(t.Context(), text, verify.Want{})
	is(t, err, verify.ErrInvalid)
	_, err = v.Check(t.Context(), a.sign(authorityI, func(c *token.Claims) { c.Subject, c.Scope = sidecarI.String(), "ledger.read" }), verify.Want{})
	is(t, err, verify.ErrInvalid)
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, row := range map[string]struct {
		source string
		o      verify.Options
		says   string
	}{
		"Empty":        {"", verify.Options{}, "not a URL"},
		"NoScheme":     {"127.0.0.1:8081", verify.Options{}, "not a URL"},
		"Socketless":   {"unix:", verify.Options{}, "no socket"},
		"OtherHost":    {"http://a.example:8081", verify.Options{}, "https"},
		"Password":     {"http://me:sesame@127.0.0.1", verify.Options{}, "more than"},
		"OtherIssuer":  {"http://127.0.0.1:8081", verify.Options{Issuer: billing}, "issuer"},
		"NotASidecar":  {"http://127.0.0.1:8081", verify.Options{Transport: direct{http.NotFoundHandler()}}, "no feed"},
		"AnotherFeed":  {"http://localhost:8081/elsewhere", verify.Options{}, "no feed"},
		"ForOtherHost": {"https://a.example", verify.Options{}, "400"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if row.o.Transport == nil {
				row.o.Transport = direct{w.handler()}
			}
			row.o.Now = w.now
			v, err := verify.New(t.Context(), row.source, row.o)
			if err == nil {
				v.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), row.says) || strings.Contains(err.Error(), "sesame") {
				t.Errorf("%v does not say %q", err, row.says)
			}
		})
	}
}

// A sidecar over a unix socket, with a real network in between.
func TestNew_UnixSocket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: w.handler(), ReadHeaderTimeout: time.Minute}
	done := make(chan error)
	go func() { done <- server.Serve(l) }()
	v, err := verify.New(t.Context(), "unix:"+path, verify.Options{Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Check(t.Context(), w.sign(sidecarI, nil), verify.Want{})
	is(t, err, nil)
	v.Close()
	_ = server.Close()
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// A redirect leads to a place that nobody named.
func TestNew_FollowsNoRedirect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := httptest.NewServer(w.handler())
	defer good.Close()
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, good.URL+r.URL.String(), http.StatusTemporaryRedirect)
	}))
	defer bad.Close()
	v, err := verify.New(t.Context(), bad.URL, verify.Options{Now: w.now})
	if err == nil {
		v.Close()
		t.Fatal("it followed")
	}
}
