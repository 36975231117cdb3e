package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/dynamo"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/ledger"
)

// notVouched says which command makes the old authority vouch for a key of the new one.
type notVouched struct{ key []byte }

func (e notVouched) Error() string {
	return fmt.Sprintf("the ledger does not trust a key that the functions can open: have the old authority vouch for this one and "+
		"export again, then run this command with the new file:\n  keyturn export --vouch-for '%s' > F", e.key)
}

func (notVouched) Unwrap() error { return authority.ErrNotVouched }

// loadFile loads a file, or standard input where it has no name, and says so on out.
func loadFile(ctx context.Context, store *dynamo.Store, custody *keys.Sealed, file string, out io.Writer) error {
	from := io.Reader(os.Stdin)
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		from = f
	}
	done, err := load(ctx, store, custody, from)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "imported %s: %d records, %d live secrets\n", done.Cluster, done.Records, done.Hashes)
	return err
}

// load checks an export as a whole, then loads it. Broken off, it goes on when the same export is loaded again; until it is
// done, the functions say that there is no cluster.
func load(ctx context.Context, store *dynamo.Store, custody *keys.Sealed, from io.Reader) (authority.Imported, error) {
	if err := store.Check(ctx); err != nil {
		return authority.Imported{}, err
	}
	x, err := readExport(from)
	if err != nil {
		return authority.Imported{}, err
	}
	loader := dynamo.NewLoader(store)
	done, err := authority.ImportSealed(ctx, target{loader, x}, custody, x.each())
	if errors.Is(err, authority.ErrNotVouched) {
		key, failed := custody.Successor(ctx, done.Anchor)
		if failed != nil {
			return done, fmt.Errorf("make a ledger key: %w", failed)
		}
		return done, notVouched{key}
	}
	if err != nil {
		return done, err
	}
	return done, loader.Publish(ctx)
}

// export is a whole export.
type export struct {
	lines []authority.Line
	sums  map[place][]byte // of its records: what a head says of the last one
}

type place struct {
	region string
	seq    uint64
}

func readExport(from io.Reader) (export, error) {
	x := export{sums: map[place][]byte{}}
	reader := httpapi.NewExportReader(from)
	for {
		line, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return x, nil
		}
		if err == nil && line.Signed != nil {
			err = x.note(*line.Signed)
		}
		if err != nil {
			return export{}, err
		}
		x.lines = append(x.lines, line)
	}
}

func (x export) note(signed ledger.Signed) error {
	data, err := signed.Encode()
	if err != nil {
		return err
	}
	region, seq, err := signed.Place()
	x.sums[place{region, seq}] = ledger.Sum(data)
	return err
}

// each returns the lines one after the other.
func (x export) each() func() (authority.Line, error) {
	return func() (line authority.Line, err error) {
		if len(x.lines) == 0 {
			return line, io.EOF
		}
		line, x.lines = x.lines[0], x.lines[1:]
		return line, nil
	}
}

// target is a table that counts as empty while all that it has is a beginning of the export: each record names the sum of the
// one before, so a head that is in the export stands for all before it.
type target struct {
	*dynamo.Loader
	x export
}

// Heads is authority.Store's.
func (t target) Heads(ctx context.Context) (map[string]authority.Head, error) {
	heads, err := t.Loader.Heads(ctx)
	for region, head := range heads {
		if !bytes.Equal(t.x.sums[place{region, head.Seq}], head.Sum) {
			return heads, err
		}
	}
	return nil, err
}
