package authority_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
)

func (w *world) revoke(by access.Caller, target id.ClientID) error {
	return w.a.Revoke(ctx, by, w.origin(by), target)
}

func (w *world) mustRevoke(by access.Caller, target id.ClientID) {
	w.t.Helper()
	if err := w.revoke(by, target); err != nil {
		w.t.Fatalf("revoke %s: %v", target, err)
	}
}

// refuses checks that a token is dead.
func (w *world) refuses(text string) {
	w.t.Helper()
	if _, err := w.a.Check(ctx, w.at, text, ""); !errors.Is(err, access.ErrToken) {
		w.t.Errorf("the token still counts: %v", err)
	}
}

func TestRevoke_AWholeCredential(t *testing.T) {
	t.Parallel()
	w := found(t)
	m := w.create(w.root, nil)
	old := w.token(m.client, m.secret, "")
	next := w.rotate(w.root, m.target(), authority.RotateRequest{Window: day})
	fresh := w.token(m.client, next.Secret, "")
	w.mustRevoke(w.root, m.target())
	w.refuses(old)
	w.refuses(fresh)
	for range 3 { // for ever, and whatever is swept
		w.accepts(false, m.secret, m.client, m.client+"-1")
		w.accepts(false, next.Secret, m.client, m.client+"-2")
		w.later(20 * day)
		if _, err := w.file.Sweep(ctx, w.at); err != nil {
			t.Fatal(err)
		}
	}
	if c := w.credential(m.id); c.Status(w.at) != credential.Revoked || !c.RevokedAt.Equal(start) {
		t.Errorf("%s since %s", c.Status(w.at), c.RevokedAt)
	}
	entries, err := w.file.Subject(ctx, m.id.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Secret != nil {
			t.Errorf("the hash of %d is still there", e.Seq)
		}
	}
}

func TestRevoke_OneVersion(t *testing.T) {
	t.Parallel()
	w := found(t)
	bare := w.founded.Credential.ID.String()
	first := w.token(bare, w.founded.Secret, "")
	second1 := w.rotate(w.root, w.shared(), authority.RotateRequest{Window: day})
	by := w.caller(bare, second1.Secret)
	w.mustRevoke(by, clientID(t, bare+"-1"))
	w.refuses(first)
	w.accepts(false, w.founded.Secret, bare)
	w.accepts(true, second1.Secret, bare, bare+"-1")
	// A version of a standard credential can be named, too.
	m := w.create(by, nil)
	next := w.rotate(by, m.target(), authority.RotateRequest{Window: day})
	w.mustRevoke(by, clientID(t, m.client+"-2"))
	w.accepts(false, next.Secret, m.client)
	w.accepts(true, m.secret, m.client)
	// Its last version dead is a credential revoked.
	w.mustRevoke(by, clientID(t, m.client+"-1"))
	if got := w.credential(m.id).Status(w.at); got != credential.Revoked {
		t.Errorf("= %s", got)
	}
}

