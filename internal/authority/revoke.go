package authority

import (
	"context"
	"errors"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
)

// Revoke writes a tombstone: for one version where the client id names one, else for the whole credential. What is revoked
// already stays so, without an error. It returns access.ErrForbidden, ErrNotKnown, ErrSelfRevocation or ErrLastAdmin.
//
// A version of the shared credential has a client id of its own, so cli_…-6 is that version only. Any other credential's
// client id names all of it.
func (a *Authority) Revoke(ctx context.Context, caller access.Caller, o Origin, target id.ClientID) error {
	if err := caller.Require(credential.CredentialsWrite); err != nil {
		return err
	}
	if _, err := a.find(ctx, o.At, target); err != nil {
		return err
	}
	return a.commit(ctx, o, change{
		touches: []string{target.Credential.String(), listWriters}, // two revocations must not each count on the other's target
		by:      caller, anywhere: true,
		decide: func(ctx context.Context, d *draft) error {
			c, err := a.find(ctx, d.At, target)
			if err != nil || revoked(c, target.Version) {
				return err
			}
			if caller.ID() == c.ID && (target.Version == 0 || target.Version == caller.Claims.Version) {
				return ErrSelfRevocation
			}
			if err := a.leavesWriter(ctx, d, c, target.Version); err != nil {
				return err
			}
			draftRevocation(d, c, target.Version)
			return nil
		},
	})
}

// revoked reports whether there is nothing left to revoke. Two regions may have made a version of one number each, and an
// emergency may have killed one of them.
func revoked(c *credential.Credential, version int) bool {
	dead := false
	for i := range c.Versions {
		if v := &c.Versions[i]; v.Number == version {
			if !v.Dead() {
				return !c.RevokedAt.IsZero()
			}
			dead = true
		}
	}
	return dead || !c.RevokedAt.IsZero()
}

func draftRevocation(d *draft, c *credential.Credential, version int) {
	d.add(fact{kind: ledger.KindRevoked, subject: c.ID, body: ledger.RevokedBody{Version: version}})
	for i := range c.Versions {
		if v := &c.Versions[i]; version == 0 || v.Number == version {
			d.expiries = append(d.expiries, Expiry{Subject: c.ID.String(), Region: v.Region, Seq: v.Seq, Secret: d.At})
		}
	}
}

// leavesWriter returns ErrLastAdmin where nothing that lasts could write credentials any more without that version of c.
// Credentials that could not before do not count either way.
func (a *Authority) leavesWriter(ctx context.Context, d *draft, c *credential.Credential, version int) error {
	if !c.LastsAsWriter(d.At) || version != 0 && version != c.Current().Number {
		return nil
	}
	shared, err := a.Shared(ctx, d.At)
	if err == nil && shared.ID != c.ID && shared.LastsAsWriter(d.At) {
		return nil
	}
	if err != nil && !errors.Is(err, ErrNotKnown) {
		return err
	}
	left := false
	err = a.each(ctx, d.At, listWriters, "", func(other *credential.Credential) bool {
		left = other.ID != c.ID && other.LastsAsWriter(d.At)
		return !left
	})
	if err == nil && !left {
		return ErrLastAdmin
	}
	return err
}
