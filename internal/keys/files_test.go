package keys_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/disk"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/token"
)

func create(t testing.TB) (string, *keys.Files) {
	t.Helper()
	dir := t.TempDir()
	f, err := keys.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, f
}

func open(t testing.TB, dir string) *keys.Files {
	t.Helper()
	f, err := keys.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// newToken makes a new key each time.
func newToken(f *keys.Files, alg string) (authority.NewKey, error) {
	return f.NewToken(context.Background(), alg, func(string) bool { return true })
}

// tokens are the thumbprints of the token keys on disk, each of which can be had.
func tokens(t testing.TB, dir string) (list []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, keys.TokenFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var stored struct{ Keys []json.RawMessage }
	if err == nil {
		err = json.Unmarshal(text, &stored)
	}
	if err != nil {
		t.Fatal(err)
	}
	f := open(t, dir)
	for _, text := range stored.Keys {
		private, err := jwk.ParsePrivate(text)
		if err != nil {
			t.Fatal(err)
		}
		public, err := jwk.New(private.Public())
		if err != nil {
			t.Fatal(err)
		}
		if s, err := f.Token(t.Context(), nil, public.ID()); err != nil || !s.Key().Equal(public) {
			t.Errorf("%s: %v, %v", public, s, err)
		}
		list = append(list, public.ID())
	}
	return list
}

func anchor(t testing.TB, f *keys.Files) jwk.Key {
	t.Helper()
	k, err := f.Anchor(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func signer(t testing.TB, f *keys.Files) ledger.Signer {
	t.Helper()
	s, err := f.Ledger(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFiles_LedgerKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := keys.Open(dir); !errors.Is(err, keys.ErrMissing) || !strings.Contains(err.Error(), filepath.Join(dir, keys.LedgerFile)) {
		t.Fatalf("an empty folder: %v", err)
	}
	f, err := keys.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(tokens(t, dir)) != 0 || !anchor(t, f).Equal(f.LedgerKey()) || f.LedgerKey().Alg() != "EdDSA" {
		t.Errorf("a new one has %d token keys, anchor %v", len(tokens(t, dir)), anchor(t, f))
	}
	again := open(t, dir)
	if again.LedgerKey().ID() != f.LedgerKey().ID() {
		t.Error("another key")
	}
	data, err := signer(t, again).Sign(ledger.Record{Region: "a", Seq: 1, Subject: "x", Kind: "test"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.NewVerifier(f.LedgerKey()).Open(data); err != nil {
		t.Errorf("its signature: %v", err)
	}
	// A ledger key is never replaced: what it signed would be lost.
	if _, err := keys.Create(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second key: %v", err)
	}
	if open(t, dir).LedgerKey().ID() != f.LedgerKey().ID() {
		t.Error("it was replaced")
	}
}

func TestFiles_Anchor(t *testing.T) {
	t.Parallel()
	dir, f := create(t)
	_, founder := create(t)
	if err := f.SetAnchor(founder.LedgerKey()); err != nil {
		t.Fatal(err)
	}
	for _, one := range []*keys.Files{f, open(t, dir)} {
		if !anchor(t, one).Equal(founder.LedgerKey()) || one.LedgerKey().ID() != f.LedgerKey().ID() {
			t.Error("the anchor or the key is another one")
		}
	}
}

func TestFiles_TokenKeys(t *testing.T) {
	t.Parallel()
	dir, f := create(t)
	var want []string
	for _, alg := range []string{"ES256", "EdDSA", "RS256", "ES256"} {
		k, err := newToken(f, alg)
		if err != nil || k.Key.Alg() != alg || k.Sealed != nil {
			t.Fatalf("%s: %v, %v", alg, k, err)
		}
		want = append(want, k.Key.ID())
		if got := tokens(t, dir); strings.Join(got, " ") != strings.Join(want, " ") { // on disk before it is returned
			t.Errorf("keys %v, want %v", got, want)
		}
	}
	for _, keyID := range want {
		s, err := open(t, dir).Token(t.Context(), nil, keyID)
		if err != nil {
			t.Fatal(err)
		}
		text, err := s.Sign(token.Claims{Subject: "me"})
		if err != nil {
			t.Fatal(err)
		}
		same, err := f.Token(t.Context(), nil, keyID)
		if err != nil {
			t.Fatal(err)
		}
		public := token.NewKeySet([]jwk.Key{same.Key()})
		if c, _, err := public.Verify(text); err != nil || c.Subject != "me" {
			t.Errorf("%s: %v", s.Key().Alg(), err)
		}
	}
	if s, err := f.Token(t.Context(), nil, "unknown"); !errors.Is(err, authority.ErrNoKey) {
		t.Errorf("a key of somebody else: %v, %v", s, err)
	}
	spare, err := f.NewToken(t.Context(), "EdDSA", func(keyID string) bool { return keyID != want[1] })
	if err != nil || spare.Key.ID() != want[1] {
		t.Errorf("a key that was never published is not used: %v, %v", spare, err)
	}
	for _, bad := range []string{"", "none", "HS256", "es256", strings.Repeat("x", 1000)} {
		if _, err := newToken(f, bad); err == nil || len(err.Error()) > 200 {
			t.Errorf("%.10q: %v", bad, err)
		}
	}
}

func TestFiles_TokenKeysFromManyGoroutines(t *testing.T) {
	t.Parallel()
	dir, f := create(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := newToken(f, "EdDSA"); err != nil {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	if n := len(tokens(t, dir)); n != 8 {
		t.Errorf("%d keys on disk", n)
	}
}

func TestFiles_ArePrivate(t *testing.T) {
	t.Parallel()
	dir, f := create(t)
	if _, err := newToken(f, "ES256"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{keys.LedgerFile, keys.TokenFile} {
		path := filepath.Join(dir, name)
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
		for _, mode := range []fs.FileMode{0o640, 0o604, 0o644, 0o666} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			if _, err := keys.Open(dir); !errors.Is(err, disk.ErrOpen) || !strings.Contains(err.Error(), "chmod 600 "+path) {
				t.Errorf("%s with %#o: %v", name, mode, err)
			}
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open(t, dir)
}

// What a crash leaves beside the files changes nothing, and what it leaves of them is the old or the new.
func TestFiles_AfterACrash(t *testing.T) {
	t.Parallel()
	dir, f := create(t)
	if _, err := newToken(f, "ES256"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".ledger.key.1", ".token.key.2", ".token.key.3"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(`{"keys":[{"kty"`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := open(t, dir)
	if _, err := newToken(again, "EdDSA"); err != nil || len(tokens(t, dir)) != 2 {
		t.Errorf("%v", err)
	}
}

// material are the values of a JWK that make it private.
func material(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, inner := range v {
				if s, ok := inner.(string); ok && strings.Contains(" d p q dp dq qi ", " "+name+" ") {
					found = append(found, s)
				}
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	walk(v)
	return found
}

// A damaged file is refused, and the refusal repeats nothing of it.
func TestFiles_Damaged(t *testing.T) {
	t.Parallel()
	dir, f := create(t)
	for _, alg := range []string{"ES256", "EdDSA"} {
		if _, err := newToken(f, alg); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{keys.LedgerFile, keys.TokenFile} {
		path := filepath.Join(dir, name)
		private := material(t, path)
		if len(private) == 0 {
			t.Fatal("this test looks for nothing")
		}
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		refused := 0
		check := func(content []byte) {
			t.Helper()
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			one, err := keys.Open(dir)
			if err == nil { // then it is a key all the same: another name, a member that nobody reads
				one.LedgerKey()
				return
			}
			refused++
			if one != nil {
				t.Error("an error and a result")
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("it does not say which file: %v", err)
			}
			for _, p := range private {
				for i := 0; i+12 <= len(p); i += 6 {
					if strings.Contains(err.Error(), p[i:i+12]) {
						t.Errorf("the error repeats key material: %d bytes of it", 12)
					}
				}
			}
		}
		for i := range good {
			bent := append([]byte(nil), good...)
			bent[i] ^= 4
			check(bent)
		}
		for i := 0; i < len(good); i += 3 {
			check(good[:i])
		}
		check(append(append([]byte(nil), good...), good...))
		check([]byte(`{"key":null,"keys":[null]}`))
		check([]byte(`{"key":{},"keys":[{}]}`))
		check([]byte(`[]`))
		if refused < len(good) {
			t.Errorf("%s: only %d of %d were refused", name, refused, len(good)+len(good)/3)
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if open(t, dir).LedgerKey().ID() != f.LedgerKey().ID() {
		t.Error("restored, and another key")
	}
}

func TestFiles_AKeyThatIsNoLedgerKey(t *testing.T) {
	t.Parallel()
	dir, f := create(t)
	if _, err := newToken(f, "ES256"); err != nil {
		t.Fatal(err)
	}
	var stored struct{ Keys []json.RawMessage }
	text, err := os.ReadFile(filepath.Join(dir, keys.TokenFile))
	if err = errors.Join(err, json.Unmarshal(text, &stored)); err != nil {
		t.Fatal(err)
	}
	content, err := json.Marshal(map[string]json.RawMessage{"key": stored.Keys[0]})
	if err = errors.Join(err, os.WriteFile(filepath.Join(dir, keys.LedgerFile), content, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(dir); err == nil || errors.Is(err, keys.ErrMissing) {
		t.Errorf("a P-256 key: %v", err)
	}
}

// NewToken reads the file before it adds to it: what it cannot read it does not replace.
func TestFiles_NewTokenKeepsADamagedFile(t *testing.T) {
	t.Parallel()
	dir, f := create(t)
	path := filepath.Join(dir, keys.TokenFile)
	for name, spoil := range map[string]func() error{
		"Damaged": func() error { return os.WriteFile(path, []byte(`{"keys":[`), 0o600) },
		"Open": func() error {
			return errors.Join(os.WriteFile(path, []byte(`{"keys":[]}`), 0o600), os.Chmod(path, 0o644))
		},
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(path)
		if _, err := newToken(f, "ES256"); err == nil {
			t.Errorf("%s: a key was made", name)
		}
		if after, _ := os.ReadFile(path); string(after) != string(before) {
			t.Errorf("%s: the file was replaced", name)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	dir, made := create(f)
	if _, err := newToken(made, "EdDSA"); err != nil {
		f.Fatal(err)
	}
	var good [2][]byte
	for i, name := range []string{keys.LedgerFile, keys.TokenFile} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			f.Fatal(err)
		}
		good[i] = text
	}
	f.Add(good[0], good[1])
	f.Add([]byte(`{"key":{"kty":"OKP","crv":"Ed25519","x":"","d":""}}`), []byte(`{"keys":[null,{}]}`))
	f.Add([]byte(`{"key":"","anchor":{"kty":"RSA"}}`), []byte(nil))
	f.Fuzz(func(t *testing.T, ledgerFile, tokenFile []byte) {
		dir := t.TempDir()
		for name, content := range map[string][]byte{keys.LedgerFile: ledgerFile, keys.TokenFile: tokenFile} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		one, err := keys.Open(dir)
		if err != nil {
			if len(err.Error()) > 1000 || one != nil {
				t.Errorf("%v", err)
			}
			return
		}
		anchor(t, one)
		if _, err := signer(t, one).Sign(ledger.Record{Region: "a", Seq: 1, Subject: "x", Kind: "test"}, nil); err != nil {
			t.Errorf("a ledger key that cannot sign: %v", err)
		}
		for _, keyID := range tokens(t, dir) {
			s, err := one.Token(t.Context(), nil, keyID)
			if err == nil {
				_, err = s.Sign(token.Claims{})
			}
			if err != nil {
				t.Errorf("a key that cannot sign: %v", err)
			}
		}
	})
}
