package main_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	keyturn "github.com/keyturn/keyturn/cli"
	"github.com/keyturn/keyturn/cli/internal/config"
	"github.com/keyturn/keyturn/internal/devcluster"
	"github.com/keyturn/keyturn/internal/testport"
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // of very little
	testscript.Main(m, map[string]func(){
		"keyturn": func() { os.Exit(app(os.Getenv, os.Stdin, os.Stdout, os.Stderr).Run(os.Args[1:])) },
	})
}

func app(env func(string) string, stdin, stdout, stderr any) keyturn.App {
	a := keyturn.App{Env: env, Now: time.Now, Context: context.Background(), Version: "v0.0.0-test"}
	a.Stdin, _ = stdin.(interface {
		Read([]byte) (int, error)
	})
	a.Stdout, _ = stdout.(interface {
		Write([]byte) (int, error)
	})
	a.Stderr, _ = stderr.(interface {
		Write([]byte) (int, error)
	})
	return a
}

// clock is a clock that tests turn forward.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// user is somebody with a config of their own and a cluster.
type user struct {
	t       *testing.T
	cluster *devcluster.Cluster
	clock   *clock
	env     map[string]string
	step    func(string)
}

// result is what a command left.
type result struct {
	exit           int
	stdout, stderr string
}

// newUser starts a cluster and gives somebody its config.
func newUser(t *testing.T) *user {
	t.Helper()
	u := &user{t: t, clock: &clock{}}
	var err error
	u.cluster, err = devcluster.Start(t.Context(), devcluster.Options{Dir: t.TempDir(), Now: u.clock.now, Listen: testport.Hold(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.cluster.Close() })
	config, err := os.ReadFile(u.cluster.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	u.env = map[string]string{"KEYTURN_CONFIG": path, "PATH": os.Getenv("PATH")}
	return u
}

// does runs a command without standard input.
func (u *user) does(args ...string) result { return u.types("", args...) }

func (u *user) types(stdin string, args ...string) result {
	u.t.Helper()
	var stdout, stderr bytes.Buffer
	a := app(func(name string) string { return u.env[name] }, strings.NewReader(stdin), &stdout, &stderr)
	a.Now, a.Step = u.clock.now, u.step
	r := result{exit: a.Run(args)}
	r.stdout, r.stderr = stdout.String(), stderr.String()
	return r
}

// must is does for what has to go well.
func (u *user) must(args ...string) result {
	u.t.Helper()
	r := u.does(args...)
	if r.exit != 0 {
		u.t.Fatalf("keyturn %s: exit %d\n%s", strings.Join(args, " "), r.exit, r.stderr)
	}
	return r
}

// pending lists what is left of requests whose answers are owed.
func (u *user) pending() []string {
	entries, err := os.ReadDir(filepath.Join(filepath.Dir(u.env["KEYTURN_CONFIG"]), "pending"))
	if err != nil && !os.IsNotExist(err) {
		u.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// litter lists temporary files beside the config.
func (u *user) litter() []string {
	found, err := filepath.Glob(filepath.Join(filepath.Dir(u.env["KEYTURN_CONFIG"]), ".*"))
	if err != nil {
		u.t.Fatal(err)
	}
	return found
}

// held is the client id and the secret in the config's current context.
func (u *user) held() (id, secret string) {
	f, err := config.Read(u.env["KEYTURN_CONFIG"])
	if err != nil {
		u.t.Fatal(err)
	}
	c, _ := f.Context(f.Current)
	return c.ClientID, c.ClientSecret
}

func (u *user) contextName() string {
	f, err := config.Read(u.env["KEYTURN_CONFIG"])
	if err != nil {
		u.t.Fatal(err)
	}
	return f.Current
}
