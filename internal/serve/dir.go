package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/disk"
	"github.com/keyturn/keyturn/internal/keys"
)

// Files of a data directory, beside the keys.
const (
	storeFile   = "keyturn.db"
	licenseFile = "license.json"
)

// purpose says what a data directory is opened for.
type purpose int

const (
	toServe   purpose = iota // a new directory, or one with a cluster
	toImport                 // a new directory, or one that lost its store
	toRecover                // one with a cluster
)

// dir is an opened data directory: nobody else has it.
type dir struct {
	path    string
	store   *bolt.Store
	custody *keys.Files
}

// openDir opens a data directory. The ledger key comes before the store, so that a crash in between leaves a directory
// that is still new; and the keys are read once the store is locked, so that nobody else writes to them any more.
func openDir(path string, why purpose) (*dir, error) {
	if err := disk.Dir(path, why != toRecover); err != nil {
		return nil, err
	}
	if err := ensureLedgerKey(path, why); err != nil {
		return nil, err
	}
	store, err := bolt.Open(filepath.Join(path, storeFile), bolt.Options{})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{keys.LedgerFile, keys.TokenFile, licenseFile} {
		if err := disk.Tidy(filepath.Join(path, name)); err != nil {
			return nil, errors.Join(err, store.Close())
		}
	}
	custody, err := keys.Open(path)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &dir{path, store, custody}, nil
}

// ensureLedgerKey makes a ledger key in a new directory, and never in one that had a cluster: it would be a new one.
func ensureLedgerKey(path string, why purpose) error {
	stored, err := exists(filepath.Join(path, storeFile))
	if err != nil {
		return err
	}
	if !stored && why == toRecover {
		return fmt.Errorf("there is no cluster in %s: %s is missing", path, storeFile)
	}
	licensed, err := exists(filepath.Join(path, licenseFile))
	if err != nil {
		return err
	}
	if !stored && licensed && why == toServe {
		return fmt.Errorf("%s had a cluster, and its %s is gone: restore it from a backup, or load an export into it with "+
			"`keyturn import --data-dir %s FILE`; for a new cluster take another directory", path, storeFile, path)
	}
	_, err = keys.Open(path)
	if !errors.Is(err, keys.ErrMissing) {
		return err
	}
	if stored {
		return fmt.Errorf("%s has a %s and no %s, and another key could not continue its ledger: restore %s from a backup",
			path, storeFile, keys.LedgerFile, keys.LedgerFile)
	}
	if _, err = keys.Create(path); errors.Is(err, fs.ErrExist) {
		return nil // somebody else was faster: the lock decides who goes on
	}
	return err
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
