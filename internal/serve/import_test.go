package serve_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/serve"
)

// export is all of it, page by page, as keyturn export writes it down.
func export(t *testing.T, h *host, bearer string) []byte {
	t.Helper()
	var all []byte
	for after := ""; ; {
		a := must(h.Call(t.Context(), httpapi.Request{Path: "/v1/export", Bearer: bearer, Query: url.Values{"after": {after}, "limit": {"3"}}}))(t)
		all = append(all, a.Body...)
		lines := bytes.Split(bytes.TrimSpace(a.Body), []byte("\n"))
		var last struct {
			NextCursor *string `json:"next_cursor"`
		}
		if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil {
			t.Fatal(err)
		}
		if last.NextCursor == nil {
			return all
		}
		after = *last.NextCursor
	}
}

// old is a running authority that something is to be moved from.
type old struct {
	*host
	boot    httpapi.Bootstrapped
	rotated httpapi.Rotation
	dead    httpapi.Created
	bearer  string
}

func newOld(t *testing.T) old {
	t.Helper()
	o := old{host: run(t, config(t))}
	o.boot = bootstrap(t, o.host)
	o.bearer = token(t, o.host, o.boot.ClientID, o.boot.ClientSecret).AccessToken
	o.dead = do[httpapi.Created](t, o.host, httpapi.Request{Method: "POST", Path: "/v1/credentials", Bearer: o.bearer, Body: httpapi.CreateRequest{Name: "dead"}})
	do[struct{}](t, o.host, httpapi.Request{Method: "DELETE", Path: "/v1/credentials/" + o.dead.ClientID, Bearer: o.bearer})
	o.rotated = rotate(t, o.host, o.bearer, 3600)
	return o
}

// load imports into a directory, and vouches for its key where that is asked for.
func load(t *testing.T, o old, dir string) authority.Imported {
	t.Helper()
	_, err := serve.Import(t.Context(), dir, bytes.NewReader(export(t, o.host, o.bearer)))
	var not *serve.NotVouchedError
	if !errors.As(err, &not) {
		t.Fatalf("a key that nobody vouched for: %v", err)
	}
	command := regexp.MustCompile(`keyturn export --vouch-for '(\{[^']*\})' > F`).FindStringSubmatch(err.Error())
	if command == nil {
		t.Fatalf("%v does not say what to do", err)
	}
	do[struct{}](t, o.host, httpapi.Request{
		Method: "POST", Path: "/v1/ledger-keys", Bearer: o.bearer, Body: httpapi.VouchRequest{PublicKey: json.RawMessage(command[1])},
	})
	return must(serve.Import(t.Context(), dir, bytes.NewReader(export(t, o.host, o.bearer))))(t)
}

func TestImport_TheNewStoreTakesOver(t *testing.T) {
	t.Parallel()
	o := newOld(t)
	c := config(t)
	done := load(t, o, c.DataDir)
	if done.Cluster.String() != o.boot.ClusterID || done.Hashes != 2 || done.Records < 10 {
		t.Errorf("%+v", done)
	}
	if diff := cmp.Diff([]string{"keyturn.db", "ledger.key"}, names(t, c.DataDir)); diff != "" {
		t.Error(diff)
	}
	if err := o.stop(); err != nil {
		t.Fatal(err)
	}
	c.Listen = address(t, o.host)
	h := run(t, c)
	fresh := token(t, h, o.rotated.ClientID, o.rotated.ClientSecret).AccessToken
	if superseded := token(t, h, o.boot.ClientID, o.boot.ClientSecret); superseded.SecretVersionCurrent != 2 {
		t.Errorf("%+v", superseded.SecretVersionCurrent)
	}
	if e := refused(t, h, o.dead.ClientID, o.dead.ClientSecret); e.Status != 401 {
		t.Error(e)
	}
	do[httpapi.CredentialPage](t, h, httpapi.Request{Path: "/v1/credentials", Bearer: o.bearer}) // a token of the old one
	third := rotate(t, h, fresh, 0)
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	h = run(t, c) // and its own records are trusted when it starts again
	token(t, h, third.ClientID, third.ClientSecret)
}

