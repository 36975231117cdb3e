package agent_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/testkey"
)

// shortDir is a directory whose path leaves room for a socket's name: the system allows about a hundred bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// another is the config of one more sidecar, which has not joined yet.
func (w *world) another(listen string) agent.Config {
	w.t.Helper()
	var made struct {
		JoinKey string `json:"join_key"`
	}
	w.call(w.URL(), http.MethodPost, "/v1/join-keys", map[string]any{"max_scopes": []string{"admin"}}, &made)
	return agent.Config{
		Authority: w.URL(), DataDir: filepath.Join(w.t.TempDir(), "data"), Listen: listen, Name: "another", JoinKey: made.JoinKey,
		SignAtOnce: true, Version: "test", Now: w.now,
	}
}

// runs opens a sidecar and runs it until the test ends, or stop is called. It returns once there is a copy of the ledgers.
func (w *world) runs(c agent.Config) (a *agent.Agent, stop func()) {
	w.t.Helper()
	a, stop = w.opens(c)
	w.eventually("the sidecar is ready", func() bool { return len(a.Ready(w.t.Context(), w.now().UTC().Truncate(time.Second))) == 0 })
	return a, stop
}

// begins is runs for a sidecar that may never get ready.
func (w *world) begins(c agent.Config) *agent.Agent {
	w.t.Helper()
	a, _ := w.opens(c)
	return a
}

