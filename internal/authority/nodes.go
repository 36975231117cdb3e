package authority

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/peer"
)

// nodes is the counter of active sidecars. A region counts what it has written itself, so after a move of the home, or a
// removal in another region, the counter is not the number of peers. Who comes near the limit counts the peers, and sets
// it right.
const nodes = "nodes"

// room adds one more sidecar to a draft, or returns ErrLicenseLimit. It reads the peers only where so many have ever joined
// that there could be too many, or where it is exact: a write that ran into a conflict may have run into the counter.
func (a *Authority) room(ctx context.Context, d *draft, limit int, exact bool) error {
	names, err := a.names(ctx, listPeers, "")
	if err != nil {
		return err
	}
	if len(names) < limit && !exact {
		d.limits = append(d.limits, Limit{Name: nodes, Delta: 1, Max: limit})
		return nil
	}
	active, err := a.sidecars(ctx, d.At)
	if err != nil {
		return err
	}
	if len(active) >= limit {
		return fmt.Errorf("%w: it allows %d nodes, and %d have joined: remove a peer, or apply a larger license", ErrLicenseLimit, limit, len(active))
	}
	d.limits = append(d.limits,
		Limit{Name: nodes, Delta: -math.MaxInt32}, // it stays at zero
		Limit{Name: nodes, Delta: len(active) + 1, Max: limit})
	return nil
}

// sidecars are the active ones.
func (a *Authority) sidecars(ctx context.Context, at time.Time) ([]*peer.Peer, error) {
	peers, err := a.allPeers(ctx, at)
	var active []*peer.Peer
	for _, p := range peers {
		if p.Role == peer.Sidecar && p.Status() == peer.Active {
			active = append(active, p)
		}
	}
	return active, err
}

func (a *Authority) allPeers(ctx context.Context, at time.Time) ([]*peer.Peer, error) {
	return gather(ctx, a, listPeers, "", func(ctx context.Context, name id.ID) (*peer.Peer, error) { return a.Peer(ctx, at, name) })
}

// names returns the names of a list that are greater than after.
func (a *Authority) names(ctx context.Context, list string, after id.ID) ([]id.ID, error) {
	const page = 1000
	var names []id.ID
	for {
		more, err := a.store.Page(ctx, list, after.String(), page)
		if err != nil {
			return nil, unavailable("page through "+list, err)
		}
		for _, name := range more {
			names = append(names, id.ID(name))
		}
		if len(more) < page {
			return names, nil
		}
		after = names[len(names)-1]
	}
}

// readers is how many subjects are read at once.
const readers = 16

// atOnce calls do with the numbers below n, for so many of them at the same time, and returns when all are done.
func atOnce(n int, do func(i int)) {
	var all sync.WaitGroup
	slots := make(chan struct{}, readers)
	for i := range n {
		slots <- struct{}{}
		all.Go(func() {
			do(i)
			<-slots
		})
	}
	all.Wait()
}

// gather reads the subjects of a list whose names are greater than after, in that order. What is access.ErrUnknown is left
// out: its directory item arrived before its records.
func gather[T any](ctx context.Context, a *Authority, list string, after id.ID, read func(context.Context, id.ID) (T, error)) ([]T, error) {
	names, err := a.names(ctx, list, after)
	if err != nil {
		return nil, err
	}
	values, errs := make([]T, len(names)), make([]error, len(names))
	atOnce(len(names), func(i int) { values[i], errs[i] = read(ctx, names[i]) })
	known := make([]T, 0, len(names))
	for i, err := range errs {
		switch {
		case errors.Is(err, access.ErrUnknown):
		case err != nil:
			return nil, err
		default:
			known = append(known, values[i])
		}
	}
	return known, nil
}
