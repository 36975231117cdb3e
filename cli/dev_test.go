package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/testport"
)

// running is a command that goes on until it is stopped.
type running struct {
	t              *testing.T
	stdout, stderr *bufio.Reader
	cancel         context.CancelFunc
	exit           chan int
	once           sync.Once
}

// start runs a command in the background.
func start(t *testing.T, env map[string]string, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	outR, outW := io.Pipe()
	errR, errW := io.Pipe()
	r := &running{t: t, stdout: bufio.NewReader(outR), stderr: bufio.NewReader(errR), cancel: cancel, exit: make(chan int, 1)}
	go func() {
		exit := stage(ctx, env, outW, errW).Run(args)
		_, _ = outW.Close(), errW.Close()
		r.exit <- exit
	}()
	t.Cleanup(func() { r.stop() })
	return r
}

// stop is what SIGTERM does; it returns the exit status.
func (r *running) stop() int {
	r.cancel()
	r.drain()
	exit := <-r.exit
	r.exit <- exit
	return exit
}

// drain throws away what the command still says, so that it never waits for a reader.
func (r *running) drain() {
	r.once.Do(func() {
		for _, stream := range []*bufio.Reader{r.stdout, r.stderr} {
			go func() { _, _ = io.Copy(io.Discard, stream) }()
		}
	})
}

// line returns the next line of a stream that holds a text.
func (r *running) line(stream *bufio.Reader, holds string) string {
	r.t.Helper()
	said := ""
	for {
		line, err := stream.ReadString('\n')
		if strings.Contains(line, holds) {
			return line
		}
		if said += line; err != nil {
			r.t.Fatalf("%q did not come: %v\n%s", holds, err, said)
		}
	}
}

func ready(t *testing.T, r *running) (d map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.line(r.stdout, "{")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDev_IsTheSameClusterWhenItComesAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dev")
	first := start(t, nil, "dev", "--dir", dir, "--json", "--listen", testport.Hold(t))
	d := ready(t, first)
	want := map[string]any{
		"server": d["server"], "sidecars": d["sidecars"], "client_id": d["client_id"], "client_secret": d["client_secret"],
		"config": filepath.Join(dir, "config.json"), "data_dir": filepath.Join(dir, "authority"),
	}
	if list, ok := d["sidecars"].([]any); !ok || len(list) != 1 {
		t.Errorf("sidecars: %v, want one", d["sidecars"])
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
	u := &user{t: t, clock: &clock{}, env: map[string]string{"KEYTURN_CONFIG": d["config"].(string), "PATH": os.Getenv("PATH")}}
	u.must("token")
	u.must("credentials", "rotate", "--update-config", "--window", "1h")
	if exit := first.stop(); exit != 0 {
		t.Errorf("exit %d", exit)
	}
	if r := u.does("token", "--timeout", "1s"); r.exit != 5 {
		t.Errorf("it still answers: exit %d", r.exit)
	}

	second := start(t, nil, "dev", "--dir", dir, "--json")
	again := ready(t, second)
	if again["server"] != d["server"] || again["client_id"] != strings.TrimSuffix(d["client_id"].(string), "-1")+"-2" || again["client_secret"] == d["client_secret"] ||
		!cmp.Equal(again["sidecars"], d["sidecars"]) {
		t.Errorf("first %v, then %v", d, again)
	}
	u.must("token")
	if out := u.must("audit").stdout; !strings.Contains(out, "credential.rotate") {
		t.Errorf("what was done before is forgotten:\n%s", out)
	}
}

func TestDev_TellsPeopleHowToUseIt(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := start(t, map[string]string{"HOME": home}, "dev")
	config := filepath.Join(home, ".local", "share", "keyturn", "dev", "config.json")
	for _, holds := range []string{"http://127.0.0.1:", "cli_", config} {
		if line := r.line(r.stdout, holds); strings.Contains(line, "sec_") {
			t.Errorf("%q shows the secret", line)
		}
	}
	r.line(r.stderr, "keyturn --config "+config+" token")
	if exit := r.stop(); exit != 0 {
		t.Errorf("exit %d", exit)
	}
}

func TestDev_Refuses(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dev")
	taken := start(t, nil, "dev", "--dir", dir, "--json")
	address := strings.TrimPrefix(ready(t, taken)["server"].(string), "http://")
	for name, row := range map[string]struct {
		args []string
		exit int
		says string
	}{
		"Peers":      {[]string{"--dir", dir + "2", "--peers", "101"}, 2, "--peers has to be 0 to 100"},
		"Algorithm":  {[]string{"--dir", dir + "3", "--token-alg", "none"}, 2, "token-alg"},
		"NoHome":     {nil, 2, "--dir"},
		"OffLoop":    {[]string{"--dir", dir + "4", "--listen", "0.0.0.0:0"}, 2, "loopback"},
		"SameDir":    {[]string{"--dir", dir, "--listen", "127.0.0.1:0"}, 1, "another keyturn is using it"},
		"SamePort":   {[]string{"--dir", dir + "5", "--listen", address}, 1, "address already in use"},
		"NotADir":    {[]string{"--dir", writeFile(t, dir+"6", "")}, 1, "not a directory"},
		"BadListen":  {[]string{"--dir", dir + "7", "--listen", "x"}, 2, "HOST:PORT"},
		"BrokenConf": {[]string{"--dir", broken(t, dir+"8")}, 1, "is not a config file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // should it start after all
			defer cancel()
			exit := stage(ctx, nil, &stdout, &stderr).Run(append([]string{"dev"}, row.args...))
			if exit != row.exit || !strings.Contains(stderr.String(), row.says) || stdout.Len() > 0 {
				t.Errorf("exit %d, want %d and %q:\n%s%s", exit, row.exit, row.says, &stdout, &stderr)
			}
		})
	}
}

func broken(t *testing.T, dir string) string {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "config.json"), "sec_")
	return dir
}
