package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/serve"
)

// open opens the authority of a data directory that founds or keeps a cluster.
func open(ctx context.Context, dir string) (*authority.Authority, error) {
	custody, err := keys.Open(dir)
	if err != nil {
		custody, err = keys.Create(dir)
	}
	if err != nil {
		return nil, err
	}
	store, err := bolt.Open(filepath.Join(dir, "keyturn.db"), bolt.Options{})
	if err != nil {
		return nil, err
	}
	return authority.Open(ctx, store, custody, authority.Options{
		Issuer: "http://127.0.0.1:8080", Private: true, SoleWriter: true, SignAtOnce: true,
	})
}

// serveAuthority is keyturn serve on dir, with its log lines, its metrics and its housekeeping.
func serveAuthority(ctx context.Context, dir string) error {
	nowhere, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	s, err := serve.Open(ctx, serve.Config{DataDir: dir, Listen: "127.0.0.1:0", Log: zerolog.New(nowhere)})
	if err != nil {
		return err
	}
	if err := s.Listen(ctx); err != nil {
		return err
	}
	fmt.Println(strings.TrimPrefix(s.URL(), "http://"))
	return s.Run(ctx)
}

// fill founds a cluster in dir and creates n credentials with so many writers. It returns the shared credential, the others,
// and how long these took.
func fill(ctx context.Context, dir string, n, writers int) (admin client, clients []client, took time.Duration, err error) {
	a, err := open(ctx, dir)
	if err != nil {
		return client{}, nil, 0, err
	}
	defer a.Close() //nolint:errcheck // reopened by the process that is measured
	now := func() authority.Origin { return authority.Origin{At: time.Now().UTC().Truncate(time.Second)} }
	founded, err := a.Bootstrap(ctx, now(), authority.BootstrapRequest{}, authority.Once{})
	if err != nil {
		return client{}, nil, 0, err
	}
	admin = client{founded.Credential.ID.String(), founded.Secret.Reveal()}
	caller := access.Caller{Credential: founded.Credential, Scopes: founded.Credential.Scopes}
	clients = make([]client, n)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	start := time.Now()
	for range writers {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && failed.Load() == nil; i = next.Add(1) - 1 {
				r := authority.CreateRequest{Scopes: credential.NewScopes(credential.PeersRead)}
				made, err := a.Create(ctx, caller, now(), r, authority.Once{})
				if err != nil {
					failed.Store(&err)
					return
				}
				clients[i] = client{made.Credential.ID.String(), made.Secret.Reveal()}
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return client{}, nil, 0, *err
	}
	return admin, clients, time.Since(start), nil
}
