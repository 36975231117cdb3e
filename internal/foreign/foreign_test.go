package foreign_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/foreign"
)

// TestMain is also the program of somebody else: it listens where it is told, and says which process it is.
func TestMain(m *testing.M) {
	if len(os.Args) != 3 || os.Args[1] != "listen" {
		os.Exit(m.Run())
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Args[2])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		fmt.Fprintf(c, "process %d\n", os.Getpid())
		_ = c.Close()
	}
}

// whoListens returns what is said where a server is, or was; "" where nobody says anything.
func whoListens(t *testing.T, url string) string {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		return ""
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(c).ReadString('\n')
	return line
}

// outcome is how a test ends that is not to end this one.
type outcome struct {
	testing.TB
	said string
}

func (o *outcome) Helper() {}

func (o *outcome) Fatalf(format string, args ...any) { o.end("failed: "+format, args) }

func (o *outcome) Skipf(format string, args ...any) { o.end(format, args) }

func (o *outcome) end(format string, args []any) {
	o.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// of runs a test and returns what it said at its end; "" where it came through.
func of(test func(t testing.TB)) string {
	o, done := &outcome{}, make(chan struct{})
	go func() {
		defer close(done)
		test(o)
	}()
	<-done
	return o.said
}

func TestCached_IsFilledOnceAndToItsEnd(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home) // for systems where the cache is below it
	t.Setenv("XDG_CACHE_HOME", home)
	fills, broken := 0, errors.New("no network")
	fill := func(_ context.Context, dir string) error {
		fills++
		if _, err := os.Stat(filepath.Join(dir, "half")); err == nil {
			t.Error("what an earlier fill left is still there")
		}
		if err := os.WriteFile(filepath.Join(dir, "half"), nil, 0o600); err != nil {
			t.Error(err)
		}
		return broken
	}
	said := of(func(t testing.TB) { foreign.Cached(t, "a tool==1", nil, fill) })
	if !strings.HasPrefix(said, "failed: a tool==1") || !strings.Contains(said, "no network") {
		t.Errorf("it said %q", said)
	}
	broken = nil
	dir := foreign.Cached(t, "a tool==1", nil, fill)
	if again := foreign.Cached(t, "a tool==1", nil, fill); again != dir || fills != 2 {
		t.Errorf("%s, then %s; filled %d times", dir, again, fills)
	}
}

func TestCached_SkipsWhereAToolIsMissing(t *testing.T) {
	for ci, want := range map[string]string{"": "skipped, needs a tool: ", "true": "failed: a tool: "} {
		t.Setenv("CI", ci)
		said := of(func(t testing.TB) { foreign.Cached(t, "a tool", []string{"go", "no-such-program"}, nil) })
		if said != want+"no-such-program is not installed" {
			t.Errorf("CI=%s: %q", ci, said)
		}
	}
}

func TestServer_StartsOnceAndEnds(t *testing.T) {
	t.Parallel()
	var s foreign.Server
	s.Stop() // of what was never started
	starts := 0
	var url string
	for range 2 {
		url = s.URL(t, "the program", func(port string) []string {
			starts++
			return []string{os.Args[0], "listen", port}
		})
	}
	if starts != 1 {
		t.Errorf("started %d times", starts)
	}
	started := whoListens(t, url)
	if started == "" {
		t.Error("it does not answer")
	}
	for range 2 {
		s.Stop()
	}
	// By now the port may be somebody else's.
	if now := whoListens(t, url); now == started {
		t.Errorf("%q still listens", now)
	}
}

func TestServer_SaysWhyItDoesNotStart(t *testing.T) {
	t.Parallel()
	var s foreign.Server
	starts := 0
	for range 2 {
		said := of(func(t testing.TB) {
			s.URL(t, "the program", func(string) []string { starts++; return []string{os.Args[0], "listen", "no port"} })
		})
		if !strings.HasPrefix(said, "failed: the program: it does not answer") || !strings.Contains(said, "no port") {
			t.Errorf("it said %q", said)
		}
	}
	if starts != 3 {
		t.Errorf("tried %d times, want 3 in all: somebody else may have taken the port", starts)
	}
}
