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
	Killed          []string // client ids of the versions that an emergency killed
	CreatedByKilled []string // client ids of what they created in the last 30 days
}

// Rotate makes the next version of a credential. The version before is accepted for the window; an older one keeps its own
// deadline. It returns access.ErrForbidden, ErrNotKnown, ErrInput, ErrRaced where another rotation was faster, ErrMismatch
// or a *Replayed.
func (a *Authority) Rotate(ctx context.Context, caller access.Caller, o Origin, target id.ClientID, r RotateRequest, once Once) (Rotation, error) {
	if err := caller.Require(credential.CredentialsWrite); err != nil {
		return Rotation{}, err
	}
	c, err := a.find(ctx, o.At, target)
	if err != nil {
		return Rotation{}, err
	}
	if !caller.Scopes.Cover(c.Scopes) {
		return Rotation{}, fmt.Errorf("%w: a rotation hands out the secret, so it takes every scope of the credential", access.ErrForbidden)
	}
	return a.rotate(ctx, o, c, r, once)
}

// RotateShared is Rotate for the shared credential.
func (a *Authority) RotateShared(ctx context.Context, caller access.Caller, o Origin, r RotateRequest, once Once) (Rotation, error) {
	c, err := a.Shared(ctx, o.At)
	if err != nil {
		return Rotation{}, err
	}
	return a.Rotate(ctx, caller, o, id.ClientID{Credential: c.ID}, r, once)
}

func (a *Authority) rotate(ctx context.Context, o Origin, seen *credential.Credential, r RotateRequest, once Once) (Rotation, error) {
	if err := r.check(seen, o.At); err != nil {
		return Rotation{}, err
	}
	rot := rotation{seen: seen, request: r}
	if r.Emergency {
		created, err := a.createdBy(ctx, o.At, seen)
		if err != nil {
			return Rotation{}, err
		}
		rot.created = created
	}
	var done Rotation
	err := a.commit(ctx, o, change{
		touches: once.touching(seen.ID.String()),
		decide: func(ctx context.Context, d *draft) error {
			if err := a.Replay(ctx, d.At, once); err != nil {
				return err
			}
			now, err := a.Credential(ctx, d.At, seen.ID)
			if err != nil {
				return err
			}
			if now.Number() != seen.Number() || now.Status(d.At) != credential.Active {
				return ErrRaced
			}
			if done, err = rot.draft(d, now); err != nil {
				return err
			}
			return a.keep(ctx, d, once, done)
		},
	})
	return done, err
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
	seen     *credential.Credential
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
		if v.Dead() || v.Closed(d.At) {
			continue
		}
		if v.NotAfter.IsZero() || rot.request.Emergency {
			v.NotAfter = deadline
			body.Retires = append(body.Retires, ledger.Retirement{Version: v.Number, Digest: v.Digest, NotAfter: deadline})
		}
		if v.NotAfter.After(latest) {
			latest = v.NotAfter
		}
		if rot.request.Emergency {
			out.Killed = append(out.Killed, c.ClientID(v.Number))
		} else if v.Acceptable(d.At) {
			out.Previous = append(out.Previous, &v)
		}
		d.expire(c, &v)
	}
	slices.Reverse(out.Previous)
	d.keepCopies(latest.Add(copiesKept))
	out.CreatedByKilled = rot.createdByKilled(c)
	secret, err := draftVersion(d, c.ID, body, rot.request.Key)
	out.Secret = secret
	return out, err
}

// expire dates a version's hash: the TTL attribute is its not_after.
func (d *draft) expire(c *credential.Credential, v *credential.Version) {
	d.expiries = append(d.expiries, Expiry{Subject: c.ID.String(), Region: v.Region, Seq: v.Seq, Secret: v.NotAfter})
}

// keepCopies dates the subject's copies of the superseded versions: not before the last deadline that any of them sets, for
// a deadline stands in the record of the version that came after.
func (d *draft) keepCopies(until time.Time) {
	for i := range d.expiries {
		d.expiries[i].Copy = until
	}
}

// createdByKilled lists what the killed versions created. A standard credential has one client id for all its versions.
func (rot rotation) createdByKilled(c *credential.Credential) []string {
	var list []string
	for _, made := range rot.created {
		for i := range c.Versions {
			if v := &c.Versions[i]; c.ClientID(v.Number) == made.CreatedBy {
				list = append(list, made.ClientID(made.Number()))
				break
			}
		}
	}
	return list
}

// createdBy lists the credentials that any version of c created in the last 30 days and that are not revoked.
func (a *Authority) createdBy(ctx context.Context, at time.Time, c *credential.Credential) ([]*credential.Credential, error) {
	var list []*credential.Credential
	after := id.First(id.Client, at.Add(-copiesKept)).String()
	err := a.each(ctx, at, listCredentials, after, func(made *credential.Credential) bool {
		creator, err := id.ParseClientID(made.CreatedBy)
		if err == nil && creator.Credential == c.ID && made.Status(at) != credential.Revoked {
			list = append(list, made)
		}
		return true
	})
	return list, err
}
