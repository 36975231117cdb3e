package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
)

// find returns the credential behind any of its client ids, or ErrNotKnown: also for a version that never was.
func (a *Authority) find(ctx context.Context, at time.Time, target id.ClientID) (*credential.Credential, error) {
	if _, err := a.Cluster(ctx); err != nil {
		return nil, err
	}
	c, err := a.Credential(ctx, at, target.Credential)
	if errors.Is(err, access.ErrUnknown) || err == nil && target.Version > c.Number() {
		return nil, fmt.Errorf("%w: there is no credential %s", ErrNotKnown, target)
	}
	return c, err
}

// Find is find for a caller with credentials.read.
func (a *Authority) Find(ctx context.Context, caller access.Caller, at time.Time, target id.ClientID) (*credential.Credential, error) {
	if err := caller.Require(credential.CredentialsRead); err != nil {
		return nil, err
	}
	return a.find(ctx, at, target)
}

// Shared returns the shared credential: the newest that is not revoked, or the newest. It returns
// access.ErrNotBootstrapped.
func (a *Authority) Shared(ctx context.Context, at time.Time) (*credential.Credential, error) {
	if _, err := a.Cluster(ctx); err != nil {
		return nil, err
	}
	if known := a.shared.Load(); known != nil {
		if c, err := a.Credential(ctx, at, *known); err == nil && c.Status(at) == credential.Active {
			return c, nil
		}
	}
	var found *credential.Credential
	err := a.each(ctx, at, listShared, "", func(c *credential.Credential) bool {
		if found == nil || c.Status(at) == credential.Active || found.Status(at) != credential.Active {
			found = c
		}
		return true
	})
	if err == nil && found == nil {
		err = fmt.Errorf("%w: there is no shared credential", ErrNotKnown)
	}
	if err != nil {
		return nil, err
	}
	a.shared.Store(&found.ID)
	return found, nil
}

// pageSize is how many subjects each asks a store for at once.
const pageSize = 100

// each visits the credentials of a list with names greater than after, until visit returns false.
func (a *Authority) each(ctx context.Context, at time.Time, list, after string, visit func(*credential.Credential) bool) error {
	for {
		names, err := a.store.Page(ctx, list, after, pageSize)
		if err != nil {
			return unavailable("page through "+list, err)
		}
		for _, name := range names {
			c, err := a.Credential(ctx, at, id.ID(name))
			if errors.Is(err, access.ErrUnknown) {
				continue // its directory item arrived before its records
			}
			if err != nil {
				return err
			}
			if !visit(c) {
				return nil
			}
		}
		if len(names) < pageSize {
			return nil
		}
		after = names[len(names)-1]
	}
}

// Page is one page of credentials, and the cursor of the next one; "" at the end.
type Page struct {
	Credentials []*credential.Credential
	Next        string
}

// List returns up to limit credentials after a cursor, in the order in which they were made. Revoked ones are left out
// unless asked for.
func (a *Authority) List(ctx context.Context, caller access.Caller, at time.Time, after string, limit int, withRevoked bool) (Page, error) {
	if err := caller.Require(credential.CredentialsRead); err != nil {
		return Page{}, err
	}
	var page Page
	limit = max(limit, 1)
	err := a.each(ctx, at, listCredentials, after, func(c *credential.Credential) bool {
		if !withRevoked && c.Status(at) == credential.Revoked {
			return true
		}
		if len(page.Credentials) == limit {
			page.Next = page.Credentials[limit-1].ID.String()
			return false
		}
		page.Credentials = append(page.Credentials, c)
		return true
	})
	return page, err
}
