package authority

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
)

// copiesKept is how long a subject's copy of a retired version stays: so long a late host gets a precise answer.
const copiesKept = 30 * 24 * time.Hour

// maxRetired keeps the record of a rotation small enough to be signed, however many versions are accepted at once: only an
// emergency retires more than one, and what it does not name is dead by not being its descendant.
const maxRetired = 256

// overtaken is how old a request may be that commits just before an emergency: its budget, and two clocks.
const overtaken = 5 * time.Minute

// RotateRequest asks for the next version of a credential.
type RotateRequest struct {
	Window    time.Duration // how long the superseded secret is accepted; 0 in an emergency
	Emergency bool          // every version that is not the new one is dead for ever, with its tokens
	Key       *jwk.Key      // the new public key of a private_key_jwt client; nil: it gets a secret
}

// Rotation is the outcome of a rotation. The secret is shown this once; it is zero where the client has a key.
type Rotation struct {
	ClientID        string
	Secret          credential.Secret
	Version         int
	At              time.Time
	Previous        []*credential.Version // still accepted, newest first
	Credential      *credential.Credential
	Emergency       bool
	Killed          []string // the versions that an emergency killed, as cli_<26>-<version> for every kind of credential
	CreatedByKilled []string // client ids of what they created in the last 30 days
}

// Rotate makes the next version of a credential. The version before is accepted for the window; an older one keeps its own
// deadline. It returns access.ErrForbidden, ErrNotHome, ErrNotKnown, ErrInput, ErrRaced where another rotation was faster, ErrMismatch
// or a *Replayed.
func (a *Authority) Rotate(ctx context.Context, caller access.Caller, o Origin, target id.ClientID, r RotateRequest, once Once) (Rotation, error) {
	if err := caller.Require(credential.CredentialsWrite); err != nil {
		return Rotation{}, err
	}
	if err := a.AtHome(ctx); err != nil {
		return Rotation{}, err // before anything is looked for that may not have arrived here
	}
	c, err := a.find(ctx, o.At, target)
	if err != nil {
		return Rotation{}, err
	}
	if !caller.Scopes.Cover(c.Scopes) {
		return Rotation{}, fmt.Errorf("%w: a rotation hands out the secret, so it takes every scope of the credential", access.ErrForbidden)
	}
	return a.rotate(ctx, caller, o, c, r, once)
}

// RotateShared is Rotate for the shared credential.
func (a *Authority) RotateShared(ctx context.Context, caller access.Caller, o Origin, r RotateRequest, once Once) (Rotation, error) {
	if err := a.AtHome(ctx); err != nil {
		return Rotation{}, err
	}
	c, err := a.Shared(ctx, o.At)
	if err != nil {
		return Rotation{}, err
	}
	return a.Rotate(ctx, caller, o, id.ClientID{Credential: c.ID}, r, once)
}

func (a *Authority) rotate(ctx context.Context, caller access.Caller, o Origin, seen *credential.Credential, r RotateRequest, once Once) (Rotation, error) {
	if err := r.check(seen, o.At); err != nil {
		snapshotOf(ctx).end() // nothing will be written under it
		if replayed := a.Replay(ctx, o.At, once); replayed != nil {
			return Rotation{}, replayed // it cannot be done because it was done
		}
		return Rotation{}, err
	}
	rot := rotation{request: r}
	if r.Emergency {
		before, err := a.createdBy(ctx, o.At, copiesKept, seen, nil)
		if err != nil {
			return Rotation{}, err
		}
		rot.created = before
	}
	var done Rotation
	err := a.commit(ctx, o, change{
		by: caller, once: once, touches: []string{seen.ID.String()},
		decide: func(ctx context.Context, d *draft) error {
			now, err := a.Credential(ctx, d.At, seen.ID)
			if err != nil {
				return err
			}
			if now.Number() != seen.Number() || now.Status(d.At) != credential.Active {
				return ErrRaced
			}
			if r.Emergency { // what they created while the list was made: whoever comes later is refused
				if rot.created, err = a.createdBy(ctx, d.At, overtaken, seen, rot.created); err != nil {
					return err
				}
			}
			if done, err = rot.draft(d, now); err != nil {
				return err
			}
			return a.keep(ctx, d, once, done)
		},
	})
	if err != nil {
		return Rotation{}, err // done may still be written to: who stops waiting does not stop the commit
	}
	return done, nil
}

