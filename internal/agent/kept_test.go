package agent_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// What cannot be kept on disk holds for as long as the sidecar runs, and who has asked for it is told so.
func TestDenied_WhatIsNotKept(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	sidecar, made := w.Sidecars()[0], w.create("billing.read")
	w.token(sidecar, made.ClientID, made.ClientSecret, "")
	file := filepath.Join(w.SidecarDir(1), "denied.json")
	if err := os.MkdirAll(filepath.Join(file, "in the way"), 0o700); err != nil { // as a full disk would
		t.Fatal(err)
	}
	r, err := agent.Find(w.SidecarDir(1))
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Deny(t.Context(), made.ID)
	if !errors.Is(err, agent.ErrFailed) || !strings.Contains(err.Error(), "only until this sidecar is started again") || !strings.Contains(err.Error(), "denied.json") {
		t.Errorf("deny: %v", err)
	}
	_, refused := w.tryToken(sidecar, made.ClientID, made.ClientSecret, "")
	w.refusedWith(refused, httpapi.Unauthorized, "it is denied")
	if _, err = r.Allow(t.Context(), made.ID); !errors.Is(err, agent.ErrFailed) || !strings.Contains(err.Error(), "still denied") {
		t.Errorf("allow: %v", err)
	}
	_, refused = w.tryToken(sidecar, made.ClientID, made.ClientSecret, "")
	w.refusedWith(refused, httpapi.Unauthorized, "it is still denied")
	if err := os.RemoveAll(file); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Allow(t.Context(), made.ID); err != nil {
		t.Error(err)
	}
	w.token(sidecar, made.ClientID, made.ClientSecret, "")
}

// What an operator does leaves one line each.
func TestAgent_LogsWhatAnOperatorDoes(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	var log lines
	c := w.another("127.0.0.1:0")
	c.Log = zerolog.New(&log).Level(zerolog.InfoLevel)
	a, _ := w.runs(c)
	const name = "cli_01m8121nd0fsmbsrvqa84dbr6w-3"
	if err := errors.Join(a.Deny(name), a.Allow(name), a.Reload()); err != nil {
		t.Fatal(err)
	}
	for _, says := range []string{
		`"id":"` + name + `"`, `"message":"denied on this host"`, `"message":"not denied on this host any more"`, `"message":"reloaded: `,
	} {
		if n := strings.Count(log.String(), says); n != 1 && n != 2 {
			t.Errorf("%s: %d times in\n%s", says, n, log.String())
		}
	}
}

// A damaged copy is made anew by itself: nobody is told to do what is for an authority's own file.
func TestAgent_ADamagedCopyNeedsNobody(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	var log lines
	c := w.another("127.0.0.1:0")
	c.Log = zerolog.New(&log)
	_, stop := w.runs(c)
	stop()
	if err := os.WriteFile(filepath.Join(c.DataDir, "replica.db"), []byte(strings.Repeat("x", 100_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	w.runs(c)
	if got := log.String(); !strings.Contains(got, "deleted and pulled anew") || !strings.Contains(got, "replica.db is damaged") ||
		strings.Contains(got, "nothing was changed") || strings.Contains(got, "keyturn import") {
		t.Errorf("the log:\n%s", got)
	}
}
