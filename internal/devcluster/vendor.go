package devcluster

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/keyturn/keyturn/internal/disk"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/license"
)

// Files of a cluster's directory, beside the config and the authority's data directory.
const (
	vendorFile  = "vendor.key"
	licenseFile = "license.json"
)

// What a cluster for trying things out is licensed for.
const (
	licenseLife = 10 * 365 * 24 * time.Hour
	maxNodes    = 100
	maxServices = 100
)

// vendor signs the license of one cluster.
type vendor struct {
	key     jwk.Key
	private crypto.Signer
}

// openVendor reads the vendor's key, or makes one.
func openVendor(dir string) (vendor, error) {
	path := filepath.Join(dir, vendorFile)
	text, err := disk.ReadPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := newVendor(path); err != nil {
			return vendor{}, err
		}
		text, err = disk.ReadPrivate(path)
	}
	if err != nil {
		return vendor{}, err
	}
	private, err := jwk.ParsePrivate(text)
	if err != nil {
		return vendor{}, fmt.Errorf("%s: %w", path, err)
	}
	key, err := jwk.New(private.Public())
	return vendor{key, private}, err
}

func newVendor(path string) error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	text, err := jwk.MarshalPrivate(private)
	if err != nil {
		return err
	}
	if err := disk.WriteNew(path, text); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// license returns the license in dir, or issues one for a new customer.
func (v vendor) license(dir string, at time.Time) ([]byte, error) {
	path := filepath.Join(dir, licenseFile)
	text, err := disk.ReadPrivate(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	issued, err := license.Issue(v.private, license.License{
		LicenseID: id.New(id.License, at), CustomerID: id.New(id.Customer, at),
		IssuedAt: at, ExpiresAt: at.Add(licenseLife), MaxNodes: maxNodes, MaxServices: maxServices,
	})
	if err != nil {
		return nil, err
	}
	if text, err = issued.MarshalJSON(); err != nil {
		return nil, err
	}
	return text, disk.Write(path, text)
}
