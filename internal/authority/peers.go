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
)

// Peers returns every peer, removed ones too, in the order in which they joined. It takes peers.read, and returns
// access.ErrForbidden or ErrUnavailable.
func (a *Authority) Peers(ctx context.Context, caller access.Caller, at time.Time) ([]*peer.Peer, error) {
	if err := caller.Require(credential.PeersRead); err != nil {
		return nil, err
	}
	if _, err := a.Cluster(ctx); err != nil {
		return nil, err
	}
	return a.allPeers(ctx, at)
}

// FindPeer returns one peer, be it removed, to a caller with peers.read. It returns access.ErrForbidden or ErrNotKnown.
func (a *Authority) FindPeer(ctx context.Context, caller access.Caller, at time.Time, target id.ID) (*peer.Peer, error) {
	if err := caller.Require(credential.PeersRead); err != nil {
		return nil, err
	}
	return a.findPeer(ctx, at, target)
}

func (a *Authority) findPeer(ctx context.Context, at time.Time, target id.ID) (*peer.Peer, error) {
	if _, err := a.Cluster(ctx); err != nil {
		return nil, err
	}
	p, err := a.Peer(ctx, at, target)
	if errors.Is(err, access.ErrUnknown) {
		return nil, fmt.Errorf("%w: there is no peer %s", ErrNotKnown, target)
	}
	return p, err
}

// PeerChange says what to change of a peer. What is nil stays.
type PeerChange struct {
	Name      *string
	MaxScopes *credential.Scopes
}

// ChangePeer changes a peer's name, or what it may grant: never beyond the scopes of the caller's token. It takes
// peers.write, and returns access.ErrForbidden, ErrNotHome, ErrNotKnown, ErrInput or credential.ErrInput.
func (a *Authority) ChangePeer(ctx context.Context, caller access.Caller, o Origin, target id.ID, r PeerChange) (*peer.Peer, error) {
	if err := caller.Require(credential.PeersWrite); err != nil {
		return nil, err
	}
	if err := a.AtHome(ctx); err != nil {
		return nil, err
	}
	if r.Name != nil {
		if err := credential.CheckName(*r.Name); err != nil {
			return nil, err
		}
	}
	if r.MaxScopes != nil && !caller.Scopes.Cover(*r.MaxScopes) {
		return nil, fmt.Errorf("%w: no peer can grant more than the token has that says so", access.ErrForbidden)
	}
	if _, err := a.findPeer(ctx, o.At, target); err != nil {
		return nil, err
	}
	var done peer.Peer
	err := a.commit(ctx, o, change{
		by: caller, touches: []string{target.String()},
		decide: func(ctx context.Context, d *draft) error {
			p, err := a.findPeer(ctx, d.At, target)
			if err != nil {
				return err
			}
			done = *p
			return r.draft(d, &done)
		},
	})
	if err != nil {
		return nil, err // done may still be written to: who stops waiting does not stop the commit
	}
	return &done, nil
}

// draft changes p, and adds the record that says so where anything is new.
func (r PeerChange) draft(d *draft, p *peer.Peer) error {
	switch {
	case p.Status() != peer.Active:
		return fmt.Errorf("%w: %s is removed and cannot be changed", ErrInput, p.ID)
	case r.MaxScopes != nil && p.Role == peer.Authority:
		return fmt.Errorf("%w: %s is an authority: it grants what its clients have", ErrInput, p.ID)
	}
	var body ledger.PeerChangeBody
	if r.Name != nil && *r.Name != p.Name {
		body.Name, p.Name = r.Name, *r.Name
	}
	if r.MaxScopes != nil && !slices.Equal(*r.MaxScopes, p.MaxScopes) {
		body.MaxScopes, p.MaxScopes = r.MaxScopes, *r.MaxScopes
	}
	if body != (ledger.PeerChangeBody{}) {
		d.add(fact{kind: ledger.KindPeerChange, subject: p.ID, body: body})
	}
	return nil
}

// RemovePeer writes a peer's tombstone: it gets no token and none of its tokens counts any more, and its key leaves the key
// set. A removed peer stays so, without an error. It takes peers.write, and returns access.ErrForbidden, ErrNotKnown, or
// ErrInput for an authority.
func (a *Authority) RemovePeer(ctx context.Context, caller access.Caller, o Origin, target id.ID) error {
	if err := caller.Require(credential.PeersWrite); err != nil {
		return err
	}
	if _, err := a.findPeer(ctx, o.At, target); err != nil {
		return err
	}
	return a.commit(ctx, o, change{
		by: caller, touches: []string{target.String(), nodes}, anywhere: true,
		decide: func(ctx context.Context, d *draft) error {
			p, err := a.findPeer(ctx, d.At, target)
			switch {
			case err != nil:
				return err
			case p.Role != peer.Sidecar:
				return fmt.Errorf("%w: %s is the authority of %s: only sidecars can be removed", ErrInput, p.ID, p.Region)
			case p.Status() != peer.Active:
				return nil
			}
			d.add(fact{kind: ledger.KindRevoked, subject: p.ID, body: ledger.RevokedBody{}})
			d.limits = append(d.limits, Limit{Name: nodes, Delta: -1})
			return nil
		},
	})
}