func (w *world) opens(c agent.Config) (a *agent.Agent, stop func()) {
	w.t.Helper()
	a, err := agent.Open(w.t.Context(), c)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := a.Listen(w.t.Context()); err != nil {
		w.t.Fatal(errors.Join(err, a.Close()))
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := a.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	stop = func() { cancel(); <-ended }
	w.t.Cleanup(stop)
	return a, stop
}

// over calls through a unix socket, whatever the URL says.
func (w *world) over(path string) {
	w.http = &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
	w.t.Cleanup(w.http.CloseIdleConnections)
}

func TestSocket_BelongsToWhomTheOperatorSays(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	made := w.create("billing.read")
	groups, err := os.Getgroups()
	if err != nil || len(groups) == 0 {
		groups = []int{os.Getegid()}
	}
	own := groups[len(groups)-1]
	if os.Geteuid() == 0 {
		own = 12345 // whoever may, gives it to a group of which nobody is
	}
	for name, row := range map[string]struct {
		mode  fs.FileMode
		group string
		want  fs.FileMode
		gid   int
	}{
		"ByDefaultOnlyItsUser": {0, "", 0o600, -1},
		"ModeAndGroup":         {0o660, strconv.Itoa(own), 0o660, own},
		"Everybody":            {0o666, "", 0o666, -1},
	} {
		path := filepath.Join(shortDir(t), "s")
		c := w.another("unix:" + path)
		c.SocketMode, c.SocketGroup = row.mode, row.group
		a, stop := w.runs(c)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Type() != fs.ModeSocket || info.Mode().Perm() != row.want {
			t.Errorf("%s: %v, want %v", name, info.Mode(), row.want)
		}
		if gid := int(info.Sys().(*syscall.Stat_t).Gid); row.gid >= 0 && gid != row.gid {
			t.Errorf("%s: group %d, want %d", name, gid, row.gid)
		}
		if a.URL() != "unix:"+path {
			t.Errorf("%s: it says that it is at %s", name, a.URL())
		}
		v := &world{Cluster: w.Cluster, t: t}
		v.over(path)
		if got := v.send(http.MethodGet, "http://any.name.example/authz", basic(made.ClientID, made.ClientSecret), ""); got.status != 200 {
			t.Errorf("%s: a name that no web page can bring here: %d %s", name, got.status, got.body)
		}
		r, err := agent.Find(c.DataDir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Status(t.Context()); err != nil {
			t.Errorf("%s: status over the socket: %v", name, err)
		}
		stop()
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: the socket is left behind", name)
		}
	}
}

func TestSocket_SettingsThatCannotBe(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	base := agent.Config{Authority: "http://127.0.0.1:1", DataDir: filepath.Join(dir, "data"), JoinKey: "x"}
	for name, row := range map[string]struct {
		change func(*agent.Config)
		says   string
	}{
		"OffLoopbackInTheOpen": {func(c *agent.Config) { c.Listen = "0.0.0.0:0" }, "--tls-cert"},
		"EveryAddress":         {func(c *agent.Config) { c.Listen = ":0" }, "--tls-cert"},
		"HalfACertificate":     {func(c *agent.Config) { c.Listen = "0.0.0.0:0"; c.TLSCert = "x" }, "--tls-key"},
		"TLSAndInsecure":       {func(c *agent.Config) { c.Listen = "0.0.0.0:0"; c.TLSCert, c.TLSKey, c.InsecureHTTP = "x", "x", true }, "--insecure-http"},
		"ModeWithoutASocket":   {func(c *agent.Config) { c.Listen = "127.0.0.1:0"; c.SocketMode = 0o660 }, "unix socket"},
		"GroupWithoutASocket":  {func(c *agent.Config) { c.Listen = "127.0.0.1:0"; c.SocketGroup = "www-data" }, "unix socket"},
		"SocketWithoutAPath":   {func(c *agent.Config) { c.Listen = "unix:" }, "path"},
		"NoAuthority":          {func(c *agent.Config) { c.Listen = "127.0.0.1:0"; c.Authority = "" }, "--authority"},
		"NoDataDirectory":      {func(c *agent.Config) { c.Listen = "127.0.0.1:0"; c.DataDir = "" }, "--data-dir"},
		"NegativeBound":        {func(c *agent.Config) { c.Listen = "127.0.0.1:0"; c.OfflineRead = -1 }, "--offline-read"},
	} {
		c := base
		row.change(&c)
		a, err := agent.Open(t.Context(), c)
		if err == nil {
			_ = a.Close()
			t.Errorf("%s: opened", name)
			continue
		}
		if !errors.Is(err, agent.ErrSettings) || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSocket_OffLoopbackItSpeaksTLS(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	made := w.create("billing.read")
	c := w.another("0.0.0.0:0")
	var roots *x509.CertPool
	c.TLSCert, c.TLSKey, roots = testkey.Certificate(t, t.TempDir(), "127.0.0.1")
	a, _ := w.runs(c)
	if !strings.HasPrefix(a.URL(), "https://127.0.0.1:") {
		t.Fatalf("it says that it is at %s", a.URL())
	}
	w.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(w.http.CloseIdleConnections)
	header := basic(made.ClientID, made.ClientSecret)
	header["Host"] = []string{"sidecar.example"} // other hosts call it by its name
	if got := w.send(http.MethodGet, a.URL()+"/authz", header, ""); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := w.send(http.MethodGet, "http"+strings.TrimPrefix(a.URL(), "https")+"/authz", header, ""); got.status != 400 {
		t.Errorf("in the open: %d %s", got.status, got.body)
	}
}

func TestSocket_AnswersByTheNamesThatItWasTold(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	made := w.create("billing.read")
	for told, rows := range map[string]map[string]int{
		"":                {"": 200, "localhost": 200, "localhost:99": 200, "[::1]:99": 200, "127.0.0.9": 200, "api.example": 400, "localhost.evil.example": 400, "192.0.2.1": 400},
		"api.example":     {"": 200, "localhost": 200, "api.example": 200, "API.example:8443": 200, "x.api.example": 400, "evil.example": 400},
		"*":               {"": 200, "evil.example": 200},
		"a.example,b.exa": {"b.exa": 200, "a.example": 200, "c.example": 400},
	} {
		c := w.another("127.0.0.1:0")
		if told != "" {
			c.Hosts = strings.Split(told, ",")
		}
		a, stop := w.runs(c)
		for host, want := range rows {
			header := basic(made.ClientID, made.ClientSecret)
			if host != "" {
				header["Host"] = []string{host}
			}
			got := w.send(http.MethodGet, a.URL()+"/authz", header, "")
			if got.status != want || want == 400 && got.code() != "INVALID_REQUEST" {
				t.Errorf("told %q, Host %q: %d %s, want %d", told, host, got.status, got.body, want)
			}
		}
		stop()
	}
}
