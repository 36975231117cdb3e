package authority_test

import (
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
)

// allWrites tries every write and says how each ended.
func (g given) allWrites() map[string]error {
	out := map[string]error{}
	for _, w := range writes() {
		_, s, err := w.do(g, authority.Once{})
		if err != nil && !s.IsZero() {
			g.t.Errorf("%s: a secret beside an error", w.name)
		}
		out[w.name] = err
	}
	return out
}

func TestClock_Behind(t *testing.T) {
	t.Parallel()
	g := ready(t)
	bare := g.founded.Credential.ID.String()
	next := g.rotate(g.root, g.shared(), authority.RotateRequest{Window: 168 * time.Hour})
	written := g.at
	for _, restart := range []bool{false, true} {
		if restart {
			g.reopen()
		}
		g.at = written.Add(-access.Leeway)
		if failed := g.a.Ready(ctx, g.at); len(failed) != 0 || g.a.ClockBehind(g.at) {
			t.Errorf("within the leeway: %v", failed)
		}
		g.accepts(true, g.founded.Secret, bare)
		g.later(-second)
		before := g.head()
		for name, err := range g.allWrites() {
			if !errors.Is(err, access.ErrClock) || !errors.Is(err, access.ErrUnavailable) {
				t.Errorf("restart=%t, %s: %v", restart, name, err)
			}
		}
		if g.head() != before {
			t.Error("it wrote")
		}
		g.accepts(true, next.Secret, bare) // no deadline, no doubt
		if _, err := g.authenticate(bare, g.founded.Secret); !errors.Is(err, access.ErrUnavailable) {
			t.Errorf("a superseded secret: %v", err)
		}
		if failed := g.a.Ready(ctx, g.at); len(failed) != 1 || failed["clock"] == "" {
			t.Errorf("ready: %v", failed)
		}
		g.at = written // the clock is right again
		if failed := g.a.Ready(ctx, g.at); len(failed) != 0 {
			t.Errorf("ready: %v", failed)
		}
		g.accepts(true, g.founded.Secret, bare)
	}
}

func TestClock_AnOperatorAcceptsIt(t *testing.T) {
	t.Parallel()
	w := found(t)
	bare := w.founded.Credential.ID.String()
	w.at = start.Add(400 * day) // the clock jumps forth, something is written, and it comes back
	w.create(w.caller(bare, w.founded.Secret), nil)
	w.at = start.Add(time.Hour)
	if _, err := w.a.Recover(ctx, authority.Origin{At: w.at}); !errors.Is(err, access.ErrClock) {
		t.Fatalf("%v", err)
	}
	w.reopen(func(o *authority.Options) { o.AcceptClock = true })
	if failed := w.a.Ready(ctx, w.at); len(failed) != 0 {
		t.Errorf("ready: %v", failed)
	}
	done := w.rotate(w.caller(bare, w.founded.Secret), w.shared(), authority.RotateRequest{Window: time.Hour})
	w.accepts(true, w.founded.Secret, bare)
	if !w.a.ClockBehind(w.at.Add(-access.Leeway - second)) {
		t.Error("accepted once is not accepted for ever")
	}
	w.later(time.Hour)
	w.accepts(false, w.founded.Secret, bare)
	w.reopen(func(o *authority.Options) { o.AcceptClock = false }) // what was written since says what time it is
	if failed := w.a.Ready(ctx, w.at); len(failed) != 0 {
		t.Errorf("ready: %v", failed)
	}
	w.accepts(true, done.Secret, bare)
	w.create(w.caller(bare, done.Secret), nil)
}

// A clock that creeps back writes no more once it is behind the newest record, not only behind the last.
func TestClock_CreepsBack(t *testing.T) {
	t.Parallel()
	w := found(t)
	w.later(-20 * second)
	w.create(w.root, nil)
	w.later(-20 * second)
	if _, err := w.a.Create(ctx, w.root, w.origin(w.root), authority.CreateRequest{}, authority.Once{}); !errors.Is(err, access.ErrClock) {
		t.Errorf("40 s behind: %v", err)
	}
}

// A clock that jumps forth and back, without a write, leaves nothing behind: nobody stays locked out.
func TestClock_JumpsForthAndBack(t *testing.T) {
	t.Parallel()
	for name, option := range map[string]func(*authority.Options){"Remembering": remembering, "Reading": private} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := found(t, option)
			bare := w.founded.Credential.ID.String()
			m := w.create(w.root, nil, func(r *authority.CreateRequest) { r.ExpiresIn = time.Hour })
			next := w.rotate(w.root, w.shared(), authority.RotateRequest{Window: day})
			for _, jump := range []time.Duration{2 * day, 0, 2 * day, 0, 100 * day, 0, day - second, day, 0} {
				w.at = start.Add(jump)
				w.accepts(jump < day, w.founded.Secret, bare)
				w.accepts(jump < time.Hour, m.secret, m.client)
				w.accepts(true, next.Secret, bare)
			}
			c := w.credential(w.founded.Credential.ID)
			if len(c.Versions) != 2 || c.VersionStatus(&c.Versions[0], w.at) != credential.Superseded {
				t.Errorf("%+v", c.Versions)
			}
		})
	}
}
