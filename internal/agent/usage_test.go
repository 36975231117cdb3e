package agent_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/devcluster"
	"github.com/keyturn/keyturn/internal/httpapi"
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

// A sidecar reports soon after its start, at once after a rotation, and when it stops.
func TestAgent_ReportsWhoUsesWhat(t *testing.T) {
	t.Parallel()
	w := start(t, 2)
	one := w.Sidecars()[0]
	w.token(one, w.ClientID(), w.Secret().Reveal(), "")
	w.send(http.MethodGet, one+"/authz", basic(w.ClientID(), w.Secret().Reveal()), "")
	w.send(http.MethodGet, one+"/authz", bearer(w.admin), "") // no use of a secret
	w.eventually("the first reports", func() bool {
		v := w.versions()[1]
		s := seenAt(v, "sidecar-1")
		return len(v.AcceptedBy) == 2 && len(v.Unreported) == 0 && s != nil && s.Count == 2 && s.Source == "127.0.0.1"
	})
	if v := w.versions()[1]; seenAt(v, "sidecar-2") != nil || seenAt(v, "") == nil {
		t.Errorf("%+v", v.LastUsed)
	}
	w.ahead.Store(int64(2 * time.Minute)) // the minute is over, for the authority
	var next httpapi.Rotation
	w.call(w.URL(), http.MethodPost, "/v1/cluster/credentials/rotate", nil, &next)
	w.eventually("reports after the rotation", func() bool {
		list := w.versions()
		return len(list[2].AcceptedBy) == 2 && len(list[1].Unreported) == 0
	})
	v := w.versions()[1].Verdict
	if v == nil || v.Safe || len(v.WouldLockOut) != 2 || v.WouldLockOut[1] != "sidecar-1 (127.0.0.1)" || len(v.Unknown) != 0 {
		t.Errorf("%+v", v)
	}
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
	if err := w.RestartSidecar(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if s := seenAt(w.versions()[1], "sidecar-1"); s == nil || s.Count != 3 {
		t.Errorf("reported by a sidecar that stops: %+v", s)
	}
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	use(2)
	if err := w.Cluster.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(w.SidecarDir(1), "usage.json"))
	if err != nil || !strings.Contains(string(text), `"Count": 2`) || strings.Contains(string(text), w.Secret().Reveal()) {
		t.Fatalf("%s, %v", text, err)
	}
	w.ahead.Store(int64(5 * time.Minute))
	again, err := devcluster.Start(t.Context(), devcluster.Options{Dir: filepath.Dir(w.DataDir()), Peers: 1, Now: w.now, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	w.Cluster = again
	w.eventually("the rest is reported", func() bool { s := seenAt(w.versions()[1], "sidecar-1"); return s != nil && s.Count == 5 })
	if _, err := os.Stat(filepath.Join(w.SidecarDir(1), "usage.json")); err == nil {
		t.Error("it would count again")
	}
}
