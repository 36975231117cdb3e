package dynamo_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/keys"
)

// world is a cluster whose ledger is in a table, and its authority as a function runs it: it remembers no state.
type world struct {
	t       testing.TB
	a       *authority.Authority
	view    *view // what the authority sees of the store
	custody *keys.Files
	at      time.Time
	shared  id.ID
	root    access.Caller // with a token of the shared credential
	secret  credential.Secret
}

// view is a store behind which another can be put.
type view struct{ authority.Store }

// found bootstraps a cluster in an empty store.
func found(t testing.TB, s authority.Store) *world {
	t.Helper()
	custody, err := keys.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, custody: custody, at: start}
	w.over(s)
	done, err := w.a.Bootstrap(t.Context(), authority.Origin{At: w.at}, authority.BootstrapRequest{URL: "https://auth.example"}, authority.Once{})
	if err != nil {
		t.Fatalf("bootstrap: %v", err)
	}
	w.shared, w.secret = done.Credential.ID, done.Secret
	w.root = w.caller(done.Credential.ClientID(1), done.Secret)
	return w
}

// over puts a new authority over a store: what a new execution environment does.
func (w *world) over(s authority.Store) {
	w.t.Helper()
	w.view = &view{s}
	a, err := authority.Open(w.t.Context(), w.view, w.custody, authority.Options{Private: true})
	if err != nil {
		w.t.Fatalf("open the authority: %v", err)
	}
	w.a = a
}

func (w *world) authenticate(clientID string, s credential.Secret) (access.Client, error) {
	return w.a.Authenticate(w.t.Context(), w.at, access.Proof{ClientID: clientID, Secret: s.Reveal()})
}

func (w *world) token(clientID string, s credential.Secret) string {
	w.t.Helper()
	client, err := w.authenticate(clientID, s)
	if err != nil {
		w.t.Fatalf("authenticate %s: %v", clientID, err)
	}
	issued, err := w.a.Issue(w.t.Context(), w.at, client, access.TokenRequest{})
	if err != nil {
		w.t.Fatalf("issue to %s: %v", clientID, err)
	}
	return issued.AccessToken
}

func (w *world) caller(clientID string, s credential.Secret) access.Caller {
	w.t.Helper()
	c, err := w.a.Check(w.t.Context(), w.at, w.token(clientID, s), "")
	if err != nil {
		w.t.Fatalf("check the token of %s: %v", clientID, err)
	}
	return c
}

func (w *world) origin() authority.Origin {
	return authority.Origin{At: w.at, Actor: w.root.Claims.ClientID, Version: w.root.Claims.Version, RequestID: "req-1"}
}

// once makes a write idempotent; its answer is the secret.
func once(key string) authority.Once {
	return authority.Once{
		Key: key, Caller: "caller", Request: []byte("request"),
		Render: func(result any) ([]byte, error) {
			if done, ok := result.(authority.Created); ok {
				return []byte(done.Secret.Reveal()), nil
			}
			return []byte(result.(authority.Rotation).Secret.Reveal()), nil
		},
	}
}

// rotate rotates the shared credential and returns its new secret, be it of now or of an earlier answer.
func (w *world) rotate(ctx context.Context, r authority.RotateRequest, key string) (credential.Secret, error) {
	done, err := w.a.RotateShared(ctx, w.root, w.origin(), r, once(key))
	var replayed *authority.Replayed
	if errors.As(err, &replayed) {
		return credential.ParseSecret(string(replayed.Answer))
	}
	return done.Secret, err
}

func (w *world) credential() *credential.Credential {
	w.t.Helper()
	c, err := w.a.Credential(w.t.Context(), w.at, w.shared)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func clientID(t testing.TB, text string) id.ClientID {
	t.Helper()
	c, err := id.ParseClientID(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
