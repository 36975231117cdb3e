package authority_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
)

// onceFor is an idempotency key of a caller. What it keeps is the secret, so that a test can compare.
func onceFor(caller, request, number string) authority.Once {
	return authority.Once{
		Key: strings.Repeat("k", 31) + number, Caller: caller, Request: []byte(request),
		Render: func(result any) ([]byte, error) {
			switch r := result.(type) {
			case authority.Bootstrapped:
				return []byte(r.Secret.Reveal()), nil
			case authority.Created:
				return []byte(r.Secret.Reveal()), nil
			case authority.Rotation:
				return []byte(r.Secret.Reveal()), nil
			}
			return nil, fmt.Errorf("a %T", result)
		},
	}
}

// replays checks that err is the earlier answer, with that secret.
func replays(t testing.TB, _ authority.Once, want credential.Secret, err error) {
	t.Helper()
	var r *authority.Replayed
	if !errors.As(err, &r) {
		t.Errorf("= %v, want the earlier answer", err)
	} else if string(r.Answer) != want.Reveal() {
		t.Error("it is another secret")
	}
}

// idempotent is a write that takes an idempotency key, as often as one likes.
type idempotent struct {
	name string
	do   func(w *world, by access.Caller, once authority.Once) (credential.Secret, error)
}

func idempotents() []idempotent {
	rotation := func(r authority.RotateRequest) func(*world, access.Caller, authority.Once) (credential.Secret, error) {
		return func(w *world, by access.Caller, once authority.Once) (credential.Secret, error) {
			done, err := w.a.RotateShared(ctx, by, w.origin(by), r, once)
			return done.Secret, err
		}
	}
	return []idempotent{
		{"Create", func(w *world, by access.Caller, once authority.Once) (credential.Secret, error) {
			done, err := w.a.Create(ctx, by, w.origin(by), authority.CreateRequest{Scopes: scopes(credential.PeersRead)}, once)
			return done.Secret, err
		}},
		{"Rotate", rotation(authority.RotateRequest{Window: day})},
		{"RotateWithoutWindow", rotation(authority.RotateRequest{})},
		{"Emergency", rotation(authority.RotateRequest{Emergency: true})},
	}
}

func TestOnce_Replays(t *testing.T) {
	t.Parallel()
	for _, write := range idempotents() {
		t.Run(write.name, func(t *testing.T) {
			t.Parallel()
			w := found(t)
			once := onceFor(w.root.ID().String(), "a", "1")
			secret, err := write.do(w, w.root, once)
			if err != nil {
				t.Fatal(err)
			}
			before := w.head()
			for _, after := range []time.Duration{0, time.Minute, 24*time.Hour - time.Minute - time.Second} {
				w.later(after)
				replays(t, once, secret, w.a.Replay(ctx, w.at, once))
			}
			again, err := write.do(w, w.root, once)
			replays(t, once, secret, err)
			if !again.IsZero() {
				t.Error("a replay makes a secret")
			}
			other := once
			other.Request = []byte("b")
			if _, err := write.do(w, w.root, other); !errors.Is(err, authority.ErrMismatch) {
				t.Errorf("another request: %v", err)
			}
			if w.head() != before {
				t.Errorf("a replay wrote %d records", w.head()-before)
			}
			w.later(time.Second) // 24 h
			if err := w.a.Replay(ctx, w.at, once); err != nil {
				t.Errorf("after 24 h: %v", err)
			}
		})
	}
}

func TestOnce_TheKeyOfAnotherCallerIsAnotherKey(t *testing.T) {
	t.Parallel()
	w := found(t)
	m := w.create(w.root, scopes(credential.Admin))
	second := w.caller(m.client, m.secret)
	mine, theirs := onceFor(w.root.ID().String(), "a", "1"), onceFor(second.ID().String(), "a", "1")
	write := idempotents()[0]
	a, err := write.do(w, w.root, mine)
	if err != nil {
		t.Fatal(err)
	}
	b, err := write.do(w, second, theirs)
	if err != nil || a.Hash().Equal(b.Hash()) {
		t.Errorf("the other caller: %v", err)
	}
	for _, stranger := range []authority.Once{onceFor("cli_nobody", "a", "1"), onceFor(w.root.ID().String(), "a", "2")} {
		if err := w.a.Replay(ctx, w.at, stranger); err != nil {
			t.Errorf("a stranger: %v", err)
		}
	}
}

