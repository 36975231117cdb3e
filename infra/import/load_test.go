package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/dynamo"
	"github.com/keyturn/keyturn/internal/dynamo/local"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/keys/vault"
	"github.com/keyturn/keyturn/internal/serve"
)

var server local.Server

func TestMain(m *testing.M) {
	code := m.Run()
	server.Stop()
	os.Exit(code)
}

const region = "us-east-1"

var start = time.Date(2081, 3, 1, 12, 0, 0, 0, time.UTC)

// home is an authority with its API.
type home struct {
	t   *testing.T
	a   *authority.Authority
	api http.Handler
	at  time.Time
}

func newHome(t *testing.T, s authority.Store, c authority.Custody) *home {
	t.Helper()
	h := &home{t: t, at: start}
	var err error
	if h.a, err = insist(func() (*authority.Authority, error) {
		return authority.Open(t.Context(), s, c, authority.Options{Private: true, Region: region})
	}); err != nil {
		t.Fatalf("open the authority: %v", err)
	}
	h.api = httpapi.NewServer(h.a, httpapi.ServerOptions{Now: func() time.Time { return h.at }})
	return h
}

// client is a client with its secret.
type client struct {
	id     string
	secret credential.Secret
}

// insist asks again where something is not available: an authority gives a read of its table seconds, and a machine may stand
// still for longer.
func insist[T any](ask func() (T, error)) (T, error) {
	for tries := 1; ; tries++ {
		answer, err := ask()
		if tries == 20 || !errors.Is(err, access.ErrUnavailable) {
			return answer, err
		}
	}
}

// sure is insist for what has no answer.
func sure(do func() error) error {
	_, err := insist(func() (struct{}, error) { return struct{}{}, do() })
	return err
}

func (h *home) authenticate(c client) error {
	_, err := h.client(c)
	return err
}

func (h *home) client(c client) (access.Client, error) {
	return insist(func() (access.Client, error) {
		return h.a.Authenticate(h.t.Context(), h.at, access.Proof{ClientID: c.id, Secret: c.secret.Reveal()})
	})
}

func (h *home) token(c client) string {
	h.t.Helper()
	who, err := h.client(c)
	if err != nil {
		h.t.Fatal(err)
	}
	issued, err := insist(func() (access.Token, error) { return h.a.Issue(h.t.Context(), h.at, who, access.TokenRequest{}) })
	if err != nil {
		h.t.Fatal(err)
	}
	return issued.AccessToken
}

func (h *home) caller(c client) access.Caller {
	h.t.Helper()
	token := h.token(c)
	caller, err := insist(func() (access.Caller, error) { return h.a.Check(h.t.Context(), h.at, token, "") })
	if err != nil {
		h.t.Fatal(err)
	}
	return caller
}

// call makes a request of the API as c and returns the body of its answer.
func (h *home) call(c client, method, path, body string) string {
	h.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+h.token(c))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.api.ServeHTTP(w, r)
	for tries := 1; tries < 20 && w.Code == http.StatusServiceUnavailable && body == ""; tries++ {
		w = httptest.NewRecorder()
		h.api.ServeHTTP(w, r)
	}
	if w.Code >= 300 {
		h.t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return w.Body.String()
}

func (h *home) export(c client) string {
	h.t.Helper()
	return h.call(c, "GET", "/v1/export?limit=1000", "")
}

// vouch makes h trust a ledger key, given as a JWK.
func (h *home) vouch(c client, key string) {
	h.t.Helper()
	body, err := json.Marshal(httpapi.VouchRequest{PublicKey: json.RawMessage(key)})
	if err != nil {
		h.t.Fatal(err)
	}
	h.call(c, "POST", "/v1/ledger-keys", string(body))
}

// history is a cluster with something of everything, and what has to be true of it wherever it is.
type history struct {
	root            client // the current version of the shared credential
	shared          id.ID
	old             client // the version before, within its window
	closed, revoked client
	spare           client
	all             []id.ID // of every credential
}

func lived(h *home) history {
	h.t.Helper()
	ctx := h.t.Context()
	done, err := h.a.Bootstrap(ctx, authority.Origin{At: h.at}, authority.BootstrapRequest{URL: "https://auth.example"}, authority.Once{})
	if err != nil {
		h.t.Fatal(err)
	}
	first := client{done.Credential.ClientID(1), done.Secret}
	all := []id.ID{done.Credential.ID}
	made := func(name string) client {
		c, err := insist(func() (authority.Created, error) {
			return h.a.Create(ctx, h.caller(first), authority.Origin{At: h.at}, authority.CreateRequest{Name: name}, authority.Once{})
		})
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, c.Credential.ID)
		return client{c.Credential.ID.String(), c.Secret}
	}
	rotated := func(window time.Duration) client {
		by := h.caller(first)
		r, err := insist(func() (authority.Rotation, error) {
			return h.a.RotateShared(ctx, by, authority.Origin{At: h.at}, authority.RotateRequest{Window: window}, authority.Once{})
		})
		if err != nil {
			h.t.Fatal(err)
		}
		return client{r.ClientID, r.Secret}
	}
	x := history{shared: done.Credential.ID, closed: first, revoked: made("revoked"), spare: made("spare")}
	for i := range 30 { // more than one batch
		made(fmt.Sprint("client ", i))
	}
	x.all = all
	if err := sure(func() error {
		return h.a.Revoke(ctx, h.caller(first), authority.Origin{At: h.at}, id.ClientID{Credential: id.ID(x.revoked.id)})
	}); err != nil {
		h.t.Fatal(err)
	}
	x.old = rotated(time.Minute)
	h.at = h.at.Add(time.Hour)
	first = x.old
	x.root = rotated(24 * time.Hour)
	return x
}

