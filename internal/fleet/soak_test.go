package fleet_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/fleet"
)

var soakFor = flag.Duration("soak", 0, "how long the load of TestFleet_SoakLeavesNothingBehind lasts; 5m is what make soak says")

// usage is what a process holds.
type usage struct {
	goroutines, files int
	memory            float64 // RssAnon, MB
}

// measure looks at a process after its garbage has been collected often enough: the least of several looks.
func measure(ctx context.Context, t *testing.T, p *fleet.Process) (u usage) {
	t.Helper()
	for i := range 20 {
		now := look(ctx, t, p)
		if i == 0 || now.memory < u.memory {
			u.memory = now.memory
		}
		u.goroutines, u.files = now.goroutines, now.files
		pause(ctx, 250*time.Millisecond)
	}
	return u
}

func look(ctx context.Context, t *testing.T, p *fleet.Process) (u usage) {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID()))
	if err != nil {
		t.Skip("skipped, needs /proc: ", err)
	}
	u.files = len(files)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			var kb float64
			if _, err := fmt.Sscan(value, &kb); err != nil {
				t.Fatal(err)
			}
			u.memory = kb / 1024
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	lines := bufio.NewScanner(a.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			if _, err := fmt.Sscan(value, &u.goroutines); err != nil {
				t.Fatal(err)
			}
		}
	}
	return u
}

// TestFleet_SoakLeavesNothingBehind: the load pauses for the looks, so that what is under way does not count.
func TestFleet_SoakLeavesNothingBehind(t *testing.T) {
	if *soakFor == 0 {
		t.Skip("left out: make soak runs it")
	}
	f, err := fleet.Start(t.Context(), fleet.Options{Dir: t.TempDir(), Peers: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &world{t: t, f: f, asked: map[string]int{}}
	processes := append([]*fleet.Process{f.Authority}, f.Sidecars...)
	early, late := map[string]usage{}, map[string]usage{}
	for _, phase := range []struct {
		load time.Duration
		seen map[string]usage
	}{{*soakFor / 5, early}, {*soakFor - *soakFor/5, late}} {
		w.load(t.Context(), phase.load)
		for _, p := range processes {
			phase.seen[p.Name] = measure(t.Context(), t, p)
		}
	}
	for _, s := range w.wrong {
		t.Error(s)
	}
	for _, p := range processes {
		before, after := early[p.Name], late[p.Name]
		t.Logf("%s: %d goroutines, then %d; %d files, then %d; %.1f MB, then %.1f MB",
			p.Name, before.goroutines, after.goroutines, before.files, after.files, before.memory, after.memory)
		if after.goroutines > before.goroutines+2 || after.files > before.files+2 || after.memory > before.memory*1.1+1 {
			t.Errorf("%s holds more than before", p.Name)
		}
	}
}

// load asks all sidecars, and changes a little at the authority, for so long.
func (w *world) load(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var working sync.WaitGroup
	working.Go(func() { w.writeSlowly(ctx) })
	for _, p := range w.f.Sidecars {
		for range 4 {
			working.Go(func() { w.ask(ctx, p) })
		}
	}
	working.Wait()
}

// writeSlowly changes as much as a busy cluster does: what is remembered of credentials grows with their number, and that is
// no leak.
func (w *world) writeSlowly(ctx context.Context) {
	for ctx.Err() == nil {
		burst, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		w.write(burst)
		cancel()
		pause(ctx, 2*time.Second)
	}
}