// What is kept holds nothing that helps who reads the store: not the secret, not its hash, not the idempotency key.
func TestOnce_KeepsTheAnswerSealed(t *testing.T) {
	t.Parallel()
	w := found(t)
	spy := &batches{Store: w.file}
	w.over(spy)
	once := onceFor(w.root.ID().String(), "a", "1")
	secret, err := idempotents()[0].do(w, w.root, once)
	if err != nil {
		t.Fatal(err)
	}
	hash := secret.Hash()
	if len(spy.list) != 1 || len(spy.list[0].Claims) != 1 || len(spy.list[0].Entries) != 2 {
		t.Fatalf("the answer is not in the records' own transaction: %+v", spy.list)
	}
	claim := spy.list[0].Claims[0]
	kept := [][]byte{claim.Value, []byte(claim.Key)}
	for _, e := range spy.list[0].Entries {
		kept = append(kept, e.Data)
	}
	for _, text := range kept {
		for name, needle := range map[string][]byte{
			"secret": []byte(secret.Reveal()), "half of the secret": []byte(secret.Reveal()[10:30]), "key": []byte(once.Key), "hash": hash[:],
			"hash in base64": []byte(base64.RawURLEncoding.EncodeToString(hash[:]))[:40], "hash in std base64": []byte(base64.StdEncoding.EncodeToString(hash[:]))[:40],
			"hash in hex":      []byte(fmt.Sprintf("%x", hash[:])),
			"secret in base64": []byte(base64.StdEncoding.EncodeToString([]byte(secret.Reveal())))[:60],
		} {
			if bytes.Contains(text, needle) {
				t.Errorf("the store holds the %s", name)
			}
		}
	}
	if !claim.ExpiresAt.Equal(w.at.Add(day)) {
		t.Errorf("kept until %s", claim.ExpiresAt)
	}
	// A changed value is refused, and never opens as something else.
	for i := 0; i < len(claim.Value); i += 7 {
		bent := bytes.Clone(claim.Value)
		bent[i] ^= 1
		var r *authority.Replayed
		w.over(&claims{Store: w.file, value: bent})
		if err := w.a.Replay(ctx, w.at, once); errors.As(err, &r) && string(r.Answer) != secret.Reveal() || err == nil {
			t.Errorf("byte %d: %v", i, err)
		}
	}
}

func TestOnce_ManyAtOnceAreOneWrite(t *testing.T) {
	t.Parallel()
	for _, write := range idempotents() {
		t.Run(write.name, func(t *testing.T) {
			t.Parallel()
			w := found(t)
			other := *w
			other.over(w.file) // another instance
			once := onceFor(w.root.ID().String(), "a", "1")
			var (
				wg       sync.WaitGroup
				mu       sync.Mutex
				firsts   []credential.Secret
				replayed = map[string]int{}
			)
			for i := range 16 {
				one := w
				if i%2 == 1 {
					one = &other
				}
				wg.Go(func() {
					secret, err := write.do(one, w.root, once)
					mu.Lock()
					defer mu.Unlock()
					var r *authority.Replayed
					switch {
					case err == nil:
						firsts = append(firsts, secret)
					case errors.As(err, &r):
						replayed[string(r.Answer)]++
					case errors.Is(err, authority.ErrRaced) || errors.Is(err, access.ErrUnavailable):
						// looked at the credential before, or gave up: running it again gives the answer
					default:
						t.Errorf("%v", err)
					}
				})
			}
			wg.Wait()
			if len(firsts) != 1 || len(replayed) > 1 || len(replayed) == 1 && replayed[firsts[0].Reveal()] == 0 {
				t.Fatalf("%d first answers, %d different replays", len(firsts), len(replayed))
			}
			_, err := write.do(w, w.root, once)
			replays(t, once, firsts[0], err)
		})
	}
}

// batches remembers what was appended.
type batches struct {
	authority.Store
	mu   sync.Mutex
	list []authority.Batch
}

func (b *batches) Append(c ctxT, batch authority.Batch) error {
	err := b.Store.Append(c, batch)
	if err == nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.list = append(b.list, batch)
	}
	return err
}

// claims answers every question for a claim with one value.
type claims struct {
	authority.Store
	value []byte
}

func (s *claims) Claimed(c ctxT, key string) (authority.Claim, error) {
	claim, err := s.Store.Claimed(c, key)
	claim.Value = s.value
	return claim, err
}
