package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/ledger"
)

// Home returns the region that accepts every write, and whether it is this one. An authority that is the only writer is
// home, whatever its ledger says. It returns access.ErrNotBootstrapped or ErrUnavailable.
func (a *Authority) Home(ctx context.Context) (region string, here bool, err error) {
	c, err := a.Cluster(ctx)
	if err != nil {
		return "", false, err
	}
	return c.Home, a.isHome(c), nil
}

func (a *Authority) isHome(c *access.Cluster) bool { return a.o.SoleWriter || c.Home == a.o.Region }

// AtHome returns ErrNotHome where another region is home, or is to found the cluster. It can return ErrUnavailable.
func (a *Authority) AtHome(ctx context.Context) error {
	home, here, err := a.Home(ctx)
	switch {
	case errors.Is(err, access.ErrNotBootstrapped) && a.o.Joins:
		return fmt.Errorf("%w: it founds the cluster", ErrNotHome)
	case errors.Is(err, access.ErrNotBootstrapped):
		return nil
	case err == nil && !here:
		return fmt.Errorf("%w: it is %s", ErrNotHome, home)
	}
	return err
}

// MovedHome is the outcome of a move of the home.
type MovedHome struct {
	From, To string
	At       time.Time // since when To is home
}

// MoveHome makes this region the home, by a record in its own ledger: the old home may be lost. region has to be this one,
// so that nobody moves it by asking the wrong authority. Where it is home already, nothing changes. Until the record has
// arrived there, the old home goes on writing: what it rotates meanwhile is not lost, and superseded by the next rotation.
// It returns access.ErrForbidden without admin, ErrInput or ErrUnavailable.
func (a *Authority) MoveHome(ctx context.Context, caller access.Caller, o Origin, region string) (MovedHome, error) {
	if err := caller.Require(credential.Admin); err != nil {
		return MovedHome{}, err
	}
	if region != a.o.Region {
		return MovedHome{}, fmt.Errorf("%w: this is the authority of %s: the one of %.64q has to be asked to become home", ErrInput, a.o.Region, region)
	}
	return a.moveHome(ctx, caller, o)
}

// TakeHome is MoveHome for whoever holds the ledger key: after an import, or where every admin secret is lost with the old
// home.
func (a *Authority) TakeHome(ctx context.Context, o Origin) (MovedHome, error) {
	return a.moveHome(ctx, access.Caller{}, o)
}

func (a *Authority) moveHome(ctx context.Context, caller access.Caller, o Origin) (MovedHome, error) {
	c, err := a.Cluster(ctx)
	if err != nil {
		return MovedHome{}, err
	}
	var done MovedHome
	err = a.commit(ctx, o, change{
		by: caller, touches: []string{c.ID.String()}, anywhere: true,
		decide: func(ctx context.Context, d *draft) error {
			now, err := a.Cluster(ctx)
			if err != nil {
				return err
			}
			done = MovedHome{now.Home, a.o.Region, now.HomeSince}
			if now.Home == a.o.Region {
				return nil
			}
			if !d.At.After(now.HomeSince) { // the newest record says who is home, and the other region's clock is ahead
				if now.HomeSince.After(d.At.Add(access.Leeway)) {
					return access.ErrClock
				}
				d.At = now.HomeSince.Add(time.Second)
			}
			done.At = d.At
			d.add(fact{kind: ledger.KindHome, subject: c.ID, body: ledger.HomeBody{Home: a.o.Region}})
			return nil
		},
	})
	if err != nil {
		return MovedHome{}, err // done may still be written to: who stops waiting does not stop the commit
	}
	return done, nil
}

// hear has the cluster's records read again where another region has written something: home may have moved.
func (a *Authority) hear(heads map[string]Head) {
	for region, head := range heads {
		if region == a.o.Region || head.Seq <= a.heard[region] {
			continue
		}
		if a.heard == nil {
			a.heard = map[string]uint64{}
		}
		a.heard[region] = head.Seq
		a.clusterWritten.Add(1)
	}
}
