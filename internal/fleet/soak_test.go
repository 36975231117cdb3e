package fleet_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/fleet"
)

var soakFor = flag.Duration("soak", 0, "how long the load of TestFleet_SoakLeavesNothingBehind lasts; 5m is what make soak says")

// usage is what a process holds.
type usage struct {
	goroutines, files int
	memory            float64 // RssAnon, MB: pages of files that are mapped, such as the store's, are not in it
	heap              float64 // at which the next garbage collection begins, MB: twice what the last one has found alive
	collected         int     // garbage collections
}

// grown is after how many garbage collections a process has as many pages as it needs. One that has just begun grows to twice
// of what is alive in it before it collects anything, at this load for minutes, and a little more until what is alive lies as it
// always will: its memory says nothing before.
const grown = 20

// measure looks at a process that is grown, and has collected its garbage twice since the load has paused: looking makes some.
// It returns the least of several looks.
func measure(ctx context.Context, t *testing.T, p *fleet.Process) usage {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	first := look(ctx, t, p)
	u := first
	for u.collected < max(first.collected+2, grown) {
		u = look(ctx, t, p)
	}
	for range 20 {
		pause(ctx, 250*time.Millisecond)
		now := look(ctx, t, p)
		u = usage{
			min(u.goroutines, now.goroutines), min(u.files, now.files), min(u.memory, now.memory), min(u.heap, now.heap), now.collected,
		}
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
			u.memory = number(t, value) / 1024
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
		switch name, value, _ := strings.Cut(lines.Text(), " "); name {
		case "go_goroutines":
			u.goroutines = int(number(t, value))
		case "go_memstats_next_gc_bytes":
			u.heap = number(t, value) / 1e6
		case "go_gc_duration_seconds_count":
			u.collected = int(number(t, value))
		}
	}
	return u
}

// number is the one that a text begins with.
func number(t *testing.T, text string) (n float64) {
	t.Helper()
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatal(err)
	}
	return n
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
	w.found(t.Context())
	processes := append([]*fleet.Process{f.Authority}, f.Sidecars...)
	early, late := map[string]usage{}, map[string]usage{}
	inUse := map[*fleet.Process]map[*entry]carried{}
	for _, p := range f.Sidecars {
		inUse[p] = map[*entry]carried{}
	}
	for _, phase := range []struct {
		load time.Duration
		seen map[string]usage
	}{{*soakFor / 5, early}, {*soakFor - *soakFor/5, late}} {
		w.load(t.Context(), phase.load, inUse)
		for _, p := range processes {
			phase.seen[p.Name] = measure(t.Context(), t, p)
		}
	}
	for _, s := range w.wrong {
		t.Error(s)
	}
	t.Logf("asked, and answered: %v", w.asked)
	for _, kind := range []string{"current: 200", "superseded: 200", "token: 200", "issue: 200", "wrong: 401"} {
		if w.asked[kind] == 0 {
			t.Errorf("too little was asked to say anything: no %q", kind)
		}
	}
	for _, p := range processes {
		before, after := early[p.Name], late[p.Name]
		t.Logf("%s: %d goroutines, then %d; %d files, then %d; %.1f MB, then %.1f MB; the heap's goal %.2f MB, then %.2f MB; %d collections, then %d",
			p.Name, before.goroutines, after.goroutines, before.files, after.files, before.memory, after.memory, before.heap, after.heap,
			before.collected, after.collected)
		if after.goroutines > before.goroutines+2 || after.files > before.files+2 ||
			after.memory > before.memory*1.1+1 || after.heap > before.heap*1.05+0.5 {
			t.Errorf("%s holds more than before", p.Name)
		}
	}
}
