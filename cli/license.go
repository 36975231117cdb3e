package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/keyturn/keyturn/cli/internal/safefile"
	"github.com/keyturn/keyturn/internal/duration"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/license"
)

// licenses are the verbs of the noun.
type licenses struct {
	Keygen KeygenCmd        `cmd:"" help:"Make a vendor's key pair."`
	Issue  IssueCmd         `cmd:"" help:"Sign a license."`
	Verify VerifyLicenseCmd `cmd:"" help:"Check a license against a vendor's public key."`
	Apply  ApplyCmd         `cmd:"" help:"Renew the license of the cluster."`
}

// KeygenCmd makes a vendor's key.
type KeygenCmd struct {
	Out string `required:"" help:"Where the private key goes; the public one goes to F.pub." placeholder:"F"`
}

// Run writes both files, or neither. It replaces none: a vendor's key is not made again.
func (c *KeygenCmd) Run(a *App) error {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	public, err := jwk.New(pub)
	if err != nil {
		return err
	}
	private, err := jwk.MarshalPrivate(key)
	if err != nil {
		return err
	}
	text, err := public.MarshalJSON()
	if err != nil {
		return err
	}
	if err := writeNew(c.Out, private, 0o600); err != nil {
		return &failure{what: "write the private key", why: err}
	}
	if err := writeNew(c.Out+".pub", text, 0o644); err != nil {
		return &failure{what: "write the public key", why: errors.Join(err, os.Remove(c.Out))}
	}
	a.screen.note("the private key is in %s: keep it offline; whoever has it issues licenses", c.Out)
	return a.data(public.ID() + "\n")
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// IssueCmd signs a license.
type IssueCmd struct {
	Key         string         `required:"" help:"The vendor's private key." placeholder:"F"`
	MaxNodes    int            `required:"" help:"How many peers may join." placeholder:"N"`
	MaxServices int            `required:"" help:"How many services there may be." placeholder:"N"`
	ExpiresIn   duration.Value `required:"" help:"How long it is valid." placeholder:"D"`
	CustomerID  string         `help:"Whose it is; a new customer where nothing is said. A renewal needs the same." placeholder:"C"`
	Out         string         `required:"" help:"Where the license goes; - is standard output." placeholder:"L"`
}

// Run writes the license.
func (c *IssueCmd) Run(a *App) error {
	text, err := safefile.Read(c.Key)
	if err != nil {
		return &failure{what: "--key", why: err}
	}
	signer, err := jwk.ParsePrivate(text)
	key, ok := signer.(ed25519.PrivateKey)
	if err == nil && !ok {
		err = errors.New("licenses are signed with Ed25519; make a key with: keyturn license keygen --out F")
	}
	if err != nil {
		return &failure{what: "--key", why: err}
	}
	now := a.Now()
	customer := id.New(id.Customer, now)
	if c.CustomerID != "" {
		if customer, err = id.Parse(id.Customer, c.CustomerID); err != nil {
			return usage("--customer-id: " + plain(err.Error()))
		}
	}
	l, err := license.Issue(key, license.License{
		LicenseID: id.New(id.License, now), CustomerID: customer, IssuedAt: now,
		ExpiresAt: now.Add(time.Duration(c.ExpiresIn)), MaxNodes: c.MaxNodes, MaxServices: c.MaxServices,
	})
	if err != nil {
		return usage(err.Error())
	}
	out, err := l.MarshalJSON()
	if err != nil {
		return err
	}
	if c.Out == "-" {
		return a.wire(out)
	}
	if err := replace(c.Out, append(out, '\n')); err != nil {
		return &failure{what: "--out", why: err}
	}
	if a.flags.JSON {
		return a.wire(out)
	}
	return a.data(licenseTable(l, now))
}

// replace writes a file as a whole. A license is no secret, so it gets the usual permissions.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// VerifyLicenseCmd checks a license.
type VerifyLicenseCmd struct {
	VendorKey []string `required:"" help:"A trusted vendor's public key; may be given again." placeholder:"F.pub"`
	License   string   `arg:"" help:"The license; - is standard input."`
}

// Run prints the license where it is good, and fails where it is not, or has expired.
func (c *VerifyLicenseCmd) Run(a *App) error {
	var vendors []jwk.Key
	for _, name := range c.VendorKey {
		text, err := a.input(name)
		var key jwk.Key
		if err == nil {
			key, err = jwk.Parse(text)
		}
		if err != nil {
			return &failure{what: "--vendor-key " + name, why: err}
		}
		vendors = append(vendors, key)
	}
	text, err := a.input(c.License)
	if err != nil {
		return &failure{what: "read the license", why: err}
	}
	l, err := license.Parse(text)
	if err == nil {
		err = l.Verify(vendors)
	}
	now := a.Now()
	if err == nil && l.Expired(now) {
		err = fmt.Errorf("it expired on %s", moment(l.ExpiresAt, now))
	}
	switch {
	case err != nil:
		return &failure{what: "verify " + c.License, why: err}
	case a.flags.JSON:
		return a.wire(text)
	}
	return a.data(licenseTable(l, now))
}

// ApplyCmd renews the license of the cluster.
type ApplyCmd struct {
	License string `arg:"" help:"The license; - is standard input."`
}

// Run sends it, and prints what holds from now on.
func (c *ApplyCmd) Run(a *App) error {
	text, err := a.input(c.License)
	if err == nil {
		_, err = license.Parse(text)
	}
	if err != nil {
		return &failure{what: "read the license", why: err}
	}
	s, err := a.open(false)
	if err != nil {
		return err
	}
	answer, err := s.call("apply the license", httpapi.Request{Method: "PUT", Path: "/v1/license", Body: text})
	if err != nil || a.flags.JSON {
		return orWire(a, answer.Body, err)
	}
	l, err := license.Parse(answer.Body)
	if err != nil {
		return failed("apply the license", err)
	}
	return a.data(licenseTable(l, a.Now()))
}

func licenseTable(l license.License, now time.Time) string {
	return table([][]string{
		{"license_id", l.LicenseID.String()},
		{"customer_id", l.CustomerID.String()},
		{"issued", moment(l.IssuedAt, now)},
		{"expires", moment(l.ExpiresAt, now)},
		{"max_nodes", strconv.Itoa(l.MaxNodes)},
		{"max_services", strconv.Itoa(l.MaxServices)},
		{"signed by", or(l.KeyID)},
	})
}
