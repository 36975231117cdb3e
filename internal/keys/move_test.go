package keys_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/keys/vault"
)

func decode(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// exported is all of a store, as an export has it.
func exported(t *testing.T, a *authority.Authority, by access.Caller) func() (authority.Line, error) {
	t.Helper()
	var lines []authority.Line
	if _, err := a.Export(t.Context(), by, start, "", 1000, func(e authority.Exported) bool {
		lines = append(lines, authority.Line{Signed: &e.Signed})
		if e.Hash != nil {
			lines = append(lines, authority.Line{Region: e.Region, Seq: e.Seq, Hash: e.Hash})
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return func() (authority.Line, error) {
		if len(lines) == 0 {
			return authority.Line{}, io.EOF
		}
		line := lines[0]
		lines = lines[1:]
		return line, nil
	}
}

// A cluster that began on one machine moves to where keys are sealed: the ledger carries the successor's key, and nothing
// has to be kept between the two runs of the import.
func TestSealed_TakesOverFromFiles(t *testing.T) {
	t.Parallel()
	files, err := keys.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	old, err := authority.Open(t.Context(), openStore(t), files, authority.Options{Private: true, Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	done := w.bootstrap(old)
	by := w.caller(old, start, done)

	custody := keys.NewSealed(w.vault)
	first, err := authority.ImportSealed(t.Context(), w.store, custody, exported(t, old, by))
	if !errors.Is(err, authority.ErrNotVouched) || !first.Anchor.Equal(files.LedgerKey()) {
		t.Fatalf("before anybody vouched: %v, %v", first.Anchor, err)
	}
	text, err := custody.Successor(t.Context(), first.Anchor)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwk.Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var parts httpapi.SealedKey
	if err := json.Unmarshal(text, &parts); err != nil {
		t.Fatal(err)
	}
	vouched := authority.NewKey{Key: key, Sealed: parts.Sealed}
	if err := old.VouchSealed(t.Context(), by, authority.Origin{At: start}, vouched, parts.Anchor); err != nil {
		t.Fatal(err)
	}

	if _, err := authority.ImportSealed(t.Context(), w.store, keys.NewSealed(new(vault.Memory)), exported(t, old, by)); !errors.Is(err, authority.ErrNotVouched) {
		t.Errorf("a custody that is not the successor: %v", err)
	}
	if _, err := authority.ImportSealed(t.Context(), w.store, keys.NewSealed(w.vault), exported(t, old, by)); err != nil {
		t.Fatalf("once vouched for: %v", err)
	}
	a := w.function(w.vault)
	if err := a.EnsureKeys(t.Context(), start); err != nil { // token keys of the old place are not ours
		t.Fatal(err)
	}
	rotated, err := a.RotateShared(t.Context(), w.caller(a, start, done), authority.Origin{At: start}, authority.RotateRequest{}, authority.Once{})
	if err != nil || rotated.Version != 2 {
		t.Errorf("the new place rotates: %d, %v", rotated.Version, err)
	}
	if err := a.CheckLedger(t.Context()); err != nil {
		t.Error(err)
	}
}