func TestRevoke_AgainAndUnknown(t *testing.T) {
	t.Parallel()
	w := found(t)
	m := w.create(w.root, nil)
	reader := w.create(w.root, scopes(credential.CredentialsRead))
	w.mustRevoke(w.root, m.target())
	before := w.head()
	w.later(time.Hour - second)
	w.mustRevoke(w.root, m.target())
	w.mustRevoke(w.root, clientID(t, m.client+"-1"))
	for name, want := range map[string]error{m.client + "-2": authority.ErrNotKnown, "cli_00000000000000000000000000": authority.ErrNotKnown} {
		if err := w.revoke(w.root, clientID(t, name)); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := w.revoke(w.caller(reader.client, reader.secret), m.target()); !errors.Is(err, access.ErrForbidden) {
		t.Errorf("without the scope: %v", err)
	}
	if w.head() != before {
		t.Errorf("%d records more", w.head()-before)
	}
	if c := w.credential(m.id); !c.RevokedAt.Equal(start) {
		t.Errorf("revoked at %s", c.RevokedAt)
	}
}

func TestRevoke_Self(t *testing.T) {
	t.Parallel()
	w := found(t)
	bare := w.founded.Credential.ID.String()
	spare := w.create(w.root, scopes(credential.Admin)) // so that the last writer is not the reason
	before := w.head()
	for _, name := range []string{bare, bare + "-1"} {
		if err := w.revoke(w.root, clientID(t, name)); !errors.Is(err, authority.ErrSelfRevocation) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.head() != before {
		t.Error("it wrote")
	}
	second1 := w.rotate(w.root, w.shared(), authority.RotateRequest{Window: day})
	if err := w.revoke(w.root, clientID(t, bare+"-1")); !errors.Is(err, authority.ErrSelfRevocation) {
		t.Errorf("the version in use: %v", err)
	}
	w.mustRevoke(w.root, clientID(t, bare+"-2")) // not the one in use
	w.accepts(false, second1.Secret, bare)
	w.mustRevoke(w.caller(spare.client, spare.secret), w.shared())
}

func TestRevoke_LastAdmin(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		others func(w *world) // what there is beside the caller's target
		want   error
	}{
		"Nothing":     {func(*world) {}, authority.ErrLastAdmin},
		"OnlyReaders": {func(w *world) { w.create(w.root, scopes(credential.CredentialsRead, credential.PeersWrite)) }, authority.ErrLastAdmin},
		"OneThatExpires": {func(w *world) {
			w.create(w.root, nil, func(r *authority.CreateRequest) { r.ExpiresIn = 99 * 365 * day })
		}, authority.ErrLastAdmin},
		"OneRevoked": {func(w *world) { w.mustRevoke(w.root, w.create(w.root, nil).target()) }, authority.ErrLastAdmin},
		"OneWriter":  {func(w *world) { w.create(w.root, scopes(credential.CredentialsWrite)) }, nil},
		"OneKeyed": {func(w *world) {
			w.create(w.root, nil, func(r *authority.CreateRequest) { r.Key = newClient(t, "EdDSA").public() })
		}, nil},
		"OneRotated": {func(w *world) { w.rotate(w.root, w.create(w.root, nil).target(), authority.RotateRequest{}) }, nil},
		"OneKilled": {func(w *world) {
			w.rotate(w.root, w.create(w.root, nil).target(), authority.RotateRequest{Emergency: true})
		}, nil},
		"OneWithoutItsCurrentVersion": {func(w *world) {
			m := w.create(w.root, nil)
			w.rotate(w.root, m.target(), authority.RotateRequest{Window: 168 * time.Hour})
			w.mustRevoke(w.root, clientID(w.t, m.client+"-2")) // what is left of it is superseded
		}, authority.ErrLastAdmin},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := found(t)
			w.t = t
			c.others(w)
			// Somebody who cannot last either asks: for the whole, and for the version that makes it last.
			passing := w.create(w.root, nil, func(r *authority.CreateRequest) { r.ExpiresIn = time.Hour })
			by := w.caller(passing.client, passing.secret)
			before := w.head()
			err := w.revoke(by, clientID(t, w.founded.Credential.ClientID(1)))
			if !errors.Is(err, c.want) {
				t.Errorf("the version: %v, want %v", err, c.want)
			}
			if c.want != nil {
				if err := w.revoke(by, w.shared()); !errors.Is(err, c.want) || w.head() != before {
					t.Errorf("the whole: %v, want %v, %d records", err, c.want, w.head()-before)
				}
				w.accepts(true, w.founded.Secret, w.founded.Credential.ClientID(1))
			}
		})
	}
}

func TestRevoke_WhatCannotWriteMayAlwaysGo(t *testing.T) {
	t.Parallel()
	w := found(t)
	bare := w.founded.Credential.ID.String()
	reader := w.create(w.root, scopes(credential.CredentialsRead))
	passing := w.create(w.root, nil, func(r *authority.CreateRequest) { r.ExpiresIn = time.Hour })
	w.mustRevoke(w.root, reader.target())
	w.mustRevoke(w.root, passing.target())
	next := w.rotate(w.root, w.shared(), authority.RotateRequest{Window: day})
	w.mustRevoke(w.caller(bare, next.Secret), clientID(t, bare+"-1")) // superseded
}

// Two regions, or two callers, each count on the other's target: exactly one wins.
func TestRevoke_TheLastTwoAtOnce(t *testing.T) {
	t.Parallel()
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			w := found(t, remembering)
			if i%2 == 1 { // two instances over one store, without a memory
				w.reopen(func(o *authority.Options) { o.SoleWriter = false })
			}
			other := *w
			if i%2 == 1 {
				other.over(w.file)
			}
			m := w.create(w.root, scopes(credential.Admin))
			second1 := w.caller(m.client, m.secret)
			var errs [2]error
			var wg sync.WaitGroup
			wg.Go(func() { errs[0] = w.revoke(w.root, m.target()) })
			wg.Go(func() { errs[1] = other.revoke(second1, w.shared()) })
			wg.Wait()
			won := 0
			for _, err := range errs {
				switch {
				case err == nil:
					won++
				case errors.Is(err, authority.ErrLastAdmin) || errors.Is(err, access.ErrToken):
				default:
					t.Errorf("%v", err)
				}
			}
			if won != 1 {
				t.Errorf("%d won: %v", won, errs)
			}
		})
	}
}

