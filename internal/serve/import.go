package serve

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
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
	"github.com/keyturn/keyturn/internal/ledger"
)

// draftFile is the store that an import fills before it takes its place.
const draftFile = storeFile + ".import"

// maxLine is the longest line of an export, in bytes: a record in base64, and what is around it.
const maxLine = ledger.MaxRecord*4/3 + 4096

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
func Import(ctx context.Context, path string, r io.Reader) (done authority.Imported, err error) {
	d, err := openDir(path, toImport)
	if err != nil {
		return authority.Imported{}, err
	}
	defer func() { err = errors.Join(err, d.store.Close()) }()
	if heads, err := d.store.Heads(ctx); err != nil || len(heads) > 0 {
		return authority.Imported{}, errors.Join(err, fmt.Errorf("%s has a cluster: %w", path, authority.ErrNotEmpty))
	}
	draft := filepath.Join(path, draftFile)
	if err := os.RemoveAll(draft); err != nil { // of an import that was broken off
		return authority.Imported{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(draft)) }()
	done, err = fill(ctx, draft, d.custody.LedgerKey(), r)
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
func fill(ctx context.Context, path string, key jwk.Key, r io.Reader) (done authority.Imported, err error) {
	store, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		return authority.Imported{}, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	lines := exportLines{r: bufio.NewReaderSize(r, maxLine)}
	done, err = authority.Import(ctx, store, key, lines.next)
	if errors.Is(err, authority.ErrNotVouched) {
		return done, &NotVouchedError{key}
	}
	return done, err
}

// exportLines reads an export line by line.
type exportLines struct {
	r    *bufio.Reader
	line int
	end  bool // the last line that was read says that there is no more
}

// next returns the next record or hash, and io.EOF after the line that ends an export: what was cut off is no export,
// because what is missing at its end may be a revocation.
func (x *exportLines) next() (authority.Line, error) {
	for {
		text, err := x.r.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(text) == 0 {
			if !x.end {
				return authority.Line{}, errors.New("the export is not complete: its last line has to be {\"next_cursor\":null}")
			}
			return authority.Line{}, io.EOF
		}
		x.line++
		if err != nil && !errors.Is(err, io.EOF) {
			return authority.Line{}, x.wrong(err)
		}
		var w httpapi.ExportLine
		if err := json.Unmarshal(text, &w); err != nil {
			return authority.Line{}, x.wrong(errors.New("it is not a JSON object of an export"))
		}
		if w.Record == nil && w.Hash == nil {
			if w.NextCursor == nil {
				return authority.Line{}, x.wrong(errors.New("it is neither a record nor a hash nor a cursor"))
			}
			x.end = string(w.NextCursor) == "null"
			continue
		}
		x.end = false
		line, err := importLine(w)
		if err != nil {
			return authority.Line{}, x.wrong(err)
		}
		return line, nil
	}
}

func (x *exportLines) wrong(err error) error {
	return fmt.Errorf("line %d of the export: %w", x.line, err)
}

func importLine(w httpapi.ExportLine) (authority.Line, error) {
	decode := base64.RawURLEncoding.DecodeString
	if w.Record == nil {
		hash, err := decode(w.Hash.Hash)
		return authority.Line{Region: w.Hash.Region, Seq: w.Hash.Seq, Hash: hash}, err
	}
	payload, err := decode(w.Record.Payload)
	if err != nil {
		return authority.Line{}, err
	}
	signature, err := decode(w.Record.Signature)
	return authority.Line{Signed: &ledger.Signed{Payload: payload, KeyID: w.Record.KeyID, Signature: signature}}, err
}
