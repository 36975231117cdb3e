package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyturn/keyturn/cli/internal/config"
	"github.com/keyturn/keyturn/cli/internal/safefile"
)

const sample = `{"current_context":"dev","theme":{"n":12345678901234567890},"contexts":{
  "dev":{"server":"https://a","client_id":"cli_1","client_secret":"hunter2","note":"<&>"},
  "ops":{"server":"https://b","client_secret_command":"pass show x"}}}`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) config.File {
	t.Helper()
	f, err := config.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestRead_Contexts(t *testing.T) {
	t.Parallel()
	f := read(t, write(t, sample))
	if d := cmp.Diff([]string{"dev", "ops"}, f.Names()); d != "" || f.Current != "dev" {
		t.Error(f.Current, d)
	}
	dev, _ := f.Context("dev")
	want := config.Context{Server: "https://a", ClientID: "cli_1", ClientSecret: "hunter2"}
	if d := cmp.Diff(want, dev, cmpopts.IgnoreUnexported(want)); d != "" {
		t.Error(d)
	}
	if _, ok := f.Context("none"); ok {
		t.Error("a context out of nothing")
	}
}

func TestRead_MissingIsEmpty(t *testing.T) {
	t.Parallel()
	if f := read(t, filepath.Join(t.TempDir(), "x", "y")); f.Current != "" || len(f.Names()) != 0 {
		t.Errorf("%+v", f)
	}
	if f := read(t, write(t, "\n")); len(f.Names()) != 0 {
		t.Errorf("%+v", f)
	}
}

func TestRead_Refusals(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"not JSON":        `{"contexts":{"dev":{"client_secret":"hunter2"`,
		"a list":          `[]`,
		"null":            `null`,
		"a number":        `{"contexts":{"dev":{"client_secret":["hunter2"]}}}`,
		"contexts a list": `{"contexts":["hunter2"]}`,
		"a null context":  `{"contexts":{"dev":null}}`,
		"both":            `{"contexts":{"dev":{"client_secret":"hunter2","client_secret_command":"x"}}}`,
	} {
		path := write(t, text)
		_, err := config.Read(path)
		if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	path := write(t, sample)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Read(path); !errors.Is(err, safefile.ErrMode) {
		t.Errorf("mode 0644: %v", err)
	}
}

// Whoever plants a config neither names a command for us nor gets the secret that we put into it.
func TestConfig_OfAnotherUserIsRefused(t *testing.T) {
	path := write(t, sample)
	if err := os.Chown(path, 4711, 4712); err != nil {
		if os.Getenv("CI") == "true" && os.Geteuid() == 0 {
			t.Fatal(err)
		}
		t.Skip("giving a file away takes root")
	}
	t.Setenv("SUDO_UID", "")
	if _, err := config.Read(path); !errors.Is(err, safefile.ErrOwner) || !strings.Contains(err.Error(), path) {
		t.Errorf("read: %v", err)
	}
	set := func(f *config.File) error {
		f.Set("new", config.Context{ClientSecret: "s3"})
		return nil
	}
	if err := config.Change(t.Context(), path, set); !errors.Is(err, safefile.ErrOwner) || slurp(t, path) != sample {
		t.Errorf("change: %v\n%s", err, slurp(t, path))
	}
	t.Setenv("SUDO_UID", "4711")
	if err := config.Change(t.Context(), path, set); err != nil {
		t.Errorf("by sudo: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Sys().(*syscall.Stat_t).Uid != 4711 {
		t.Errorf("by sudo it was taken away: %v", err)
	}
}

func TestChange_KeepsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	path := write(t, sample)
	err := config.Change(t.Context(), path, func(f *config.File) error {
		c, _ := f.Context("dev")
		c.ClientID, c.ClientSecret = "cli_2", "s3"
		f.Set("dev", c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer("cli_1", "cli_2", "hunter2", "s3").Replace(sample)
	if d := cmp.Diff(compact(t, want), compact(t, slurp(t, path))); d != "" {
		t.Error(d)
	}
	if !strings.Contains(slurp(t, path), `"<&>"`) {
		t.Error("what somebody wrote was escaped")
	}
}

func TestChange_FailureWritesNothing(t *testing.T) {
	t.Parallel()
	path := write(t, sample)
	boom := errors.New("boom")
	err := config.Change(t.Context(), path, func(f *config.File) error { f.Set("dev", config.Context{}); return boom })
	if !errors.Is(err, boom) || slurp(t, path) != sample {
		t.Errorf("%v\n%s", err, slurp(t, path))
	}
}

func TestChange_KeepsALinkALink(t *testing.T) {
	t.Parallel()
	dir, target := t.TempDir(), write(t, sample)
	link := filepath.Join(dir, "config.json")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := config.Change(t.Context(), link, func(f *config.File) error { f.Current = "ops"; return nil }); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != target {
		t.Errorf("%s, %v", to, err)
	}
	if read(t, target).Current != "ops" {
		t.Error("the target was not written")
	}
}

func TestChange_TwoAtOnceLoseNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "config.json")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			err := config.Change(t.Context(), path, func(f *config.File) error {
				f.Set(fmt.Sprint(i), config.Context{Server: "https://a"})
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(read(t, path).Names()); n != 20 {
		t.Errorf("%d contexts of 20", n)
	}
}

func TestFile_ShowsNoSecret(t *testing.T) {
	t.Parallel()
	f := read(t, write(t, sample))
	c, _ := f.Context("dev")
	all := string(f.Redacted()) + fmt.Sprintf("%v %+v %#v %s", c, c, c, c)
	if strings.Contains(all, "hunter2") || !strings.Contains(all, `"client_secret": "[redacted]"`) {
		t.Error(all)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(sample)
	f.Add(`{"contexts":{"a":{"client_id":null}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		path := write(t, text)
		before, err := config.Read(path)
		if err != nil {
			return
		}
		if err := config.Change(t.Context(), path, func(*config.File) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(before.Redacted()), string(read(t, path).Redacted())); d != "" {
			t.Error(d)
		}
	})
}

func slurp(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func compact(t *testing.T, text string) string {
	t.Helper()
	var v any
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
