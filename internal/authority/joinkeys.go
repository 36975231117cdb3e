package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/token"
)

// JoinKeyRequest asks for a join key.
type JoinKeyRequest struct {
	Name      string
	TTL       time.Duration     // 0: peer.DefaultTTL
	MaxScopes credential.Scopes // nil: peer.DefaultScopes of the caller's token; empty: nothing
	Region    string            // where the peer belongs; "" is where it asks to join
}

// CreatedJoinKey is a new join key. Text is shown this once.
type CreatedJoinKey struct {
	ID        id.ID
	Text      string // a JWT
	ExpiresAt time.Time
}

// CreateJoinKey makes a key with which one host can join, as a peer that grants no more than the caller's token has. It
// takes peers.write. It returns access.ErrForbidden, ErrNotHome, ErrInput or credential.ErrInput.
func (a *Authority) CreateJoinKey(ctx context.Context, caller access.Caller, o Origin, r JoinKeyRequest) (CreatedJoinKey, error) {
	if err := caller.Require(credential.PeersWrite); err != nil {
		return CreatedJoinKey{}, err
	}
	if err := a.AtHome(ctx); err != nil {
		return CreatedJoinKey{}, err
	}
	if r.TTL == 0 {
		r.TTL = peer.DefaultTTL
	}
	if r.MaxScopes == nil {
		r.MaxScopes = peer.DefaultScopes(caller.Scopes)
	}
	if err := a.checkJoinKey(ctx, caller, r); err != nil {
		return CreatedJoinKey{}, err
	}
	k := CreatedJoinKey{ID: id.New(id.JoinKey, o.At), ExpiresAt: o.At.Add(r.TTL)}
	var err error
	if k.Text, err = a.signJoinKey(ctx, o.At, k, r); err != nil {
		return CreatedJoinKey{}, err
	}
	body := ledger.JoinKeyBody{Name: r.Name, Region: r.Region, MaxScopes: r.MaxScopes, ExpiresAt: k.ExpiresAt}
	err = a.commit(ctx, o, change{
		by: caller, touches: []string{k.ID.String()},
		decide: func(ctx context.Context, d *draft) error {
			d.add(fact{kind: ledger.KindJoinKey, subject: k.ID, body: body, lists: []string{listJoinKeys}})
			return nil
		},
	})
	if err != nil {
		return CreatedJoinKey{}, err
	}
	return k, nil
}

func (a *Authority) checkJoinKey(ctx context.Context, caller access.Caller, r JoinKeyRequest) error {
	if err := errors.Join(credential.CheckName(r.Name), peer.CheckTTL(r.TTL)); err != nil {
		return err
	}
	if !caller.Scopes.Cover(r.MaxScopes) {
		return fmt.Errorf("%w: no peer can grant more than the token has that lets it in", access.ErrForbidden)
	}
	if r.Region == "" {
		return nil
	}
	known, err := a.regions(ctx)
	if err == nil && !slices.Contains(known, r.Region) {
		err = fmt.Errorf("%w: region %.64q is none of this cluster's", ErrInput, r.Region)
	}
	return err
}

// regions are those that have written something, or that a cluster of this kind has in any case: home, and this one.
func (a *Authority) regions(ctx context.Context) ([]string, error) {
	c, err := a.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	heads, err := a.readHeads(ctx)
	if err != nil {
		return nil, unavailable("read the heads", err)
	}
	known := append(slices.Clone(a.o.Regions), a.o.Region, c.Home)
	for region := range heads {
		known = append(known, region)
	}
	return known, nil
}

// signJoinKey makes the key's text, with the key that signs records: a host that knows which key founded the cluster can
// follow the ledger from there.
func (a *Authority) signJoinKey(ctx context.Context, at time.Time, k CreatedJoinKey, r JoinKeyRequest) (string, error) {
	c, err := a.Cluster(ctx)
	if err != nil {
		return "", err
	}
	own, err := a.ledgerKey(ctx)
	if err != nil {
		return "", err
	}
	signer, err := token.NewSigner(own.Crypto())
	if err != nil {
		return "", err
	}
	return signer.SignJoinKey(token.JoinKey{
		Issuer: c.Issuer, ID: k.ID.String(), ClusterID: c.ID.String(), Anchor: c.LedgerKeys[0].ID(),
		MaxScopes: r.MaxScopes.Strings(), Region: r.Region, IssuedAt: at.Unix(), ExpiresAt: k.ExpiresAt.Unix(),
	})
}

// JoinKeys returns the join keys that can be used at instant at, and those that cannot any more where they are asked for,
// the oldest first. It takes peers.read, and returns access.ErrForbidden or ErrUnavailable.
func (a *Authority) JoinKeys(ctx context.Context, caller access.Caller, at time.Time, includeTerminal bool) ([]*peer.JoinKey, error) {
	if err := caller.Require(credential.PeersRead); err != nil {
		return nil, err
	}
	if _, err := a.Cluster(ctx); err != nil {
		return nil, err
	}
	var after id.ID
	if !includeTerminal { // what is older has expired: names begin with the time
		after = id.First(id.JoinKey, at.Add(-peer.MaxTTL-2*access.Leeway))
	}
	keys, err := gather(ctx, a, listJoinKeys, after, func(ctx context.Context, name id.ID) (*peer.JoinKey, error) {
		return a.joinKey(ctx, at, name)
	})
	if err != nil || includeTerminal {
		return keys, err
	}
	return slices.DeleteFunc(keys, func(k *peer.JoinKey) bool { return k.Status(at) != peer.KeyActive }), nil
}

// joinKey reads one join key, or returns access.ErrUnknown.
func (a *Authority) joinKey(ctx context.Context, at time.Time, subject id.ID) (*peer.JoinKey, error) {
	records, _, err := a.reader.subjectRecords(ctx, at, subject)
	if err != nil {
		return nil, err
	}
	k := ledger.JoinJoinKey(records)
	if k == nil {
		return nil, access.ErrUnknown // the record that says so has not arrived yet
	}
	return k, nil
}

// RevokeJoinKey makes sure that nobody joins with a key any more. One that was used, has expired or is revoked stays what it
// is, without an error. It takes peers.write, and returns access.ErrForbidden or ErrNotKnown.
func (a *Authority) RevokeJoinKey(ctx context.Context, caller access.Caller, o Origin, target id.ID) error {
	if err := caller.Require(credential.PeersWrite); err != nil {
		return err
	}
	if _, err := a.findJoinKey(ctx, o.At, target); err != nil {
		return err
	}
	return a.commit(ctx, o, change{
		by: caller, touches: []string{target.String()}, anywhere: true,
		decide: func(ctx context.Context, d *draft) error {
			k, err := a.findJoinKey(ctx, d.At, target)
			if err != nil || k.Status(d.At) != peer.KeyActive {
				return err
			}
			d.add(fact{kind: ledger.KindRevoked, subject: target, body: ledger.RevokedBody{}})
			return nil
		},
	})
}

func (a *Authority) findJoinKey(ctx context.Context, at time.Time, target id.ID) (*peer.JoinKey, error) {
	if _, err := a.Cluster(ctx); err != nil {
		return nil, err
	}
	k, err := a.joinKey(ctx, at, target)
	if errors.Is(err, access.ErrUnknown) {
		return nil, fmt.Errorf("%w: there is no join key %s", ErrNotKnown, target)
	}
	return k, err
}
