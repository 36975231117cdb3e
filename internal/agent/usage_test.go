package agent_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/devcluster"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
)

// versions are those of the shared credential, by their numbers, as the authority tells them.
func (w *world) versions() map[int]httpapi.Version {
	w.t.Helper()
	var c httpapi.CredentialDetail
	w.call(w.URL(), http.MethodGet, "/v1/cluster/credentials", nil, &c)
	list := map[int]httpapi.Version{}
	for _, v := range c.Versions {
		list[v.Version] = v
	}
	return list
}

// seenAt finds the use of a version at a peer, or at the authority: "".
func seenAt(v httpapi.Version, name string) *httpapi.Sighting {
	for i, s := range v.LastUsed {
		if s.Name == name || name == "" && s.PeerID == nil {
			return &v.LastUsed[i]
		}
	}
	return nil
}

// reported polls until ok. A rotation lets sidecars report at once, for their minute is over by then: not if their report before
// ended after the clock was moved, so there is another one now and then.
func (w *world) reported(what string, ok func() bool) {
	w.t.Helper()
	polls := 0
	w.eventually(what, func() bool {
		if polls++; polls%80 == 1 {
			w.ahead.Add(int64(2 * time.Minute))
			w.call(w.URL(), http.MethodPost, "/v1/cluster/credentials/rotate", httpapi.RotateRequest{Reason: "news"}, nil)
		}
		return ok()
	})
}

// A sidecar reports soon after its start, and at once after a rotation.
func TestAgent_ReportsWhoUsesWhat(t *testing.T) {
	t.Parallel()
	w := start(t, 2)
	w.eventually("the first reports", func() bool {
		v := w.versions()[1]
		return len(v.AcceptedBy) == 2 && len(v.Unreported) == 0
	})
	one := w.Sidecars()[0]
	w.token(one, w.ClientID(), w.Secret().Reveal(), "")
	w.send(http.MethodGet, one+"/authz", basic(w.ClientID(), w.Secret().Reveal()), "")
	w.send(http.MethodGet, one+"/authz", bearer(w.admin), "") // no use of a secret
	w.reported("reports after the rotation", func() bool {
		list := w.versions()
		return len(list[2].AcceptedBy) == 2 && len(list[1].Unreported) == 0 && seenAt(list[1], "sidecar-1") != nil
	})
	seen := w.versions()[1]
	if s := seenAt(seen, "sidecar-1"); s.Count != 2 || s.Source != "127.0.0.1" || seenAt(seen, "sidecar-2") != nil || seenAt(seen, "") == nil {
		t.Errorf("%+v", seen.LastUsed)
	}
	v := seen.Verdict
	if v == nil || v.Safe || len(v.WouldLockOut) != 2 || v.WouldLockOut[1] != "sidecar-1 (127.0.0.1)" || len(v.Unknown) != 0 {
		t.Errorf("%+v", v)
	}
}

// A report that was refused, or did not arrive, is made anew as soon as the authority takes one: it holds what came meanwhile, and
// says that it was made then. Nothing here moves the clock or rotates: nobody waits for the next minute.
func TestReporter_MakesARefusedReportAnew(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"soon", "refuse"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := start(t, 0)
			wire := &flaky{next: &http.Transport{}, mode: mode}
			config := w.another("127.0.0.1:0")
			config.Name, config.Transport = "refused", wire
			a, _ := w.runs(config)
			use := func() {
				w.eventually("the secret is accepted", func() bool {
					return w.send(http.MethodGet, a.URL()+"/authz", basic(w.ClientID(), w.Secret().Reveal()), "").status == 200
				})
			}
			use()
			w.eventually("a first try", func() bool { return len(wire.reports()) > 0 })
			first := wire.last()
			w.ahead.Store(int64(10 * time.Second)) // so that it can be told when the next one was made
			use()
			wire.set("")
			var seen *httpapi.Sighting
			w.eventually("both uses", func() bool {
				seen = seenAt(w.versions()[1], "refused")
				return seen != nil && seen.Count == 2
			})
			if last := wire.last(); last.At.Before(first.At.Add(10*time.Second)) || seen.At.Before(first.At.Add(9*time.Second)) {
				t.Errorf("made at %s, the refused one at %s; last seen at %s", last.At, first.At, seen.At)
			}
		})
	}
}

