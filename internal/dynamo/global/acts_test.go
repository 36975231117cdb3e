package global_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
)

func memberB(v any) []byte {
	b, _ := v.(*types.AttributeValueMemberB)
	if b == nil {
		return nil
	}
	return b.Value
}

func (h *history) origin(r int) authority.Origin {
	return authority.Origin{At: h.at(r), Reason: "history"}
}

// act finds somebody who may act in region r, and judges the error of what they did: what is refused, and why, is part of the
// contract.
func (h *history) act(r int, what string, homeOnly bool, do func(access.Caller) error) bool {
	caller, ok := h.caller(r)
	if !ok {
		return false
	}
	home := h.home(r)
	before := len(h.regions[r].later)
	err := do(caller)
	h.wrote()
	h.say("%s: %s: %v", names[r], what, err)
	switch {
	case homeOnly && !home && !errors.Is(err, authority.ErrNotHome):
		h.fail("%s in %s, which is not home: %v", what, names[r], err)
	case err == nil:
		return true
	case len(h.regions[r].later) != before:
		h.fail("%s in %s failed, and wrote: %v", what, names[r], err)
	case errors.Is(err, authority.ErrNotHome), errors.Is(err, authority.ErrNotKnown), errors.Is(err, authority.ErrInput),
		errors.Is(err, authority.ErrRaced), errors.Is(err, authority.ErrLastAdmin), errors.Is(err, authority.ErrSelfRevocation),
		errors.Is(err, access.ErrToken), errors.Is(err, access.ErrUnknown):
	case errors.Is(err, access.ErrUnavailable) && h.replication.Pending() > 0:
	default:
		h.fail("%s in %s: %v", what, names[r], err)
	}
	return false
}

func (h *history) some() id.ID { return h.known[h.rng.IntN(len(h.known))] }

func (h *history) rotate(r int) {
	request := authority.RotateRequest{Window: []time.Duration{0, time.Hour, 24 * time.Hour, 168 * time.Hour}[h.rng.IntN(4)]}
	if request.Emergency = h.rng.IntN(5) == 0; request.Emergency {
		request.Window = 0
	}
	target := h.some()
	var done authority.Rotation
	if h.act(r, fmt.Sprintf("rotate %s %+v", target, request), true, func(c access.Caller) (err error) {
		done, err = h.regions[r].a.Rotate(ctx, c, h.origin(r), id.ClientID{Credential: target}, request, authority.Once{})
		return err
	}) {
		h.works(r, h.given(r, done.Credential, done.Version, done.Secret))
		h.count["rotated"]++
		if request.Emergency {
			h.count["emergency"]++
		}
	}
}

// works: a secret that was handed out is accepted at once, where it was.
func (h *history) works(r int, g *handed) {
	if _, err := h.authenticate(r, g); err != nil {
		h.fail("%s gave out %s version %d, and refuses it: %v", names[r], g.credential, g.number, err)
	}
}

func (h *history) create(r int) {
	request := authority.CreateRequest{Name: "one", Scopes: credential.NewScopes(credential.CredentialsRead)}
	if h.rng.IntN(3) == 0 {
		request.Scopes = credential.NewScopes(credential.Admin)
	}
	var done authority.Created
	if h.act(r, "create", true, func(c access.Caller) (err error) {
		done, err = h.regions[r].a.Create(ctx, c, h.origin(r), request, authority.Once{})
		return err
	}) {
		h.works(r, h.given(r, done.Credential, 1, done.Secret))
	}
}

func (h *history) revoke(r int) {
	g := h.secrets[h.rng.IntN(len(h.secrets))]
	target := id.ClientID{Credential: g.credential}
	if h.rng.IntN(2) == 0 {
		target.Version = g.number
	}
	if h.act(r, fmt.Sprintf("revoke %s", target), false, func(c access.Caller) error {
		return h.regions[r].a.Revoke(ctx, c, h.origin(r), target)
	}) {
		h.count["revoked"]++
		if _, err := h.authenticate(r, g); err == nil {
			h.fail("%s has revoked %s, and accepts version %d", names[r], target, g.number)
		}
	}
}

func (h *history) moveHome(r int) {
	if h.act(r, "become home", false, func(c access.Caller) error {
		_, err := h.regions[r].a.MoveHome(ctx, c, h.origin(r), names[r])
		return err
	}) {
		h.count["moved"]++
		if !h.home(r) {
			h.fail("%s has become home, and does not know", names[r])
		}
	}
}
