package authority_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
)

// Every answer is a success or ErrRaced; every secret that was handed out is the current one, or superseded with its window.
func TestRotate_ManyOfOneCredential(t *testing.T) {
	t.Parallel()
	for name, instances := range map[string]int{"OneProcess": 1, "ThreeInstances": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := found(t, func(o *authority.Options) { o.Private, o.SoleWriter = true, instances == 1 })
			all := []*world{w}
			for len(all) < instances {
				other := *w
				other.over(w.file)
				all = append(all, &other)
			}
			var (
				wg      sync.WaitGroup
				mu      sync.Mutex
				secrets = map[int]credential.Secret{1: w.founded.Secret}
				raced   int
			)
			for i := range 200 {
				one := all[i%instances]
				wg.Go(func() {
					done, err := one.a.RotateShared(ctx, w.root, w.origin(w.root), authority.RotateRequest{Window: time.Hour}, authority.Once{})
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil && !done.Secret.IsZero():
						if _, twice := secrets[done.Version]; twice {
							t.Errorf("version %d twice", done.Version)
						}
						secrets[done.Version] = done.Secret
					case errors.Is(err, authority.ErrRaced) && done.Secret.IsZero():
						raced++
					case instances > 1 && errors.Is(err, access.ErrUnavailable): // its budget was used up
						raced++
					default:
						t.Errorf("%+v, %v", done, err)
					}
				})
			}
			wg.Wait()
			c := w.credential(w.founded.Credential.ID)
			if len(secrets) < 2 || len(secrets)+raced != 201 || c.Number() != len(secrets) || len(c.Versions) != len(secrets) {
				t.Fatalf("%d secrets, %d raced, %d versions, the last is %d", len(secrets), raced, len(c.Versions), c.Number())
			}
			for _, after := range []time.Duration{0, time.Hour - second, second} {
				w.later(after)
				for version, s := range secrets {
					w.accepts(version == len(secrets) || w.at.Before(start.Add(time.Hour)), s, c.ID.String())
				}
			}
			for i, v := range c.Versions {
				if v.Number != i+1 || (i == len(c.Versions)-1) != v.NotAfter.IsZero() {
					t.Errorf("version %d has number %d, until %s", i+1, v.Number, v.NotAfter)
				}
			}
			if err := w.a.CheckLedger(ctx); err != nil {
				t.Errorf("the chain: %v", err)
			}
		})
	}
}

// Writes to different subjects never fail each other.
func TestWrites_ToDifferentSubjects(t *testing.T) {
	t.Parallel()
	w := found(t, remembering)
	var ready [100]made
	for i := range ready {
		ready[i] = w.create(w.root, scopes(credential.CredentialsWrite, credential.PeersRead))
	}
	var wg sync.WaitGroup
	for i, m := range ready {
		by := w.root
		if i%2 == 0 {
			by = w.caller(m.client, m.secret) // everybody for themselves
		}
		wg.Go(func() {
			own := w.create(by, scopes(credential.PeersRead))
			once := onceFor(by.ID().String(), "rotate", "7")
			if i%2 != 0 {
				once = authority.Once{}
			}
			next, err := w.a.Rotate(ctx, by, w.origin(by), m.target(), authority.RotateRequest{Emergency: i%5 == 0 && i%2 != 0}, once)
			if err != nil {
				t.Errorf("%d: rotate: %v", i, err)
				return
			}
			if err := w.a.Revoke(ctx, by, w.origin(by), own.target()); err != nil {
				t.Errorf("%d: revoke: %v", i, err)
			}
			w.accepts(true, next.Secret, m.client)
			w.accepts(false, own.secret, own.client)
		})
	}
	wg.Wait()
	if err := w.a.CheckLedger(ctx); err != nil {
		t.Errorf("the chain: %v", err)
	}
	if got := w.head(); got != 6+200+400 {
		t.Errorf("%d records", got)
	}
}

// Two processes over one store: each writes in its turn, and none is lost.
func TestWrites_OfTwoInstances(t *testing.T) {
	t.Parallel()
	w := found(t)
	other := *w
	other.over(w.file)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all []made
	for _, one := range []*world{w, &other} {
		for range 4 {
			wg.Go(func() {
				for range 5 {
					m := one.create(w.root, nil)
					mu.Lock()
					all = append(all, m)
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	for _, m := range all {
		w.accepts(true, m.secret, m.client)
		other.accepts(true, m.secret, m.client)
	}
	if err := w.a.CheckLedger(ctx); err != nil || len(all) != 40 {
		t.Errorf("%d credentials, the chain: %v", len(all), err)
	}
	if !slices.IsSortedFunc(w.entries(), func(a, b authority.Entry) int { return int(a.Seq) - int(b.Seq) }) {
		t.Error("not in order")
	}
}
