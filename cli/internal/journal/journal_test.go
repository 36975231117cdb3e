package journal_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/cli/internal/journal"
)

func entry() journal.Entry {
	return journal.Entry{
		Server: "https://a", Context: "dev", Command: "keyturn credentials rotate", Method: "POST", Path: "/v1/x",
		Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Body: []byte(`{"a": 1}`), Key: journal.NewKey(),
		Token: "hunter2", UpdateConfig: true, Client: "cli_1",
	}
}

func open(t *testing.T, folder string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(t.Context(), folder, journal.Name("a"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestJournal_KeepsAnEntryAcrossProcesses(t *testing.T) {
	t.Parallel()
	folder, want := filepath.Join(t.TempDir(), "new", "pending"), entry()
	j := open(t, folder)
	if _, found, err := j.Entry(); found || err != nil {
		t.Fatal(found, err)
	}
	if err := j.Write(want); err != nil {
		t.Fatal(err)
	}
	j.Close()
	for path, m := range map[string]fs.FileMode{folder: 0o700, j.Path(): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != m {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	j = open(t, folder)
	got, found, err := j.Entry()
	if d := cmp.Diff(want, got); d != "" || !found || err != nil {
		t.Error(found, err, d)
	}
	if d := cmp.Diff([]journal.Entry{want}, journal.All(folder)); d != "" {
		t.Error(d)
	}
	for range 2 {
		if err := j.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Error("an empty folder stayed", err)
	}
}

func TestJournal_DamagedIsAnErrorAndNotForgotten(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	j := open(t, folder)
	defer j.Close()
	for _, text := range []string{"", "{", "{}", `{"idempotency_key":"hunter2"}`} {
		if err := os.WriteFile(j.Path(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := j.Entry()
		if err == nil || !strings.Contains(err.Error(), j.Path()) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestJournal_OneAtATime(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	j := open(t, folder)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	told := false
	if _, err := journal.Open(ctx, folder, journal.Name("a"), func() { told = true }); !errors.Is(err, context.DeadlineExceeded) || !told {
		t.Error(err, told)
	}
	other, err := journal.Open(t.Context(), folder, journal.Name("b"), nil)
	if err != nil {
		t.Fatal("another command had to wait:", err)
	}
	other.Close()
	j.Close()
}

func TestJournal_FolderComesAndGoes(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "pending")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 30 {
				j, err := journal.Open(t.Context(), folder, journal.Name("a"), nil)
				if err != nil {
					t.Error(err)
					return
				}
				if err := j.Write(entry()); err != nil {
					t.Error(err)
				}
				if err := j.Remove(); err != nil {
					t.Error(err)
				}
				j.Close()
			}
		})
	}
	wg.Wait()
}

func TestEntry_Same(t *testing.T) {
	t.Parallel()
	a := entry()
	b := entry()
	b.Key, b.Token, b.Command, b.Context = "k", "t", "c", "x"
	if !a.Same(b) {
		t.Error("how it is delivered is not what is asked")
	}
	for _, change := range []func(*journal.Entry){
		func(e *journal.Entry) { e.Server = "x" }, func(e *journal.Entry) { e.Method = "x" },
		func(e *journal.Entry) { e.Path = "x" }, func(e *journal.Entry) { e.Body = []byte(`{"a":1}`) },
	} {
		b := entry()
		if change(&b); a.Same(b) {
			t.Errorf("%+v", b)
		}
	}
}

func TestNewKey_IsWhatTheAuthorityTakes(t *testing.T) {
	t.Parallel()
	a, b := journal.NewKey(), journal.NewKey()
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{32,128}$`).MatchString(a) || a == b {
		t.Error(a, b)
	}
	if journal.Name("a", "bc") == journal.Name("ab", "c") {
		t.Error("names")
	}
}
