package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/keyturn/keyturn/internal/authority"
)

// ErrInjected is what a call that is meant to fail returns. It is none of the contract's errors: the outcome is unknown.
var ErrInjected = errors.New("storetest: this call was meant to fail")

// Fault is one call that fails.
type Fault struct {
	Method string // the method whose calls are counted, as "Append"; "" counts the calls of all methods
	Call   int    // which of them fails: 1 is the first
	After  bool   // the store does what it was asked, and only then the call fails: "failed, yet committed"
}

// Faults is a store that fails as planned and otherwise does what the store behind it does. Close never fails and is not
// counted.
type Faults struct {
	store authority.Store

	mu    sync.Mutex
	plan  []Fault
	calls []string
	fired int
}

var _ authority.Store = (*Faults)(nil)

// Faulty returns s with faults. Planned calls that are never made do no harm; Fired tells.
func Faulty(s authority.Store, plan ...Fault) *Faults {
	return &Faults{store: s, plan: plan}
}

// Each runs scenario once for every call that it makes to a store, with that call failing before it reaches the store,
// and once with it failing after. The scenario wraps its store with faulty, exactly once. The last run has no fault, so
// that Each notices a scenario that never ends.
func Each(t *testing.T, scenario func(t *testing.T, faulty func(authority.Store) authority.Store)) {
	for _, after := range []bool{false, true} {
		for call, more := 1, true; more; call++ {
			t.Run(fmt.Sprintf("Call%dAfter=%t", call, after), func(t *testing.T) {
				var f *Faults
				scenario(t, func(s authority.Store) authority.Store {
					f = Faulty(s, Fault{Call: call, After: after})
					return f
				})
				more = f != nil && f.Fired() > 0
			})
		}
	}
}

// Calls returns the names of the methods that were called, in order.
func (f *Faults) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Fired returns how many of the planned faults have happened.
func (f *Faults) Fired() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// next counts a call of method and says whether it fails, and when.
func (f *Faults) next(method string) (fails, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, method)
	same := 0
	for _, m := range f.calls {
		if m == method {
			same++
		}
	}
	for _, p := range f.plan {
		if p.Method == "" && p.Call == len(f.calls) || p.Method == method && p.Call == same {
			f.fired++
			return true, p.After
		}
	}
	return false, false
}

// do makes one call with its fault, if it has one.
func do[T any](f *Faults, method string, call func() (T, error)) (T, error) {
	var none T
	fails, after := f.next(method)
	if fails && !after {
		return none, ErrInjected
	}
	v, err := call()
	if fails {
		return none, ErrInjected
	}
	return v, err
}

// Append is authority.Store's, with its faults. So are the methods that follow.
func (f *Faults) Append(ctx context.Context, b authority.Batch) error {
	_, err := do(f, "Append", func() (struct{}, error) { return struct{}{}, f.store.Append(ctx, b) })
	return err
}

// Subject is authority.Store's.
func (f *Faults) Subject(ctx context.Context, subject string) ([]authority.Entry, error) {
	return do(f, "Subject", func() ([]authority.Entry, error) { return f.store.Subject(ctx, subject) })
}

// Page is authority.Store's.
func (f *Faults) Page(ctx context.Context, list, after string, limit int) ([]string, error) {
	return do(f, "Page", func() ([]string, error) { return f.store.Page(ctx, list, after, limit) })
}

// Ledger is authority.Store's.
func (f *Faults) Ledger(ctx context.Context, region string, after uint64, limit int) ([]authority.Entry, error) {
	return do(f, "Ledger", func() ([]authority.Entry, error) { return f.store.Ledger(ctx, region, after, limit) })
}

// Heads is authority.Store's.
func (f *Faults) Heads(ctx context.Context) (map[string]authority.Head, error) {
	return do(f, "Heads", func() (map[string]authority.Head, error) { return f.store.Heads(ctx) })
}

// Claim is authority.Store's.
func (f *Faults) Claim(ctx context.Context, c authority.Claim) error {
	_, err := do(f, "Claim", func() (struct{}, error) { return struct{}{}, f.store.Claim(ctx, c) })
	return err
}

// Claimed is authority.Store's.
func (f *Faults) Claimed(ctx context.Context, key string) (authority.Claim, error) {
	return do(f, "Claimed", func() (authority.Claim, error) { return f.store.Claimed(ctx, key) })
}

// Close closes the store behind.
func (f *Faults) Close() error { return f.store.Close() }
