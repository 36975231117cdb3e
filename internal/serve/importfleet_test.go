package serve_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/devcluster"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/serve"
	"github.com/keyturn/keyturn/internal/testport"
)

// fleetWorld is a cluster with one sidecar that hears everything, and one whose way to the authority can be cut.
type fleetWorld struct {
	*devcluster.Cluster
	t      *testing.T
	admin  string
	second *agent.Agent
	cut    atomic.Bool
}

// RoundTrip is the second sidecar's way to the authority.
func (w *fleetWorld) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.cut.Load() {
		return nil, errors.New("the way is cut")
	}
	return http.DefaultTransport.RoundTrip(r)
}

func newFleet(t *testing.T) *fleetWorld {
	t.Helper()
	w := &fleetWorld{t: t}
	var err error
	if w.Cluster, err = devcluster.Start(t.Context(), devcluster.Options{Dir: t.TempDir(), Peers: 1, Listen: testport.Hold(t)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	w.admin = w.token(w.ClientID(), w.Secret().Reveal())
	var key struct {
		JoinKey string `json:"join_key"`
	}
	w.call("POST", "/v1/join-keys", map[string]any{"max_scopes": []string{"admin"}}, &key)
	socket, err := os.MkdirTemp("", "kt") // a socket's name has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(socket) })
	w.second = running(t, agent.Config{
		Authority: w.URL(), DataDir: filepath.Join(t.TempDir(), "second"), Listen: "unix:" + filepath.Join(socket, "s"),
		Name: "second", JoinKey: key.JoinKey, SignAtOnce: true, Transport: w,
	})
	w.follow()
	return w
}

// running is a sidecar that runs until the test ends.
func running(t *testing.T, c agent.Config) *agent.Agent {
	t.Helper()
	a, err := agent.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return a
}

// client calls any server; unix:PATH too.
func client(t *testing.T, where string) *httpapi.Client {
	t.Helper()
	server, transport := agent.Dial(where)
	t.Cleanup(transport.(*http.Transport).CloseIdleConnections)
	c, err := httpapi.NewClient(server, httpapi.ClientOptions{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *fleetWorld) try(where, id, secret string) (httpapi.Token, error) {
	got, _, err := client(w.t, where).Token(w.t.Context(), httpapi.TokenParams{ClientID: id, ClientSecret: secret})
	return got, err
}

func (w *fleetWorld) token(id, secret string) string {
	w.t.Helper()
	got, err := w.try(w.URL(), id, secret)
	if err != nil {
		w.t.Fatal(err)
	}
	return got.AccessToken
}

func (w *fleetWorld) call(method, path string, body, into any) {
	w.t.Helper()
	a, err := client(w.t, w.URL()).Call(w.t.Context(), httpapi.Request{Method: method, Path: path, Bearer: w.admin, Body: body})
	if err == nil && into != nil {
		err = a.Decode(into)
	}
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
}

func (w *fleetWorld) create() (made httpapi.Created) {
	w.t.Helper()
	w.call("POST", "/v1/credentials", httpapi.CreateRequest{Scopes: []string{"billing.read"}}, &made)
	return made
}

// sidecars are the addresses of those that hear from the authority.
func (w *fleetWorld) sidecars() []string {
	if w.cut.Load() {
		return w.Sidecars()
	}
	return append(w.Sidecars(), w.second.URL())
}

// follow makes something, and waits until each sidecar that hears has followed.
func (w *fleetWorld) follow() {
	w.t.Helper()
	made := w.create()
	for _, where := range w.sidecars() {
		eventually(w.t, where+" follows", func() bool {
			_, err := w.try(where, made.ClientID, made.ClientSecret)
			return err == nil
		})
	}
}

func (w *fleetWorld) copies(where ...string) (list []serve.Copy) {
	w.t.Helper()
	for _, u := range where {
		list = append(list, serve.Copy{Name: u, Client: client(w.t, u)})
	}
	return list
}

// lose stops the authority and takes its files away.
func (w *fleetWorld) lose(names ...string) {
	w.t.Helper()
	if err := w.Down(); err != nil {
		w.t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Remove(filepath.Join(w.DataDir(), name)); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *fleetWorld) rebuild(where ...string) serve.Rebuilt {
	w.t.Helper()
	done, err := serve.ImportFleet(w.t.Context(), w.DataDir(), w.copies(where...), time.Now)
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

// lived gives the cluster a past, of which the second sidecar has heard the first half, and says what has to hold after it.
func (w *fleetWorld) lived() (holds func()) {
	w.t.Helper()
	good, dead, late, doomed := w.create(), w.create(), w.create(), w.create()
	w.call("DELETE", "/v1/credentials/"+dead.ClientID, nil, nil)
	var rotated httpapi.Rotation
	w.call("POST", "/v1/credentials/"+late.ClientID+"/rotate", httpapi.RotateRequest{WindowSeconds: new(int64)}, &rotated)
	w.follow()
	w.cut.Store(true)
	unheard := w.create()
	w.call("DELETE", "/v1/credentials/"+doomed.ClientID, nil, nil)
	w.follow()
	return func() {
		w.t.Helper()
		for _, where := range append(w.sidecars(), w.URL()) {
			for name, c := range map[string][2]string{
				"a secret": {good.ClientID, good.ClientSecret}, "one that only one copy had": {unheard.ClientID, unheard.ClientSecret},
				"a rotated one": {rotated.ClientID, rotated.ClientSecret}, "the shared one": {w.ClientID(), w.Secret().Reveal()},
			} {
				eventually(w.t, name+" works at "+where, func() bool { _, err := w.try(where, c[0], c[1]); return err == nil })
			}
			for name, c := range map[string]httpapi.Created{"revoked": dead, "past its window": late, "revoked, as only one copy knew": doomed} {
				eventually(w.t, name+" is refused at "+where, func() bool {
					_, err := w.try(where, c.ClientID, c.ClientSecret)
					var refused *httpapi.Error
					return errors.As(err, &refused) && refused.Status == 401
				})
			}
		}
	}
}

func TestImportFleet_BringsALostAuthorityBack(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string][]string{
		"TheStore": {"keyturn.db"}, "TheStoreAndTheTokenKeys": {"keyturn.db", "token.key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now().Truncate(time.Second)
			w := newFleet(t)
			holds := w.lived()
			var before struct{ Peers []httpapi.Peer }
			w.call("GET", "/v1/peers", nil, &before)
			w.lose(lost...)
			done := w.rebuild(w.second.URL(), w.Sidecars()[0]) // the one that is behind first
			if done.Complete.Before(began) || done.Records < 20 {
				t.Errorf("%+v", done)
			}
			if err := w.Up(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.cut.Store(false)
			w.admin = w.token(w.ClientID(), w.Secret().Reveal())
			holds()
			w.follow()
			for _, a := range []*agent.Agent{w.Sidecar(1), w.second} {
				eventually(t, "a sidecar hears of its authority again, and refuses nothing of it", func() bool {
					s := a.Status(time.Now().UTC().Truncate(time.Second))
					return s.Problem == "" && s.Refused == 0
				})
			}
			var after struct{ Peers []httpapi.Peer }
			w.call("GET", "/v1/peers", nil, &after)
			if len(after.Peers) != len(before.Peers) || len(after.Peers) != 3 {
				t.Errorf("%d peers became %d", len(before.Peers), len(after.Peers))
			}
			var rotated httpapi.Rotation
			w.call("POST", "/v1/cluster/credentials/rotate", nil, &rotated)
			for _, where := range w.sidecars() {
				eventually(w.t, where+" takes the new secret", func() bool {
					_, err := w.try(where, rotated.ClientID, rotated.ClientSecret)
					return err == nil
				})
			}
			if left, _ := filepath.Glob(filepath.Join(w.DataDir(), "*.fleet*")); len(left) > 0 {
				t.Errorf("left over: %v", left)
			}
		})
	}
}

// Whoever has heard more than the copies that were taken sees a fork, and says so.
func TestImportFleet_ALongerCopySeesAFork(t *testing.T) {
	t.Parallel()
	w := newFleet(t)
	w.lived()
	w.lose("keyturn.db")
	w.rebuild(w.second.URL())
	if err := w.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.admin = w.token(w.ClientID(), w.Secret().Reveal())
	w.cut.Store(false)
	made := w.create()
	eventually(w.t, "the one that has heard more says so", func() bool {
		_, err := w.try(w.Sidecars()[0], made.ClientID, made.ClientSecret) // it does not know it, and asks
		return err != nil && strings.Contains(w.Sidecar(1).Status(time.Now()).Problem, "keyturn-sidecar resync")
	})
	if err := w.Sidecar(1).Resync(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.follow()
}

func TestImportFleet_OnlyWhereTheStoreIsLost(t *testing.T) {
	t.Parallel()
	w := newFleet(t)
	all := append(w.copies(w.second.URL()), w.copies(w.Sidecars()...)...)
	if _, err := serve.ImportFleet(t.Context(), w.DataDir(), all, time.Now); !errors.Is(err, bolt.ErrLocked) {
		t.Errorf("while it is served: %v", err)
	}
	w.lose()
	if _, err := serve.ImportFleet(t.Context(), w.DataDir(), all, time.Now); !errors.Is(err, authority.ErrNotEmpty) {
		t.Errorf("over a cluster: %v", err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if _, err := serve.ImportFleet(t.Context(), empty, all, time.Now); !errors.Is(err, serve.ErrNoLedgerKey) {
		t.Errorf("without the ledger key: %v", err)
	}
	if _, err := os.Stat(empty); err == nil {
		t.Error("it made a directory with a key of its own")
	}
}

// A cluster that came from elsewhere was founded by another key, which its directory remembers.
func TestImportFleet_OfAClusterThatHasMoved(t *testing.T) {
	t.Parallel()
	o := newOld(t)
	c := config(t)
	load(t, o, c.DataDir)
	if err := o.stop(); err != nil {
		t.Fatal(err)
	}
	c.Listen = address(t, o.host)
	h := run(t, c)
	admin := token(t, h, o.rotated.ClientID, o.rotated.ClientSecret).AccessToken
	made := do[struct {
		JoinKey string `json:"join_key"`
	}](t, h, httpapi.Request{Method: "POST", Path: "/v1/join-keys", Bearer: admin, Body: map[string]any{"max_scopes": []string{"admin"}}})
	sidecar := running(t, agent.Config{
		Authority: h.URL(), DataDir: filepath.Join(t.TempDir(), "sidecar"), Listen: "127.0.0.1:0", Name: "host", JoinKey: made.JoinKey, SignAtOnce: true,
	})
	copies := []serve.Copy{{Name: "host", Client: client(t, sidecar.URL())}}
	for deadline := time.Now().Add(time.Minute); sidecar.Status(time.Now()).Cursors["local"] == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the sidecar has nothing")
		}
		time.Sleep(10 * time.Millisecond) // poll
	}
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(c.DataDir, "keyturn.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := serve.ImportFleet(t.Context(), c.DataDir, copies, time.Now); err != nil {
		t.Fatal(err)
	}
	h = run(t, c)
	token(t, h, o.rotated.ClientID, o.rotated.ClientSecret)

	// The old directory knows the cluster as well, and its key is trusted still.
	if err := os.Remove(filepath.Join(o.config.DataDir, "keyturn.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := serve.ImportFleet(t.Context(), o.config.DataDir, copies, time.Now); err != nil {
		t.Error(err)
	}
}