func TestImport_OnlyIntoAnEmptyStore(t *testing.T) {
	t.Parallel()
	o := newOld(t)
	c := config(t)
	load(t, o, c.DataDir)
	before := must(os.ReadFile(filepath.Join(c.DataDir, "keyturn.db")))(t)
	_, err := serve.Import(t.Context(), c.DataDir, bytes.NewReader(export(t, o.host, o.bearer)))
	if !errors.Is(err, authority.ErrNotEmpty) {
		t.Errorf("again: %v", err)
	}
	if after := must(os.ReadFile(filepath.Join(c.DataDir, "keyturn.db")))(t); !bytes.Equal(before, after) {
		t.Error("the store changed")
	}
	if _, err := serve.Import(t.Context(), o.config.DataDir, strings.NewReader("")); !errors.Is(err, bolt.ErrLocked) {
		t.Errorf("while it is served: %v", err)
	}
}

func TestImport_IntoADirectoryThatLostItsStore(t *testing.T) {
	t.Parallel()
	o := newOld(t)
	all := export(t, o.host, o.bearer)
	if err := o.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(o.config.DataDir, "keyturn.db")); err != nil {
		t.Fatal(err)
	}
	must(serve.Import(t.Context(), o.config.DataDir, bytes.NewReader(all)))(t)
	h := run(t, o.config)
	token(t, h, o.rotated.ClientID, o.rotated.ClientSecret)
}