func (r RotateRequest) check(c *credential.Credential, at time.Time) error {
	if err := credential.CheckWindow(r.Window); err != nil {
		return err
	}
	if r.Emergency && r.Window != 0 {
		return fmt.Errorf("%w: an emergency leaves no window: send no window_seconds, or 0", ErrInput)
	}
	if status := c.Status(at); status != credential.Active {
		return fmt.Errorf("%w: %s is %s and cannot be rotated: create a new credential", ErrInput, c.ID, status)
	}
	keyed := !c.Current().Key.IsZero()
	if keyed != (r.Key != nil) {
		return fmt.Errorf("%w: %s", ErrInput, map[bool]string{
			true: "this client authenticates with a key: send its new public_key", false: "this client authenticates with a secret: send no public_key",
		}[keyed])
	}
	for _, v := range c.Versions {
		if r.Key != nil && v.Key.ID() == r.Key.ID() {
			return fmt.Errorf("%w: that key is version %d already", ErrInput, v.Number)
		}
	}
	return nil
}

// rotation is what one rotation will write.
type rotation struct {
	recovery bool
	request  RotateRequest
	created  []*credential.Credential // by any version of it, in the last 30 days; for an emergency only
}

func (rot rotation) draft(d *draft, c *credential.Credential) (Rotation, error) {
	body := ledger.VersionBody{
		Version: c.Number() + 1, Parent: c.Current().Digest, Emergency: rot.request.Emergency, Trunk: slices.Clone(c.Current().Trunk),
		Recovery: rot.recovery,
	}
	out := Rotation{
		ClientID: c.ClientID(body.Version), Version: body.Version, At: d.At, Credential: c, Emergency: rot.request.Emergency,
	}
	deadline := d.At.Add(rot.request.Window)
	latest := deadline
	for i := range c.Versions {
		v := c.Versions[i] // a copy: state is never edited in place
		if rot.request.Emergency && !v.Dead() {
			out.Killed = append(out.Killed, id.ClientID{Credential: c.ID, Version: v.Number}.String())
		}
		if v.Dead() || v.Closed(d.At) {
			continue
		}
		if v.NotAfter.IsZero() || rot.request.Emergency {
			v.NotAfter = deadline
			d.expire(c, &v)
			if len(body.Retires) < maxRetired {
				body.Retires = append(body.Retires, ledger.Retirement{Version: v.Number, Digest: v.Digest, NotAfter: deadline})
			}
		}
		if v.NotAfter.After(latest) {
			latest = v.NotAfter
		}
		if v.Acceptable(d.At) {
			out.Previous = append(out.Previous, &v)
		}
	}
	slices.Reverse(out.Previous)
	d.keepCopies(latest.Add(copiesKept))
	out.CreatedByKilled = rot.createdByKilled(c)
	secret, err := draftVersion(d, c, body, rot.request.Key)
	out.Secret = secret
	return out, err
}

// expire dates a version's hash: the TTL attribute is its not_after.
func (d *draft) expire(c *credential.Credential, v *credential.Version) {
	d.expiries = append(d.expiries, Expiry{Subject: c.ID.String(), Region: v.Region, Seq: v.Seq, Secret: v.NotAfter})
}

// keepCopies dates the subject's copies of the superseded versions: not before the last deadline that any of them sets, for
// a deadline stands in the record of the version that came after. Copies of another region's records stay: the head of that
// region's ledger may still name one, and whoever reads there waits until it is there.
func (d *draft) keepCopies(until time.Time) {
	for i := range d.expiries {
		if d.expiries[i].Region == d.region {
			d.expiries[i].Copy = until
		}
	}
}

// createdByKilled lists what the killed versions created. A standard credential has one client id for all its versions.
func (rot rotation) createdByKilled(c *credential.Credential) []string {
	var list []string
	for _, made := range rot.created {
		for i := range c.Versions {
			if v := &c.Versions[i]; c.ClientID(v.Number) == made.CreatedBy {
				list = append(list, made.ClientID(made.Current().Number))
				break
			}
		}
	}
	return list
}

// createdBy adds to a list the credentials that any version of c created in the time before at and that are not revoked.
func (a *Authority) createdBy(ctx context.Context, at time.Time, before time.Duration, c *credential.Credential, list []*credential.Credential) ([]*credential.Credential, error) {
	list = slices.Clone(list)
	err := a.each(ctx, at, listCredentials, id.First(id.Client, at.Add(-before)).String(), func(made *credential.Credential) bool {
		creator, err := id.ParseClientID(made.CreatedBy)
		known := slices.ContainsFunc(list, func(l *credential.Credential) bool { return l.ID == made.ID })
		if err == nil && creator.Credential == c.ID && made.Status(at) != credential.Revoked && !known {
			list = append(list, made)
		}
		return true
	})
	return list, err
}
