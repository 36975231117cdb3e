package authority

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
)

// maxCredentialLife is the longest life that a credential can be given; zero is for ever.
const maxCredentialLife = 100 * 365 * 24 * time.Hour

// CreateRequest asks for a credential.
type CreateRequest struct {
	Name      string
	Scopes    credential.Scopes // empty: those of the caller's token
	ExpiresIn time.Duration     // 0: never
	Labels    map[string]string
	Key       *jwk.Key // a private_key_jwt client; nil: it gets a secret
}

// Created is a new credential. The secret is shown this once; it is zero where the client has a key.
type Created struct {
	Credential *credential.Credential
	Secret     credential.Secret
}

// Create makes a credential whose scopes do not exceed those of the caller's token. It returns access.ErrForbidden,
// ErrInput, ErrMismatch or a *Replayed.
func (a *Authority) Create(ctx context.Context, caller access.Caller, o Origin, r CreateRequest, once Once) (Created, error) {
	if err := caller.Require(credential.CredentialsWrite); err != nil {
		return Created{}, err
	}
	if err := a.AtHome(ctx); err != nil {
		return Created{}, err
	}
	if err := r.check(); err != nil {
		return Created{}, err
	}
	if len(r.Scopes) == 0 {
		r.Scopes = caller.Scopes
	}
	if !caller.Scopes.Cover(r.Scopes) {
		return Created{}, fmt.Errorf("%w: nobody can give more than the token has", access.ErrForbidden)
	}
	l, err := a.License(ctx)
	if err != nil {
		return Created{}, err
	}
	body := ledger.CredentialBody{
		Name: r.Name, Kind: credential.Standard, Scopes: r.Scopes, LicenseID: l.LicenseID, Labels: r.Labels,
	}
	if r.ExpiresIn > 0 {
		end := o.At.Add(r.ExpiresIn)
		body.ExpiresAt = &end
	}
	var done Created
	err = a.commit(ctx, o, change{
		by: caller, once: once,
		decide: func(ctx context.Context, d *draft) (err error) {
			if done.Credential, done.Secret, err = draftCredential(d, body, r.Key); err != nil {
				return err
			}
			return a.keep(ctx, d, once, done)
		},
	})
	if err != nil {
		return Created{}, err // done may still be written to: who stops waiting does not stop the commit
	}
	return done, nil
}

func (r CreateRequest) check() error {
	if err := credential.CheckName(r.Name); err != nil {
		return err
	}
	if r.ExpiresIn < 0 || r.ExpiresIn > maxCredentialLife {
		return fmt.Errorf("%w: expires_in_seconds has to be 1 to %d", ErrInput, int64(maxCredentialLife/time.Second))
	}
	return credential.CheckLabels(r.Labels)
}

// draftCredential adds a credential and its first version to a draft, and returns it as the join will.
func draftCredential(d *draft, body ledger.CredentialBody, key *jwk.Key) (*credential.Credential, credential.Secret, error) {
	subject := id.New(id.Client, d.At)
	d.add(fact{kind: ledger.KindCredential, subject: subject, body: body, lists: credentialLists(&body)})
	version := ledger.VersionBody{Version: 1}
	c := &credential.Credential{
		ID: subject, Name: body.Name, Kind: body.Kind, Scopes: body.Scopes, LicenseID: body.LicenseID,
		CreatedAt: d.At, CreatedBy: d.Actor, Labels: body.Labels,
		Versions: []credential.Version{{Number: 1, CreatedAt: d.At, CreatedBy: d.Actor}},
	}
	if body.ExpiresAt != nil {
		c.ExpiresAt = *body.ExpiresAt
	}
	secret, err := draftVersion(d, c, version, key)
	return c, secret, err
}

// credentialLists says which lists a credential is in.
func credentialLists(body *ledger.CredentialBody) []string {
	lists := []string{listCredentials}
	if body.Kind == credential.Shared {
		lists = append(lists, listShared)
	}
	if body.Scopes.Allow(credential.CredentialsWrite) {
		lists = append(lists, listWriters)
	}
	return lists
}

// draftVersion adds a version of c with a new secret, or with a client's public key, to a draft.
func draftVersion(d *draft, c *credential.Credential, body ledger.VersionBody, key *jwk.Key) (credential.Secret, error) {
	if key != nil {
		body.Key, body.Digest = key, credential.Digest("jwk:"+key.ID())
		if body.Emergency {
			body.Trunk = append(body.Trunk, body.Digest)
		}
		d.add(fact{kind: ledger.KindVersion, subject: c.ID, body: body})
		return credential.Secret{}, nil
	}
	secret := credential.NewSecret()
	hash := secret.Hash()
	body.Digest = hash.Digest()
	if body.Emergency {
		body.Trunk = append(body.Trunk, body.Digest)
	}
	d.add(fact{kind: ledger.KindVersion, subject: c.ID, body: body, secret: hash[:], until: c.ExpiresAt})
	return secret, nil
}