func TestImport_RefusesWhatIsNotAWholeExport(t *testing.T) {
	t.Parallel()
	o := newOld(t)
	c := config(t)
	load(t, o, c.DataDir)
	key := must(os.ReadFile(filepath.Join(c.DataDir, "ledger.key")))(t) // one that the ledger trusts
	all := export(t, o.host, o.bearer)
	lines := bytes.SplitAfter(bytes.TrimSpace(all), []byte("\n"))
	into := func(t *testing.T) string {
		t.Helper()
		dir := t.TempDir()
		if err := errors.Join(os.Chmod(dir, 0o700), os.WriteFile(filepath.Join(dir, "ledger.key"), key, 0o600)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	must(serve.Import(t.Context(), into(t), bytes.NewReader(all)))(t) // whole, it is taken
	join := func(lines ...[]byte) []byte { return bytes.Join(lines, nil) }
	for name, text := range map[string][]byte{
		"Empty":          nil,
		"NoEnd":          join(lines[:len(lines)-1]...),
		"CutInALine":     all[:len(all)-40],
		"FirstPageOnly":  all[:bytes.Index(all, []byte(`{"next_cursor"`))+bytes.IndexByte(all[bytes.Index(all, []byte(`{"next_cursor"`)):], '\n')+1],
		"Hole":           join(append(append([][]byte{}, lines[:2]...), lines[3:]...)...),
		"NoFounder":      join(lines[1:]...),
		"NotJSON":        append([]byte("hello\n"), all...),
		"OtherObject":    append([]byte("{}\n"), all...),
		"AfterTheEnd":    append(append([]byte{}, all...), append([]byte("\n"), lines[0]...)...),
		"AlteredPayload": bytes.Replace(all, []byte(`"payload":"eyJmb3JtYXQiOjEs`), []byte(`"payload":"eyJmb3JtYXQiOjIs`), 1),
		"LongLine":       append(append(bytes.Repeat([]byte(" "), 1<<20), '\n'), all...),
		"LiveHash":       bytes.Replace(all, []byte(`"hash":"`), []byte(`"hash":"A`), 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := into(t)
			if _, err := serve.Import(t.Context(), dir, bytes.NewReader(text)); err == nil || errors.Is(err, authority.ErrNotVouched) {
				t.Fatalf("it was not refused for what it is: %v", err)
			} else if strings.Contains(err.Error(), "hello") {
				t.Errorf("%v repeats the input", err)
			}
			if diff := cmp.Diff([]string{"keyturn.db", "ledger.key"}, names(t, dir)); diff != "" {
				t.Error(diff)
			}
			s := must(serve.Open(t.Context(), serve.Config{DataDir: dir, Listen: "127.0.0.1:0"}))(t) // nothing of it counts
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestReadExport_EndsWhereItSaysSo(t *testing.T) {
	t.Parallel()
	const hash, more, end = `{"hash":{"region":"local","seq":1,"hash":"AAAA"}}` + "\n", `{"next_cursor":"local:1"}` + "\n", `{"next_cursor":null}` + "\n"
	for text, want := range map[string]int{
		end: 0, hash + end: 1, hash + more + hash + end: 2, hash + strings.TrimSpace(end): 1,
		hash: -1, hash + more: -1, end + hash: -1, "": -1,
	} {
		n, err := serve.ReadExport(strings.NewReader(text))
		if err != nil {
			n = -1
		}
		if n != want {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
}

func FuzzReadExport(f *testing.F) {
	f.Add([]byte(`{"next_cursor":null}`))
	f.Add([]byte(`{"record":{"payload":"e30","key_id":"AAAA","signature":"AAAA"}}` + "\n" + `{"next_cursor":"local:1"}` + "\n" +
		`{"hash":{"region":"local","seq":1,"hash":"AAAA"}}` + "\n" + `{"next_cursor":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := serve.ReadExport(bytes.NewReader(text))
		last := bytes.TrimSpace(text[bytes.LastIndexByte(bytes.TrimRight(text, "\n"), '\n')+1:])
		if err == nil && (n > bytes.Count(text, []byte("\n")) || !bytes.Contains(last, []byte("next_cursor"))) {
			t.Errorf("%d lines, ended by %q", n, last)
		}
	})
}

func TestRecover_MintsASecretWithoutAnyOther(t *testing.T) {
	t.Parallel()
	h := run(t, config(t))
	b := bootstrap(t, h)
	now := time.Now()
	if _, err := serve.Recover(t.Context(), h.config.DataDir, "lost", now); !errors.Is(err, bolt.ErrLocked) {
		t.Fatalf("while it is served: %v", err)
	}
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := serve.Recover(t.Context(), h.config.DataDir, strings.Repeat("long ", 1000), now); err == nil {
		t.Error("a reason of any length is taken")
	}
	done := must(serve.Recover(t.Context(), h.config.DataDir, "lost", now))(t)
	if done.Version != 2 || len(done.Previous) != 1 {
		t.Errorf("%+v", done)
	}
	h = run(t, h.config)
	bearer := token(t, h, done.ClientID, done.Secret.Reveal()).AccessToken
	if superseded := token(t, h, b.ClientID, b.ClientSecret); superseded.SecretExpiresAt == nil {
		t.Error("the secret before is not superseded")
	}
	page := do[httpapi.AuditPage](t, h, httpapi.Request{Path: "/v1/audit", Bearer: bearer})
	found := false
	for _, e := range page.Events {
		found = found || e.Action == "cluster.recover" && *e.Reason == "lost" && e.Actor == nil && *e.Source == "local" && e.RequestID != nil
	}
	if !found {
		t.Errorf("the trail does not tell: %+v", page.Events)
	}
}

func TestRecover_RefusesADirectoryWithoutACluster(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "missing")} {
		if _, err := serve.Recover(t.Context(), path, "", time.Now()); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("it left %v behind", left)
	}
	c := config(t)
	if err := must(serve.Open(t.Context(), c))(t).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := serve.Recover(t.Context(), c.DataDir, "", time.Now()); err == nil || !strings.Contains(err.Error(), "not bootstrapped") {
		t.Error(err)
	}
}
