package authority

import (
	"context"
	"fmt"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
)

// Recover mints the next version of the shared credential, with the usual window for the one before, for whoever holds the
// ledger key. Where the shared credential is revoked, which is for ever, it makes a new one. Either is a record like any
// other. It returns access.ErrNotBootstrapped, or ErrRaced where somebody else has just recovered.
func (a *Authority) Recover(ctx context.Context, o Origin) (Rotation, error) {
	if err := a.AtHome(ctx); err != nil {
		return Rotation{}, err
	}
	c, err := a.Shared(ctx, o.At)
	if err != nil {
		return Rotation{}, err
	}
	var done Rotation
	err = a.commit(ctx, o, change{
		touches: []string{c.ID.String(), listShared},
		decide: func(ctx context.Context, d *draft) (err error) {
			now, err := a.Shared(ctx, d.At)
			if err != nil {
				return err
			}
			if now.ID != c.ID {
				return ErrRaced
			}
			if now.Status(d.At) != credential.Active {
				done, err = draftNewShared(d, now)
				return err
			}
			rot := rotation{recovery: true, request: RotateRequest{Window: credential.DefaultWindow}}
			done, err = rot.draft(d, now)
			return err
		},
	})
	a.shared.Store(nil)
	if err != nil {
		return Rotation{}, err // done may still be written to: who stops waiting does not stop the commit
	}
	return done, nil
}

func draftNewShared(d *draft, old *credential.Credential) (Rotation, error) {
	c, secret, err := draftCredential(d, ledger.CredentialBody{
		Name: old.Name, Kind: credential.Shared, Scopes: credential.NewScopes(credential.Admin), LicenseID: old.LicenseID,
		Recovery: true,
	}, nil)
	return Rotation{ClientID: c.ClientID(1), Secret: secret, Version: 1, At: d.At, Credential: c}, err
}

// Vouch makes the ledger trust a further ledger key: that of a store that will take over. Vouching again changes nothing. It
// returns access.ErrForbidden without admin, and ErrInput for a key that is not Ed25519.
func (a *Authority) Vouch(ctx context.Context, caller access.Caller, o Origin, key jwk.Key) error {
	return a.VouchSealed(ctx, caller, o, NewKey{Key: key}, nil)
}

// VouchSealed is Vouch for a store whose custody keeps its keys in the ledger: the record carries the sealed private half,
// and that custody's sealed word on who founded the cluster.
func (a *Authority) VouchSealed(ctx context.Context, caller access.Caller, o Origin, key NewKey, anchor []byte) error {
	if err := caller.Require(credential.Admin); err != nil {
		return err
	}
	if key.Key.Alg() != "EdDSA" {
		return fmt.Errorf("%w: a ledger key is an Ed25519 key", ErrInput)
	}
	c, err := a.Cluster(ctx)
	if err != nil {
		return err
	}
	return a.commit(ctx, o, change{
		by: caller, touches: []string{c.ID.String()},
		decide: func(ctx context.Context, d *draft) error {
			if !a.verifier.Trusts(key.Key.ID()) {
				d.add(fact{kind: ledger.KindKey, subject: c.ID, body: ledger.KeyBody{
					Use: ledger.UseLedger, Key: key.Key, Sealed: key.Sealed, Anchor: anchor,
				}})
			}
			return nil
		},
	})
}
