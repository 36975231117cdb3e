package authority_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
)

// history is what was handed out so far, and two authorities that have to say the same about it: one remembers, one reads.
type history struct {
	*world
	plain   *authority.Authority
	ids     []id.ID
	secrets []credential.Secret
	names   []string
	tokens  []string
}

func (h *history) note(client string, s credential.Secret) {
	c := clientID(h.t, client)
	h.ids, h.names, h.secrets = append(h.ids, c.Credential), append(h.names, client), append(h.secrets, s)
}

// same asks both about everything.
func (h *history) same() {
	h.t.Helper()
	behind := h.a.ClockBehind(h.at) // only who writes knows the newest record; the other one judges deadlines
	for i, name := range h.names {
		proof := access.Proof{ClientID: name, Secret: h.secrets[i].Reveal()}
		a, errA := h.a.Authenticate(ctx, h.at, proof)
		b, errB := h.plain.Authenticate(ctx, h.at, proof)
		if !behind && (errText(errA) != errText(errB) || !cmp.Equal(a.Version, b.Version)) {
			h.t.Fatalf("secret %d of %s at %s: %v, %v", i, name, h.at.Sub(start), errA, errB)
		}
		c, errC := h.a.Credential(ctx, h.at, h.ids[i])
		d, errD := h.plain.Credential(ctx, h.at, h.ids[i])
		if diff := cmp.Diff(d, c); diff != "" || errText(errC) != errText(errD) {
			h.t.Fatalf("%s at %s: read(-) and remembered(+): %s", h.ids[i], h.at.Sub(start), diff)
		}
	}
	for i, text := range h.tokens {
		_, errA := h.a.Check(ctx, h.at, text, "")
		_, errB := h.plain.Check(ctx, h.at, text, "")
		if errText(errA) != errText(errB) {
			h.t.Fatalf("token %d at %s: %v, %v", i, h.at.Sub(start), errA, errB)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// step does one thing, whatever comes of it.
func (h *history) step(rt *rapid.T) {
	i := rapid.IntRange(0, len(h.ids)-1).Draw(rt, "which")
	target := id.ClientID{Credential: h.ids[i]}
	o := authority.Origin{At: h.at}
	window := rapid.SampledFrom([]time.Duration{0, second, time.Hour, credential.MaxWindow}).Draw(rt, "window")
	switch rapid.SampledFrom([]string{"create", "rotate", "emergency", "revoke", "revoke version", "token", "clock", "back"}).Draw(rt, "step") {
	case "create":
		r := authority.CreateRequest{Scopes: scopes(credential.PeersRead), ExpiresIn: window}
		if done, err := h.a.Create(ctx, h.root, o, r, authority.Once{}); err == nil {
			h.note(done.Credential.ID.String(), done.Secret)
		}
	case "rotate":
		if done, err := h.a.Rotate(ctx, h.root, o, target, authority.RotateRequest{Window: window}, authority.Once{}); err == nil {
			h.note(done.ClientID, done.Secret)
		}
	case "emergency":
		if h.ids[i] != h.founded.Credential.ID { // that would be the end of the caller
			if done, err := h.a.Rotate(ctx, h.root, o, target, authority.RotateRequest{Emergency: true}, authority.Once{}); err == nil {
				h.note(done.ClientID, done.Secret)
			}
		}
	case "revoke version":
		target.Version = rapid.IntRange(1, 5).Draw(rt, "version")
		_ = h.a.Revoke(ctx, h.root, o, target)
	case "revoke":
		_ = h.a.Revoke(ctx, h.root, o, target)
	case "token":
		if c, err := h.authenticate(h.names[i], h.secrets[i]); err == nil {
			if issued, err := h.a.Issue(ctx, h.at, c, access.TokenRequest{}); err == nil {
				h.tokens = append(h.tokens, issued.AccessToken)
			}
		}
	case "clock":
		h.later(rapid.SampledFrom([]time.Duration{second, time.Hour, 24 * time.Hour, 31 * day}).Draw(rt, "forth"))
	case "back":
		h.later(-rapid.SampledFrom([]time.Duration{second, access.Leeway, time.Hour, 40 * day}).Draw(rt, "back"))
	}
}

// Whatever happens, in whatever order, with whatever clock: what is remembered is what would be read.
func TestMemory_SaysWhatAReadWouldSay(t *testing.T) {
	t.Parallel()
	w := found(t, remembering)
	plain := *w
	plain.o.SoleWriter = false
	plain.over(w.file)
	laws(t, func(rt *rapid.T) {
		h := &history{world: w, plain: plain.a}
		h.t = rt
		w.root.Claims.Version = 0   // its own end is not what this is about
		for w.a.ClockBehind(w.at) { // where the history before this one ended
			w.later(day)
		}
		m := w.create(w.root, nil)
		h.note(m.client, m.secret)
		h.note(w.founded.Credential.ClientID(1), w.founded.Secret)
		for range rapid.IntRange(1, 15).Draw(rt, "steps") {
			h.step(rt)
			h.same()
		}
	})
}

func TestMemory_KeepsWhatIsUsed(t *testing.T) {
	t.Parallel()
	m := authority.NewMemory()
	one := func(n int) *credential.Credential {
		return &credential.Credential{ID: id.First(id.Client, start.Add(time.Duration(n)*time.Millisecond))}
	}
	used, unused := one(0), one(1)
	m.Put(used.ID, used, 0)
	m.Put(unused.ID, unused, 0)
	for n := 2; n < 5*authority.MemoryLimit; n++ {
		c := one(n)
		m.Put(c.ID, c, 0)
		if got, ok := m.Get(c.ID, start); !ok || got != c {
			t.Fatalf("%d is not remembered", n)
		}
		if got, ok := m.Get(used.ID, start); !ok || got != used {
			t.Fatalf("what is used is forgotten after %d", n)
		}
	}
	if _, ok := m.Get(unused.ID, start); ok {
		t.Error("it has no bound")
	}
	// What a commit changed is forgotten in every generation, and a read that it overtook is not kept.
	old := one(5*authority.MemoryLimit - authority.MemoryLimit)
	if _, ok := m.Get(old.ID, start); !ok {
		t.Fatal("a generation ago is forgotten already")
	}
	turn := m.Turn()
	m.Begin(used.ID, old.ID)
	m.Put(old.ID, old, m.Turn())
	if _, ok := m.Get(old.ID, start); ok {
		t.Error("what is being written is remembered")
	}
	m.End()
	m.Put(old.ID, old, turn)
	for _, c := range []*credential.Credential{used, old} {
		if _, ok := m.Get(c.ID, start); ok {
			t.Errorf("%s is remembered", c.ID)
		}
	}
	m.Put(old.ID, old, m.Turn())
	if _, ok := m.Get(old.ID, start); !ok {
		t.Error("it is never remembered again")
	}
}

// Readers that are overtaken by commits never leave the old state behind.
func TestMemory_ReadersAndWriters(t *testing.T) {
	t.Parallel()
	w := found(t, remembering)
	var list []made
	for range 8 {
		list = append(list, w.create(w.root, nil))
	}
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, m := range list {
					_, _ = w.a.Credential(ctx, w.at, m.id)
				}
			}
		})
	}
	for _, m := range list {
		writers.Go(func() {
			last := m.secret
			for range 10 {
				next := w.rotate(w.root, m.target(), authority.RotateRequest{})
				w.accepts(true, next.Secret, m.client) // what was answered is what everybody sees
				w.accepts(false, last, m.client)
				last = next.Secret
			}
			w.mustRevoke(w.root, m.target())
			w.accepts(false, last, m.client)
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}

// held is a store whose commits are on disk before their writer hears of it.
type held struct {
	authority.Store
	committed, release chan struct{}
}

func (h *held) Append(ctx context.Context, b authority.Batch) error {
	err := h.Store.Append(ctx, b)
	h.committed <- struct{}{}
	<-h.release
	return err
}

func TestMemory_AReplayNeverHandsOutWhatIsNotAcceptedYet(t *testing.T) {
	t.Parallel()
	for _, r := range []authority.RotateRequest{{}, {Emergency: true}} {
		w := found(t, remembering)
		bare := w.founded.Credential.ID.String()
		w.accepts(true, w.founded.Secret, bare) // so that the credential is remembered
		h := &held{w.store, make(chan struct{}), make(chan struct{})}
		w.over(h)
		w.accepts(true, w.founded.Secret, bare)
		once := onceFor(w.root.ID().String(), "a", "1")
		done := make(chan error, 1)
		go func() {
			_, err := w.a.RotateShared(ctx, w.root, w.origin(w.root), r, once)
			done <- err
		}()
		<-h.committed
		var replayed *authority.Replayed
		if err := w.a.Replay(ctx, w.at, once); !errors.As(err, &replayed) {
			t.Fatalf("the answer is committed: %v", err)
		}
		secret, err := credential.ParseSecret(string(replayed.Answer))
		if err != nil {
			t.Fatal(err)
		}
		w.accepts(true, secret, bare)
		w.accepts(false, w.founded.Secret, bare)
		close(h.release)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		w.accepts(true, secret, bare)
	}
}
