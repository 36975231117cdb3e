package authority

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/license"
)

// What an authority that is its own vendor licenses itself for.
const (
	ownLicenseLife = 100 * 365 * 24 * time.Hour
	ownLicenseSize = math.MaxInt32
)

// ownLicense is the license that an authority without vendor keys gives itself, signed with its ledger key.
func (a *Authority) ownLicense(ctx context.Context, at time.Time) (license.License, error) {
	signer, err := a.ledgerKey(ctx)
	if err != nil {
		return license.License{}, err
	}
	return license.Issue(signer.Crypto(), license.License{
		LicenseID: id.New(id.License, at), CustomerID: id.New(id.Customer, at),
		IssuedAt: at, ExpiresAt: at.Add(ownLicenseLife), MaxNodes: ownLicenseSize, MaxServices: ownLicenseSize,
	})
}

// vendors are the keys whose licenses count here.
func (a *Authority) vendors(ctx context.Context) ([]jwk.Key, error) {
	if len(a.o.VendorKeys) > 0 {
		return a.o.VendorKeys, nil
	}
	signer, err := a.ledgerKey(ctx)
	if err != nil {
		return nil, err
	}
	return []jwk.Key{signer.Key()}, nil
}

// checkLicense reads a license that could found or extend a cluster. It returns ErrLicense or ErrLicenseExpired.
func (a *Authority) checkLicense(ctx context.Context, at time.Time, text []byte) (license.License, error) {
	vendors, err := a.vendors(ctx)
	if err != nil {
		return license.License{}, err
	}
	l, err := license.Parse(text)
	if err == nil {
		err = l.Verify(vendors)
	}
	switch {
	case err != nil:
		return license.License{}, fmt.Errorf("%w: %w", ErrLicense, err)
	case a.o.LicenseID != "" && l.LicenseID != a.o.LicenseID:
		return license.License{}, fmt.Errorf("%w: it is %s, this authority takes only %s", ErrLicense, l.LicenseID, a.o.LicenseID)
	case l.IssuedAt.After(at.Add(access.Leeway)):
		return license.License{}, fmt.Errorf("%w: it is issued in the future, on %s", ErrLicense, l.IssuedAt.Format(time.RFC3339))
	case l.Expired(at):
		return license.License{}, fmt.Errorf("%w: it ended on %s", ErrLicenseExpired, l.ExpiresAt.Format(time.RFC3339))
	}
	return l, nil
}

// License returns the license that holds now. It returns access.ErrNotBootstrapped.
func (a *Authority) License(ctx context.Context) (license.License, error) {
	c, err := a.Cluster(ctx)
	if err == nil && c.License == nil { // in another region it may have arrived since
		a.clusterWritten.Add(1)
		c, err = a.Cluster(ctx)
	}
	if err != nil {
		return license.License{}, err
	}
	if c.License == nil {
		return license.License{}, unavailable("read the license", errors.New("it has not arrived yet"))
	}
	return license.Parse(c.License)
}

// ApplyLicense replaces the license by one of the same customer that is not older. It returns ErrLicense or
// ErrLicenseExpired. Applying the one that holds changes nothing.
func (a *Authority) ApplyLicense(ctx context.Context, o Origin, text []byte) (license.License, error) {
	c, err := a.Cluster(ctx)
	if err != nil {
		return license.License{}, err
	}
	renewed, err := a.checkLicense(ctx, o.At, text)
	if err != nil {
		return license.License{}, err
	}
	stored, err := renewed.MarshalJSON()
	if err != nil {
		return license.License{}, err
	}
	return renewed, a.commit(ctx, o, change{
		touches: []string{c.ID.String()},
		decide: func(ctx context.Context, d *draft) error {
			current, err := a.License(ctx)
			if err != nil {
				return err
			}
			if err := renewed.Renews(current); err != nil {
				return fmt.Errorf("%w: %w", ErrLicense, err)
			}
			if renewed.Equal(current) {
				return nil
			}
			d.add(fact{kind: ledger.KindLicense, subject: c.ID, body: ledger.LicenseBody{License: stored}})
			return nil
		},
	})
}