// The same where both wait for the same commit: then neither sees the other's tombstone in the store.
func TestRevoke_TheLastTwoInOneQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := found(t)
		a, b := w.create(w.root, nil), w.create(w.root, nil)
		byA := w.caller(a.client, a.secret)
		passing := w.create(w.root, nil, func(r *authority.CreateRequest) { r.ExpiresIn = time.Hour })
		by := w.caller(passing.client, passing.secret)
		w.mustRevoke(byA, w.shared())
		s := &slow{Store: w.file, release: make(chan struct{})}
		w.over(s)
		var wg sync.WaitGroup
		var errs [2]error
		wg.Go(func() { w.create(by, nil, func(r *authority.CreateRequest) { r.ExpiresIn = time.Hour }) })
		synctest.Wait() // it is being written
		wg.Go(func() { errs[0] = w.revoke(by, b.target()) })
		wg.Go(func() { errs[1] = w.revoke(by, a.target()) })
		synctest.Wait()
		close(s.release)
		wg.Wait()
		won, last := 0, 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if errors.Is(err, authority.ErrLastAdmin) {
				last++
			}
		}
		if won != 1 || last != 1 {
			t.Errorf("%v", errs)
		}
	})
}

// What a dead caller asked for before it died comes before its tombstone, or not at all.
func TestCaller_DiesBetweenCheckAndCommit(t *testing.T) {
	t.Parallel()
	w := found(t)
	bare := w.founded.Credential.ID.String()
	stolen := w.root // checked, and about to write
	spare, victim := w.create(w.root, nil), w.create(w.root, nil)
	w.rotate(w.caller(spare.client, spare.secret), w.shared(), authority.RotateRequest{Emergency: true})
	before := w.head()
	for name, write := range map[string]func() error{
		"Create": func() error {
			_, err := w.a.Create(ctx, stolen, w.origin(stolen), authority.CreateRequest{}, authority.Once{})
			return err
		},
		"Rotate": func() error {
			_, err := w.a.Rotate(ctx, stolen, w.origin(stolen), victim.target(), authority.RotateRequest{}, authority.Once{})
			return err
		},
		"RotateShared": func() error {
			_, err := w.a.RotateShared(ctx, stolen, w.origin(stolen), authority.RotateRequest{}, authority.Once{})
			return err
		},
		"Revoke": func() error { return w.revoke(stolen, victim.target()) },
		"Vouch":  func() error { return w.a.Vouch(ctx, stolen, w.origin(stolen), *newClient(t, "EdDSA").public()) },
	} {
		if err := write(); !errors.Is(err, access.ErrToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.head() != before {
		t.Errorf("the dead wrote %d records", w.head()-before)
	}
	w.accepts(false, w.founded.Secret, bare)
}

// An emergency's list and the refusals that follow it leave no gap between them.
func TestEmergency_ListsAllThatTheKilledCreated(t *testing.T) {
	t.Parallel()
	for _, option := range []func(*authority.Options){private, remembering} {
		w := found(t, option)
		spare := w.create(w.root, scopes(credential.Admin))
		by := w.caller(spare.client, spare.secret)
		var (
			wg   sync.WaitGroup
			mu   sync.Mutex
			made = map[string]bool{spare.client: true}
		)
		for range 8 { // the thief
			wg.Go(func() {
				for {
					done, err := w.a.Create(ctx, w.root, w.origin(w.root), authority.CreateRequest{}, authority.Once{})
					if err != nil {
						if !errors.Is(err, access.ErrToken) {
							t.Errorf("%v", err)
						}
						return
					}
					mu.Lock()
					made[done.Credential.ID.String()] = true
					mu.Unlock()
				}
			})
		}
		for grown := false; !grown; {
			mu.Lock()
			grown = len(made) > 5
			mu.Unlock()
		}
		done := w.rotate(by, w.shared(), authority.RotateRequest{Emergency: true})
		wg.Wait()
		for _, name := range done.CreatedByKilled {
			delete(made, name)
		}
		if len(made) != 0 {
			t.Errorf("%d are not listed", len(made))
		}
	}
}
