package main_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyturn/keyturn/internal/devcluster"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/serve"
	"github.com/keyturn/keyturn/internal/testport"
)

// TestScript runs keyturn as people type it: one scenario in each file.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, "home", ".config"))
			e.Values[stateKey{}] = &state{clock: &clock{}}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"cluster": startCluster, "authority": startAuthority, "halt": halt, "clock": turnClock,
			"exits": exits, "keep": keep, "only": onlySecrets, "join": join, "again": again,
		},
	})
}

type stateKey struct{}

// state is what a script has running.
type state struct {
	clock *clock
	stop  func()
}

func of(ts *testscript.TestScript) *state { return ts.Value(stateKey{}).(*state) }

// held is an address at which nobody else listens until the script ends, also when what listens there has been stopped.
func held(ts *testscript.TestScript) string {
	p, err := testport.Take()
	ts.Check(err)
	ts.Defer(p.Release)
	return p.Address()
}

// startCluster: a bootstrapped cluster; $SERVER is its address, and the config has its shared credential.
func startCluster(ts *testscript.TestScript, _ bool, _ []string) {
	s := of(ts)
	c, err := devcluster.Start(context.Background(), devcluster.Options{Dir: ts.MkAbs("cluster"), Now: s.clock.now, Listen: held(ts)})
	ts.Check(err)
	s.stop = func() { _ = c.Close() }
	ts.Defer(func() { halt(ts, false, nil) })
	ts.Setenv("SERVER", c.URL())
	ts.Setenv("DATA", c.DataDir())
	config, err := os.ReadFile(c.ConfigFile())
	ts.Check(err)
	path := filepath.Join(ts.Getenv("XDG_CONFIG_HOME"), "keyturn", "config.json")
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o700))
	ts.Check(os.WriteFile(path, config, 0o600))
	ts.Setenv("CONFIG", path)
}

// startAuthority DIR [VENDOR.pub]: an authority over a data directory, as it is; $SERVER is its address. It wants the
// bootstrap token that is in $BOOTSTRAP_TOKEN.
func startAuthority(ts *testscript.TestScript, _ bool, args []string) {
	s := of(ts)
	c := serve.Config{
		DataDir: ts.MkAbs(args[0]), Listen: held(ts), Now: s.clock.now, SignAtOnce: true,
		BootstrapToken: ts.Getenv("BOOTSTRAP_TOKEN"), Issuer: ts.Getenv("ISSUER"),
	}
	if len(args) > 1 {
		key, err := jwk.Parse([]byte(ts.ReadFile(args[1])))
		ts.Check(err)
		c.VendorKeys = []jwk.Key{key}
	}
	ctx, cancel := context.WithCancel(context.Background())
	server, err := serve.Open(ctx, c)
	ts.Check(err)
	ts.Check(server.Listen(ctx))
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	s.stop = func() { cancel(); <-done }
	ts.Defer(func() { halt(ts, false, nil) })
	ts.Setenv("SERVER", server.URL())
}

// halt stops what runs.
func halt(ts *testscript.TestScript, _ bool, _ []string) {
	if s := of(ts); s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// turnClock D: the authority's clock goes forward.
func turnClock(ts *testscript.TestScript, _ bool, args []string) {
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	of(ts).clock.turn(d)
}

// exits STATUS COMMAND…: the command ends with that exit status.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit %d, want %d", got, want)
	}
}

// again COMMAND…: what a machine that stands still for some seconds may break, by no fault of its own: one of three has to go well.
func again(ts *testscript.TestScript, _ bool, args []string) {
	var err error
	for range 3 {
		if err = ts.Exec(args[0], args[1:]...); err == nil {
			return
		}
	}
	ts.Fatalf("%v", err)
}

// keep NAME WORD: the second column of the line of standard output that begins with WORD becomes $NAME.
func keep(ts *testscript.TestScript, _ bool, args []string) {
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == args[1] {
			ts.Setenv(args[0], fields[1])
			return
		}
	}
	ts.Fatalf("standard output has no line %s", args[1])
}

// onlySecrets N: standard output and standard error hold so many secrets together.
func onlySecrets(ts *testscript.TestScript, _ bool, args []string) {
	if n := strings.Count(ts.ReadFile("stdout")+ts.ReadFile("stderr"), "sec_"); strconv.Itoa(n) != args[0] {
		ts.Fatalf("%d secrets in the output, want %s", n, args[0])
	}
}
