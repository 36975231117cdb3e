package authority

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/usage"
)

// ownUsage is what this authority's own callers have used.
type ownUsage struct {
	tally *usage.Tally
	begun atomic.Pointer[time.Time] // since when uses are noted; nil: not read yet

	mu      sync.Mutex                   // held by who stores
	sending atomic.Pointer[usage.Report] // what is being noted, or may have been, though nobody said so
	tried   map[usage.Key]time.Time      // when a version was noted last, where each has a note of its own
}

func newOwnUsage() *ownUsage {
	return &ownUsage{tally: usage.NewTally(usageSources), tried: map[usage.Key]time.Time{}}
}

// CountUse counts that a client has shown its secret, or signed with its key, and was accepted. A peer that asks for its own
// token is none. due reports that StoreUsage would note it at that instant; where this authority is the only writer, that is
// for the caller to pace.
func (a *Authority) CountUse(k usage.Key, at time.Time) (due bool) {
	if k.Version == 0 || strings.HasPrefix(k.ClientID, string(id.Peer)) {
		return false
	}
	a.used.tally.Count(k, at)
	if a.o.SoleWriter || !a.used.mu.TryLock() {
		return false
	}
	defer a.used.mu.Unlock()
	return a.used.due(usage.Key{ClientID: k.ClientID, Version: k.Version}, at)
}

// due reports whether a version was not tried within the minute. The caller holds the lock.
func (o *ownUsage) due(v usage.Key, at time.Time) bool {
	tried, ok := o.tried[v]
	return !ok || !at.Before(tried.Add(usage.Every))
}

// StoreUsage notes what was counted since the last time. What could not be noted is kept for the next time. It returns
// access.ErrUnavailable.
//
// Where this authority is the only writer, one note holds all: call it once a minute, and before the end. Else there is one of
// each version, so that processes that count for one authority seldom meet: call it whenever something was counted, and each
// version is noted once a minute at the most.
func (a *Authority) StoreUsage(ctx context.Context, at time.Time) error {
	self := a.Self()
	if self == "" || !a.used.mu.TryLock() {
		return nil
	}
	defer a.used.mu.Unlock()
	if a.o.SoleWriter {
		return a.storeAll(ctx, at, usageKey(self))
	}
	return a.storeVersions(ctx, at, self)
}

// storeAll notes everything. A report whose outcome is not known is sent again as it was, so that nothing counts twice.
func (a *Authority) storeAll(ctx context.Context, at time.Time, key string) error {
	if _, err := a.usageBegun(ctx, at); err != nil { // also where nobody comes
		return err
	}
	r := a.used.sending.Load()
	if r == nil {
		uses, _ := a.used.tally.Take()
		if len(uses) == 0 {
			return nil
		}
		r = &usage.Report{ID: rand.Text(), At: at, Uses: uses}
		a.used.sending.Store(r)
	}
	err := a.note(ctx, at, noted{key: key, sources: usageSources}, *r)
	if soon := new(TooSoonError); errors.As(err, &soon) { // then it was not noted before either
		a.used.tally.Return(r.Uses, false)
		err = nil
	}
	if err == nil {
		a.used.sending.Store(nil)
	}
	return err
}

// pending is what has been counted and may not have been noted.
func (o *ownUsage) pending() []usage.Use {
	list := o.tally.Pending()
	if r := o.sending.Load(); r != nil {
		list = usage.Merge(list, r.Uses)
	}
	return list
}

// storeVersions notes each version under a key of its own. Uses of one that fails are counted again later: better twice than
// not at all.
func (a *Authority) storeVersions(ctx context.Context, at time.Time, self id.ID) error {
	uses, _ := a.used.tally.Take()
	byVersion := map[usage.Key][]usage.Use{}
	for _, u := range uses {
		v := usage.Key{ClientID: u.ClientID, Version: u.Version}
		byVersion[v] = append(byVersion[v], u)
	}
	var failed error
	for v, list := range byVersion {
		if !a.used.due(v, at) || failed != nil {
			a.used.tally.Return(list, false)
			continue
		}
		a.used.remember(v, at)
		where := noted{key: usageKeyOf(self, v.ClientID, v.Version), sources: usageSources, guard: usage.Every}
		err := a.note(ctx, at, where, usage.Report{At: at, Uses: list})
		if err != nil {
			a.used.tally.Return(list, false)
		}
		if soon := new(TooSoonError); err != nil && !errors.As(err, &soon) {
			failed = err
		}
	}
	return failed
}

// remember notes that a version was tried at instant at, and forgets what was tried long before.
func (o *ownUsage) remember(v usage.Key, at time.Time) {
	for old, tried := range o.tried {
		if !at.Before(tried.Add(usage.Every)) {
			delete(o.tried, old)
		}
	}
	o.tried[v] = at
}