func (x history) holds(h *home) {
	h.t.Helper()
	for name, c := range map[string]client{"the current version": x.root, "the one before": x.old, "another credential": x.spare} {
		if err := h.authenticate(c); err != nil {
			h.t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]client{"a version past its window": x.closed, "a revoked credential": x.revoked} {
		if h.authenticate(c) == nil {
			h.t.Errorf("%s gets in", name)
		}
	}
	page, err := h.a.List(h.t.Context(), h.caller(x.root), h.at, "", 100, true)
	if err != nil {
		h.t.Error(err)
	}
	for _, want := range x.all {
		if !slices.ContainsFunc(page.Credentials, func(c *credential.Credential) bool { return c.ID == want }) {
			h.t.Errorf("%s is not listed", want)
		}
	}
	if err := sure(func() error { return h.a.CheckLedger(h.t.Context()) }); err != nil {
		h.t.Error(err)
	}
}

// goesOn checks that the new place writes, with a key of its own.
func (x history) goesOn(h *home) {
	h.t.Helper()
	if err := sure(func() error { return h.a.EnsureKeys(h.t.Context(), h.at) }); err != nil {
		h.t.Fatal(err)
	}
	x.holds(h)
	done, err := insist(func() (authority.Rotation, error) {
		return h.a.RotateShared(h.t.Context(), h.caller(x.root), authority.Origin{At: h.at}, authority.RotateRequest{Window: time.Hour}, authority.Once{})
	})
	if err != nil || done.Version != 4 {
		h.t.Fatalf("rotate: version %d, %v", done.Version, err)
	}
	if err := h.authenticate(client{done.ClientID, done.Secret}); err != nil {
		h.t.Error(err)
	}
}

// onFile is a cluster on one machine.
func onFile(t *testing.T) (*home, history) {
	t.Helper()
	custody, err := keys.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := newHome(t, openBolt(t, filepath.Join(t.TempDir(), "keyturn.db")), custody)
	return h, lived(h)
}

func openBolt(t *testing.T, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func openTable(t *testing.T, api dynamo.API, table string, o dynamo.Options) *dynamo.Store {
	t.Helper()
	if o.Patience == 0 { // a machine that tests many packages at once may be slow
		o.Patience, o.Attempt = time.Minute, 20*time.Second
	}
	s, err := dynamo.Open(t.Context(), api, table, region, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// vouched is an export that trusts a key of custody.
func vouched(t *testing.T, h *home, x history, s *dynamo.Store, custody *keys.Sealed) string {
	t.Helper()
	_, err := load(t.Context(), s, custody, strings.NewReader(h.export(x.root)))
	var not notVouched
	if !errors.As(err, &not) || !errors.Is(err, authority.ErrNotVouched) {
		t.Fatalf("before anybody has vouched: %v", err)
	}
	_, quoted, _ := strings.Cut(not.Error(), "keyturn export --vouch-for '")
	key, _, _ := strings.Cut(quoted, "'")
	h.vouch(x.root, key)
	return h.export(x.root)
}

func TestImport_FromFileToTableAndBack(t *testing.T) {
	t.Parallel()
	old, x := onFile(t)
	api := server.Client(t, region, nil)
	s := openTable(t, api, server.Table(t, api), dynamo.Options{})
	custody := keys.NewSealed(new(vault.Memory))
	text := vouched(t, old, x, s, custody)
	if heads, err := s.Heads(t.Context()); err != nil || len(heads) != 0 {
		t.Errorf("a refused import has written: %v, %v", heads, err)
	}
	file := filepath.Join(t.TempDir(), "export")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := loadFile(t.Context(), s, custody, file, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "imported clu_") {
		t.Errorf("it says %q", out.String())
	}
	var heads []map[string]authority.Head
	for range 2 { // the second time there is nothing to do
		if err := sure(func() error { return takeHome(t.Context(), s, custody, region, old.at) }); err != nil {
			t.Fatal(err)
		}
		now, err := s.Heads(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		heads = append(heads, now)
	}
	if diff := cmp.Diff(heads[0], heads[1]); diff != "" {
		t.Errorf("the second time it writes:\n%s", diff)
	}
	there := newHome(t, s, custody)
	there.at = old.at
	if err := sure(func() error { return there.a.CanIssue(t.Context(), old.at) }); err != nil {
		t.Errorf("the functions cannot issue tokens yet: %v", err)
	}
	x.goesOn(there)

	// And back, onto a new machine.
	dir := filepath.Join(t.TempDir(), "data")
	_, err := serve.Import(t.Context(), dir, strings.NewReader(there.export(x.root)))
	var not *serve.NotVouchedError
	if !errors.As(err, &not) {
		t.Fatalf("before anybody has vouched: %v", err)
	}
	key, err := not.Key.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	there.vouch(x.root, string(key))
	if _, err := serve.Import(t.Context(), dir, strings.NewReader(there.export(x.root))); err != nil {
		t.Fatal(err)
	}
	files, err := keys.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	back := newHome(t, openBolt(t, filepath.Join(dir, "keyturn.db")), files)
	back.at = there.at
	if err := back.a.EnsureKeys(t.Context(), back.at); err != nil {
		t.Fatal(err)
	}
	x.holds(back)
}

// Broken off at any request, the import leaves a table in which nobody finds a cluster, and is healed by running it again.
func TestImport_GoesOnWhereItWasBrokenOff(t *testing.T) {
	t.Parallel()
	old, x := onFile(t)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	f := &local.Faults{Next: transport}
	api, faulty := server.Client(t, region, nil), server.Client(t, region, f)
	empty := openTable(t, api, server.Table(t, api), dynamo.Options{})
	custody := keys.NewSealed(new(vault.Memory))
	text := vouched(t, old, x, empty, custody)
	for _, fault := range []local.Fault{local.CutOff, local.Lost} {
		for bad, more := 3, true; more; bad++ { // the first two look at the table
			f.Forget()
			f.Plan = func(n int, _ string) local.Fault {
				if n >= bad {
					return fault
				}
				return ""
			}
			table := server.Table(t, api)
			_, err := load(t.Context(), openTable(t, faulty, table, dynamo.Options{Patience: 150 * time.Millisecond}), custody, strings.NewReader(text))
			more = f.Fired() > 0
			if more && err == nil && fault == local.CutOff {
				t.Fatalf("%s at %d: %v", fault, bad, err)
			}
			s := openTable(t, api, table, dynamo.Options{})
			if _, err := insist(func() (*access.Cluster, error) { return newHome(t, s, custody).a.Cluster(t.Context()) }); more && fault == local.CutOff && !errors.Is(err, access.ErrNotBootstrapped) {
				t.Errorf("%s at %d: half a cluster: %v", fault, bad, err)
			}
			if _, err := load(t.Context(), s, custody, strings.NewReader(text)); err != nil {
				t.Fatalf("%s at %d: again: %v", fault, bad, err)
			}
			there := newHome(t, s, custody)
			there.at = old.at
			if err := sure(func() error { return there.a.EnsureKeys(t.Context(), there.at) }); err != nil {
				t.Fatal(err)
			}
			x.holds(there)
		}
	}
}

func TestImport_RefusesATableThatIsNotEmpty(t *testing.T) {
	t.Parallel()
	old, x := onFile(t)
	api := server.Client(t, region, nil)
	s := openTable(t, api, server.Table(t, api), dynamo.Options{})
	custody := keys.NewSealed(new(vault.Memory))
	text := vouched(t, old, x, s, custody)
	if _, err := load(t.Context(), s, custody, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	there := newHome(t, s, custody)
	there.at = old.at
	x.goesOn(there) // it has records of its own now
	before, err := s.Heads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := load(t.Context(), s, custody, strings.NewReader(text)); !errors.Is(err, authority.ErrNotEmpty) {
		t.Errorf("an import over a cluster that goes on: %v, want ErrNotEmpty", err)
	}
	after, err := s.Heads(t.Context())
	if err != nil || after[region].Seq != before[region].Seq {
		t.Errorf("it was written to: %v, %v", after, err)
	}
}

func TestImport_RefusesWhatIsNotWhole(t *testing.T) {
	t.Parallel()
	old, x := onFile(t)
	api := server.Client(t, region, nil)
	s := openTable(t, api, server.Table(t, api), dynamo.Options{})
	custody := keys.NewSealed(new(vault.Memory))
	text := vouched(t, old, x, s, custody)
	lines := strings.SplitAfter(text, "\n")
	for name, bad := range map[string]string{
		"cut off":        strings.Join(lines[:len(lines)-2], ""),
		"without a line": strings.Join(append(append([]string{}, lines[:7]...), lines[8:]...), ""),
		"nothing":        "",
	} {
		if _, err := load(t.Context(), s, custody, strings.NewReader(bad)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if heads, err := s.Heads(t.Context()); err != nil || len(heads) != 0 {
		t.Errorf("a refused import has written: %v, %v", heads, err)
	}
	err := loadFile(t.Context(), openTable(t, api, "nowhere", dynamo.Options{}), custody, os.DevNull, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "there is no table nowhere") {
		t.Errorf("a missing table: %v", err)
	}
}
