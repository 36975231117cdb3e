package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/disk"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/jwk"
)

// draftFile is the store that an import fills before it takes its place.
const draftFile = storeFile + ".import"

// A NotVouchedError says that the exported ledger does not trust the ledger key of the data directory yet. The key stays,
// so that a second import finds it.
type NotVouchedError struct{ Key jwk.Key }

// Error says which command makes the old authority vouch for the key.
func (e *NotVouchedError) Error() string {
	text, _ := e.Key.MarshalJSON() // strings only: it cannot fail
	return fmt.Sprintf("the ledger does not trust the ledger key of this data directory yet: have the old authority vouch for it and "+
		"export again, then run this command with the new file:\n  keyturn export --vouch-for '%s' > F", text)
}

// Unwrap makes the error authority.ErrNotVouched.
func (e *NotVouchedError) Unwrap() error { return authority.ErrNotVouched }

// Import loads an export (JSON lines, as GET /v1/export answers) into a data directory that has no cluster; it is made where
// it is missing. All of the export is checked and stored before any of it counts, so after an error or a crash the same
// command can be run again. It returns a *NotVouchedError, authority.ErrNotEmpty, bolt.ErrLocked while somebody serves the
// directory, or what is wrong with the export.
func Import(ctx context.Context, path string, r io.Reader) (authority.Imported, error) {
	return load(ctx, path, func(*dir) (lines, error) { return httpapi.NewExportReader(r).Next, nil })
}

// lines returns the next line of an export, and io.EOF behind the last.
type lines func() (authority.Line, error)

// load imports what from returns, once the directory is locked.
func load(ctx context.Context, path string, from func(*dir) (lines, error)) (done authority.Imported, err error) {
	d, err := openDir(path, toImport)
	if err != nil {
		return authority.Imported{}, err
	}
	defer func() { err = errors.Join(err, d.store.Close()) }()
	if heads, err := d.store.Heads(ctx); err != nil || len(heads) > 0 {
		return authority.Imported{}, errors.Join(err, fmt.Errorf("%s has a cluster: %w", path, authority.ErrNotEmpty))
	}
	next, err := from(d)
	if err != nil {
		return authority.Imported{}, err
	}
	draft := filepath.Join(path, draftFile)
	if err := os.RemoveAll(draft); err != nil { // of an import that was broken off
		return authority.Imported{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(draft)) }()
	done, err = fill(ctx, draft, d.custody.LedgerKey(), next)
	if err != nil {
		return authority.Imported{}, err
	}
	if err := d.custody.SetAnchor(done.Anchor); err != nil {
		return authority.Imported{}, err
	}
	if err := os.Rename(draft, filepath.Join(path, storeFile)); err != nil {
		return authority.Imported{}, err
	}
	return done, disk.SyncDir(path)
}

// fill makes a store with what an export holds.
func fill(ctx context.Context, path string, key jwk.Key, next lines) (done authority.Imported, err error) {
	store, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		return authority.Imported{}, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	done, err = authority.Import(ctx, store, key, next)
	if errors.Is(err, authority.ErrNotVouched) {
		return done, &NotVouchedError{key}
	}
	return done, err
}