// A report that is made anew grows no larger than the authority takes: all that may have arrived is in it, the rest waits.
func TestReporter_WhatIsMadeAnewFits(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	wire := &flaky{next: &http.Transport{}}
	config := w.another("127.0.0.1:0")
	config.Name, config.Transport = "busy", wire
	_, stop := w.runs(config)
	stop()
	left := map[string]any{}
	some := func() (list []any) {
		for range 200 {
			list = append(list, map[string]any{
				"ClientID": id.New(id.Client, w.now()).String(), "Version": 1, "Source": "127.0.0.1", "First": w.now(), "Last": w.now(), "Count": 1,
			})
		}
		return list
	}
	left["sending"] = map[string]any{"ID": "sent-before-0123456789", "At": w.now(), "Uses": some()}
	left["uses"] = some()
	text, err := json.Marshal(left)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(config.DataDir, "usage.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	tried := len(wire.reports())
	w.ahead.Store(int64(2 * time.Minute))
	_, _ = w.runs(config)
	w.eventually("a report", func() bool { return len(wire.reports()) > tried })
	first := wire.last()
	if n := len(first.Uses); first.ID != "sent-before-0123456789" || n < 250 || n > 320 || !first.Partial {
		t.Errorf("%s: %d uses, partial %v", first.ID, n, first.Partial)
	}
	w.reported("the rest", func() bool {
		last := wire.last()
		return last.ID != first.ID && len(last.Uses) >= 400-len(first.Uses)
	})
}

// What could not be reported is reported by the next start.
func TestAgent_KeepsCountsOverARestart(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	w.eventually("the first report", func() bool { return len(w.versions()[1].AcceptedBy) == 1 })
	use := func(times int) {
		for range times {
			if a := w.send(http.MethodGet, w.Sidecars()[0]+"/authz", basic(w.ClientID(), w.Secret().Reveal()), ""); a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
	}
	use(3)
	w.ahead.Store(int64(10 * time.Second))
	began := time.Now()
	if err := w.RestartSidecar(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	reported := func() bool { s := seenAt(w.versions()[1], "sidecar-1"); return s != nil && s.Count == 3 }
	if !reported() && time.Since(began) < 4*time.Second { // who stops gives its report five seconds, and then leaves it to the next start
		t.Errorf("reported by a sidecar that stops: %+v", w.versions()[1].LastUsed)
	}
	w.reported("what it had counted", reported)
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	use(2)
	if err := w.RestartSidecar(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	use(1) // while what is left of the run before waits for the authority
	if err := w.Cluster.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(w.SidecarDir(1), "usage.json"))
	if err != nil || !strings.Contains(string(text), `"Count": 3`) || strings.Contains(string(text), w.Secret().Reveal()) {
		t.Fatalf("%s, %v", text, err)
	}
	w.ahead.Store(int64(5 * time.Minute))
	again, err := devcluster.Start(t.Context(), devcluster.Options{Dir: filepath.Dir(w.DataDir()), Peers: 1, Now: w.now, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	w.Cluster = again
	w.reported("the rest is reported", func() bool {
		s := seenAt(w.versions()[1], "sidecar-1")
		return s != nil && s.Count == 6
	})
	if _, err := os.Stat(filepath.Join(w.SidecarDir(1), "usage.json")); err == nil {
		t.Error("it would count again")
	}
}

// flaky stands between a sidecar and its authority, and looks at the reports that pass.
type flaky struct {
	next http.RoundTripper
	mu   sync.Mutex
	mode string   // "refuse": the authority does not hear them; "lose": it does, and nobody says so; "soon": 429; "": all is well
	ids  []string // of the reports, in their order
	told []httpapi.UsageReport
}

// last is the newest report.
func (f *flaky) last() httpapi.UsageReport {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.told[len(f.told)-1]
}

func (f *flaky) set(mode string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mode = mode
}

func (f *flaky) reports() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ids)
}

func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, "/usage") {
		return f.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var w httpapi.UsageReport
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, err
	}
	f.mu.Lock()
	mode := f.mode
	f.ids, f.told = append(f.ids, w.ID), append(f.told, w)
	f.mu.Unlock()
	if mode == "refuse" {
		return nil, errors.New("no way")
	}
	if mode == "soon" {
		return &http.Response{
			StatusCode: http.StatusTooManyRequests, Request: r, Header: http.Header{"Content-Type": {"application/json"}, "Retry-After": {"1"}},
			Body: io.NopCloser(strings.NewReader(`{"error":"one report a minute is enough","code":"RATE_LIMITED"}`)),
		}, nil
	}
	a, err := f.next.RoundTrip(r)
	if err == nil && mode == "lose" {
		_ = a.Body.Close()
		return nil, errors.New("the answer is lost")
	}
	return a, err
}

// Counts survive a report that fails, and one whose answer is lost counts once.
func TestReporter_FailuresLoseNothingAndCountNothingTwice(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	wire := &flaky{next: &http.Transport{}, mode: "refuse"}
	config := w.another("127.0.0.1:0")
	config.Name, config.Transport = "flaky", wire
	a, _ := w.runs(config)
	use := func(times int) {
		for range times {
			w.eventually("the secret is accepted", func() bool {
				return w.send(http.MethodGet, a.URL()+"/authz", basic(w.ClientID(), w.Secret().Reveal()), "").status == 200
			})
		}
	}
	seen := func() uint64 {
		if s := seenAt(w.versions()[1], "flaky"); s != nil {
			return s.Count
		}
		return 0
	}
	use(2)
	w.eventually("a first try", func() bool { return len(wire.reports()) > 0 })
	wire.set("lose")
	refused := len(wire.reports())
	w.reported("another try", func() bool { return len(wire.reports()) > refused })
	w.eventually("it has arrived", func() bool { return len(w.versions()[1].AcceptedBy) == 1 })
	use(3)
	lost := len(wire.reports())
	wire.set("") // who tries before is lost under the same name
	w.reported("another try", func() bool { return len(wire.reports()) > lost })
	ids := wire.reports()
	for _, again := range ids[:lost+1] {
		if again != ids[0] {
			t.Errorf("what may have arrived is sent under another name: %v", ids)
		}
	}
	w.reported("the rest", func() bool { return seen() == 5 })
}

// left is what waits for the next start: so many uses, and whether there were more.
func (w *world) left(dir string, want int) (text string, partial bool) {
	w.t.Helper()
	body, err := os.ReadFile(filepath.Join(dir, "usage.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	type uses struct {
		Uses    []struct{ Count int }
		Partial bool
	}
	var left struct {
		uses
		Sending *uses
	}
	if err := json.Unmarshal(body, &left); err != nil || left.Sending == nil {
		w.t.Fatalf("%v: %s", err, body)
	}
	sum := 0
	for _, u := range append(left.Sending.Uses, left.Uses...) {
		sum += u.Count
	}
	if sum != want {
		w.t.Errorf("%d uses are left, want %d: %s", sum, want, body)
	}
	return string(body), left.Partial || left.Sending.Partial
}

// Who reports within a second of the report before is refused for now. The counts wait, over a stop that is refused as well.
func TestReporter_RefusedForNowLosesNothing(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	wire := &flaky{next: &http.Transport{}, mode: "soon"}
	config := w.another("127.0.0.1:0")
	config.Name, config.Transport = "early", wire
	a, stop := w.runs(config)
	use := func(times int) {
		for range times {
			w.eventually("the secret is accepted", func() bool {
				return w.send(http.MethodGet, a.URL()+"/authz", basic(w.ClientID(), w.Secret().Reveal()), "").status == 200
			})
		}
	}
	use(2)
	w.eventually("a first try", func() bool { return len(wire.reports()) > 0 })
	use(3)
	tried := len(wire.reports()) // more than once, where the second is over by now
	stop()
	ids := wire.reports()
	if len(ids) == tried || len(slices.Compact(slices.Clone(ids))) != 1 {
		t.Errorf("the last report, after %d: %v", tried, ids)
	}
	text, partial := w.left(config.DataDir, 5)
	if partial {
		t.Errorf("all of them were counted: %s", text)
	}
	text = strings.Replace(text, "{", `{"partial": true,`, 1) // as if some had not been
	if err := os.WriteFile(filepath.Join(config.DataDir, "usage.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop = w.runs(config)
	w.eventually("another try", func() bool { return len(wire.reports()) > len(ids) })
	stop()
	if text, partial = w.left(config.DataDir, 5); !partial {
		t.Errorf("that some were not counted is forgotten: %s", text)
	}
	wire.set("")
	a, _ = w.runs(config)
	use(1)
	w.reported("all of them are told", func() bool {
		s := seenAt(w.versions()[1], "early")
		return s != nil && s.Count == 6
	})
}

// A change of the shared credential is told at once whatever else came with it.
func TestReporter_HearsOfChangesBesideTheClusters(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	a, err := agent.Open(t.Context(), w.another("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	client := id.New(id.Client, w.now())
	for _, cluster := range []bool{false, true} {
		if !a.Hurries([]id.ID{client, id.New(id.Cluster, w.now())}, cluster) {
			t.Errorf("with a record of the cluster %v: not heard", cluster)
		}
	}
}
