package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/disk"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/replica"
)

// Errors of Export.
var (
	// ErrNotJoined says that a data directory belongs to no sidecar that has joined a cluster.
	ErrNotJoined = errors.New("no sidecar has joined a cluster from here")
	// ErrNoCopy says that a sidecar has no copy of the ledgers yet.
	ErrNoCopy = errors.New("there is no copy of the ledgers yet")
)

// Export gives visit the copy of the ledgers in a data directory, page by page: from the sidecar that runs over it, or from
// its file where none does. It returns ErrNotJoined, ErrNoCopy, bolt.ErrLocked where a sidecar has the file and does not
// answer, bolt.ErrDamaged, an error of package httpapi, or visit's.
func Export(ctx context.Context, dir string, now func() time.Time, visit func(authority.LedgerPage) error) error {
	if !Joined(dir) {
		return fmt.Errorf("%w: %s", ErrNotJoined, dir)
	}
	begun := false
	visiting := func(p authority.LedgerPage) error {
		begun = true
		return visit(p)
	}
	r, err := Find(dir)
	if err == nil {
		err = r.export(ctx, visiting)
	}
	if err == nil || begun {
		return err
	}
	// It was stopped, or it was killed and somebody else answers at its address.
	fromFile := exportFile(ctx, dir, now, visiting)
	if errors.Is(fromFile, bolt.ErrLocked) && !errors.Is(err, ErrNotRunning) {
		return err
	}
	return fromFile
}

// export reads the copy of a running sidecar, with its control token.
func (r *Remote) export(ctx context.Context, visit func(authority.LedgerPage) error) error {
	client, err := httpapi.NewClient(r.server, httpapi.ClientOptions{
		Transport: r.transport, UserAgent: "keyturn-sidecar", Timeout: 30 * time.Second,
	})
	if err != nil {
		return err
	}
	return each(ctx, visit, func(ctx context.Context, after authority.Cursor) (authority.LedgerPage, error) {
		p, err := client.Ledger(ctx, r.control, after.String(), authority.MaxLedgerPage, 0)
		if errors.Is(err, httpapi.ErrUnreachable) {
			err = r.unanswered(err)
		}
		return p, err
	})
}

// exportFile reads the copy in the file of a sidecar that does not run.
func exportFile(ctx context.Context, dir string, now func() time.Time, visit func(authority.LedgerPage) error) (err error) {
	text, err := disk.ReadPrivate(filepath.Join(dir, peerFile))
	if err != nil {
		return err
	}
	var who joined
	if err := json.Unmarshal(text, &who); err != nil || who.Anchor.IsZero() {
		return fmt.Errorf("%s is damaged: restore it from a backup", filepath.Join(dir, peerFile))
	}
	path := filepath.Join(dir, replicaFile)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is missing", ErrNoCopy, path)
	}
	store, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		return err
	}
	r, err := replica.Open(ctx, store, who.Anchor, replica.Options{Now: now})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return each(ctx, visit, func(ctx context.Context, after authority.Cursor) (authority.LedgerPage, error) {
		return r.Page(ctx, now().UTC().Truncate(time.Second), after, authority.MaxLedgerPage)
	})
}

// each visits all pages; there has to be something on them.
func each(
	ctx context.Context, visit func(authority.LedgerPage) error,
	read func(ctx context.Context, after authority.Cursor) (authority.LedgerPage, error),
) error {
	err := httpapi.ReadLedgers(ctx, read, func(after authority.Cursor, p authority.LedgerPage) (authority.Cursor, error) {
		if len(after) == 0 && len(p.Records) == 0 {
			return nil, ErrNoCopy
		}
		if err := visit(p); err != nil {
			return nil, err
		}
		return httpapi.Advance(after, p)
	})
	return err
}
