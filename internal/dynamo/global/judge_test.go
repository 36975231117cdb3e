package global_test

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/dynamo/global"
	"github.com/keyturn/keyturn/internal/ledger"
)

// verdict says what a set of records makes of a secret. It is the rules of the design once more, and knows nothing of the join.
type verdict struct {
	dead  string    // what killed it; "" where nothing did
	until time.Time // its earliest deadline; zero: none
}

func judge(records []*ledger.Record, g *handed, trunk []string) verdict {
	var v verdict
	kill := func(what string) {
		if v.dead == "" {
			v.dead = what
		}
	}
	for _, r := range records {
		if r.Subject != g.credential {
			continue
		}
		switch b := r.Decoded().(type) {
		case *ledger.RevokedBody:
			if b.Version == 0 || b.Version == g.number {
				kill("a tombstone")
			}
		case *ledger.VersionBody:
			for _, e := range emergencies(b) {
				if e != string(g.digest) && !slices.Contains(trunk, e) {
					kill("an emergency")
				}
			}
			for _, old := range b.Retires {
				if old.Digest == g.digest && (v.until.IsZero() || old.NotAfter.Before(v.until)) {
					v.until = old.NotAfter
				}
			}
		}
	}
	return v
}

// emergencies are those that a record tells of: itself, and those that it descends from.
func emergencies(b *ledger.VersionBody) []string {
	var list []string
	if b.Emergency {
		list = append(list, string(b.Digest))
	}
	for _, d := range b.Trunk {
		list = append(list, string(d))
	}
	return list
}

// trunk are the emergencies that a version descends from, as its own record says.
func (h *history) trunk(g *handed) []string {
	for _, r := range h.regions[g.in].later {
		if b, ok := r.Decoded().(*ledger.VersionBody); ok && r.Subject == g.credential && b.Digest == g.digest {
			return emergencies(b)
		}
	}
	return nil
}

// check asks both regions about some secrets: nothing is accepted that a record which has arrived there forbids, and nothing
// is refused for good that no such record forbids, where somebody else may know more.
func (h *history) check() {
	for range min(3, len(h.secrets)) {
		g := h.secrets[h.rng.IntN(len(h.secrets))]
		for r := range h.regions {
			h.checkOne(r, g)
		}
	}
}

func (h *history) checkOne(r int, g *handed) {
	v := judge(h.regions[r].later, g, h.trunk(g))
	over := !v.until.IsZero() && !h.at(r).Before(v.until)
	_, err := h.authenticate(r, g)
	switch {
	case err == nil && v.dead != "":
		h.fail("%s accepts version %d of %s after %s has arrived", names[r], g.number, g.credential, v.dead)
	case err == nil && over:
		h.fail("%s accepts version %d of %s, whose end %s has arrived", names[r], g.number, g.credential, v.until)
	case err == nil:
		h.count["accepted"]++
	case errors.Is(err, access.ErrUnknown):
		h.count["unheard"]++
	case errors.Is(err, access.ErrRefused) && v.dead == "" && !over:
		h.fail("%s refuses version %d of %s for good, and knows no reason", names[r], g.number, g.credential)
	case errors.Is(err, access.ErrRefused):
		h.count["refused"]++
	case strings.Contains(err.Error(), "whole of its last batch"):
		h.fail("%s waits for what is not to come: %v", names[r], err)
	case errors.Is(err, access.ErrNotBootstrapped), errors.Is(err, access.ErrUnavailable):
		if h.replication.Pending() == 0 {
			h.fail("%s: %v, and all has arrived", names[r], err)
		}
	default:
		h.fail("%s: %v", names[r], err)
	}
}

// heal lets everything arrive: then both regions are the same, and every secret is accepted, or it is told why not.
func (h *history) heal() {
	h.partitioned = false
	h.say("healed")
	h.deliverAll()
	h.sameTables()
	h.now = h.now.Add(2 * time.Minute) // clocks differ by less: what one has dated the other has reached
	for r := range h.regions {
		h.regions[r].a.Refresh(ctx, h.at(r))
	}
	h.sameJoins()
	h.restart(h.rng.IntN(2))
	h.sameJoins()
	all := slices.Concat(h.regions[0].later, h.regions[1].later)
	for _, g := range h.secrets {
		v := judge(all, g, h.trunk(g))
		over := func(r int) bool { return !v.until.IsZero() && !h.at(r).Before(v.until) }
		for r := range h.regions {
			_, err := h.authenticate(r, g)
			if good := v.dead == "" && !over(r); good != (err == nil) {
				h.fail("in the end version %d of %s in %s: %v, after %+v", g.number, g.credential, names[r], err, v)
			}
		}
	}
	h.goesOn()
}

func (h *history) sameTables() {
	var sides [2][]global.Item
	for r := range h.regions {
		var err error
		sides[r], err = h.regions[r].table.Items(ctx)
		h.must(err)
	}
	if !reflect.DeepEqual(sides[0], sides[1]) {
		h.fail("the tables differ: %s", cmp.Diff(sides[0], sides[1], cmp.Exporter(func(reflect.Type) bool { return true })))
	}
}

// sameJoins: all that the two regions know is the same, and their ledgers are whole.
func (h *history) sameJoins() {
	at := h.at(0)
	a, b := h.regions[0].a, h.regions[1].a
	for _, c := range h.known {
		x, errX := a.Credential(ctx, at, c)
		y, errY := b.Credential(ctx, at, c)
		if errX != nil || errY != nil || !reflect.DeepEqual(x, y) {
			h.fail("%s: %v, %v: %s", c, errX, errY, cmp.Diff(x, y))
		}
	}
	x, err := a.Cluster(ctx)
	h.must(err)
	y, err := b.Cluster(ctx)
	h.must(err)
	if x.Home != y.Home || !x.HomeSince.Equal(y.HomeSince) || !reflect.DeepEqual(x.Keys, y.Keys) || !bytes.Equal(x.License, y.License) {
		h.fail("the cluster differs: %s", cmp.Diff(x.Cluster, y.Cluster))
	}
	h.must(a.CheckLedger(ctx))
	h.must(b.CheckLedger(ctx))
}

// goesOn: one region is home, the other one is not, and each takes the other's tokens.
func (h *history) goesOn() {
	if h.home(0) == h.home(1) {
		h.fail("both regions are home, or none: %v", h.home(0))
	}
	for r := range h.regions {
		for _, g := range h.secrets {
			client, err := h.authenticate(r, g)
			if err != nil {
				continue
			}
			issued, err := h.regions[r].a.Issue(ctx, h.at(r), client, access.TokenRequest{})
			h.must(err)
			_, err = h.regions[1-r].a.Check(ctx, h.at(1-r), issued.AccessToken, "")
			h.must(err)
			break
		}
		_, err := h.regions[r].a.Recover(ctx, h.origin(r))
		h.wrote()
		if h.home(r) != (err == nil) || err != nil && !errors.Is(err, authority.ErrNotHome) {
			h.fail("recovery in %s, home %v: %v", names[r], h.home(r), err)
		}
	}
}
