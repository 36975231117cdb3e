package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// busy is how many of the clients ask a sidecar all the time.
const busy = 10_000

// serveSidecar is keyturn-sidecar run, which joins with the key in the environment.
func serveSidecar(ctx context.Context, o options) error {
	nowhere, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	a, err := agent.Open(ctx, agent.Config{
		Authority: o.authority, DataDir: o.dir, Listen: "127.0.0.1:0", JoinKey: os.Getenv("KEYTURN_JOIN_KEY"), SignAtOnce: true,
		Log: zerolog.New(nowhere).Level(zerolog.InfoLevel),
	})
	if err != nil {
		return err
	}
	if err := a.Listen(ctx); err != nil {
		return err
	}
	fmt.Println(strings.TrimPrefix(a.URL(), "http://"))
	return a.Run(ctx)
}

// serveEmpty is an HTTP server that does nothing.
func serveEmpty() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
}

// operator calls an authority with a token of the shared credential.
type operator struct {
	*httpapi.Client
	bearer string
}

func newOperator(ctx context.Context, address string, admin client) (operator, error) {
	c, err := httpapi.NewClient("http://"+address, httpapi.ClientOptions{Timeout: time.Minute})
	if err != nil {
		return operator{}, err
	}
	t, _, err := c.Token(ctx, httpapi.TokenParams{ClientID: admin.id, ClientSecret: admin.secret})
	return operator{c, t.AccessToken}, err
}

// join starts a sidecar that joins, and waits until it is ready. It returns how long both took.
func (p operator) join(ctx context.Context, dir string) (*process, time.Duration, error) {
	a, err := p.Call(ctx, httpapi.Request{
		Method: http.MethodPost, Path: "/v1/join-keys", Bearer: p.bearer, Body: map[string]any{"max_scopes": []string{"admin"}},
	})
	if err != nil {
		return nil, 0, err
	}
	var key httpapi.CreatedJoinKey
	if err := a.Decode(&key); err != nil {
		return nil, 0, err
	}
	if err := os.Setenv("KEYTURN_JOIN_KEY", key.JoinKey); err != nil {
		return nil, 0, err
	}
	return startSidecar(ctx, dir, p.Server())
}

// startSidecar starts a sidecar and waits until it is ready.
func startSidecar(ctx context.Context, dir, authority string) (*process, time.Duration, error) {
	begin := time.Now()
	s, err := start(ctx, "sidecar", dir, "-authority", authority)
	if err != nil {
		return nil, 0, err
	}
	for ctx.Err() == nil {
		a, err := http.Get("http://" + s.address + "/readyz")
		if err != nil {
			return s, 0, err
		}
		_ = a.Body.Close()
		if a.StatusCode == http.StatusOK {
			return s, time.Since(begin), nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return s, 0, ctx.Err()
}

// sidecars measures one over a large cluster: its first copy, its start from disk, its memory, and its throughput against
// servers that do only what cannot be left out.
func sidecars(ctx context.Context, o options, dir string) error {
	home, own := filepath.Join(dir, "large"), filepath.Join(dir, "sidecar")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	admin, clients, _, err := fill(ctx, home, o.credentials, 128)
	if err != nil {
		return err
	}
	authority, err := start(ctx, "authority", home)
	if err != nil {
		return err
	}
	defer authority.stop()
	who, err := newOperator(ctx, authority.address, admin)
	if err != nil {
		return err
	}
	if err := authority.settle(ctx); err != nil { // it checks its ledger when it has started
		return err
	}
	first, took, err := who.join(ctx, own)
	if err != nil {
		return err
	}
	what := fmt.Sprintf(", %d credentials", o.credentials)
	report("sidecar: join and first pull"+what, "<= 15 s", took.Round(10*time.Millisecond).String())
	first.stop()
	info, err := os.Stat(filepath.Join(own, "replica.db"))
	if err != nil {
		return err
	}
	report("sidecar: file per credential"+what, "<= 1.5 kB", fmt.Sprintf("%.2f kB", float64(info.Size())/1000/float64(o.credentials)))
	s, took, err := startSidecar(ctx, own, who.Server())
	if err != nil {
		return err
	}
	defer s.stop()
	report("sidecar: start to ready from disk"+what, "<= 2 s", took.Round(10*time.Millisecond).String())
	return throughput(ctx, o, s, spread(clients, busy))
}

// spread are n of the clients, from all over the list.
func spread(clients []client, n int) []client {
	var some []client
	for i := 0; i < len(clients); i += max(len(clients)/n, 1) {
		some = append(some, clients[i])
	}
	return some
}

func throughput(ctx context.Context, o options, s *process, clients []client) error {
	bare, err := start(ctx, "bare", "")
	if err != nil {
		return err
	}
	defer bare.stop()
	empty, err := start(ctx, "empty", "")
	if err != nil {
		return err
	}
	defer empty.stop()
	what := fmt.Sprintf(", %d clients", len(clients))
	ratios, rates, err := takeTurns(o, s.address, tokenRequests(s.address, clients), bare.address, tokenRequests(bare.address, clients))
	if err != nil {
		return err
	}
	report("sidecar: token endpoint / bare endpoint"+what, ">= 0.7", fmt.Sprintf("%.2f", median(ratios)))
	report("sidecar: token endpoint"+what, "", fmt.Sprintf("%.0f/s", median(rates)))
	tokens, err := tokensOf(ctx, s.address, clients)
	if err != nil {
		return err
	}
	if err := askTwice(ctx, s.address, tokens); err != nil {
		return err
	}
	requests := authzRequests(s.address, tokens)
	ratios, rates, err = takeTurns(o, s.address, requests, empty.address, requests)
	if err != nil {
		return err
	}
	report("sidecar: /authz / empty handler"+what, ">= 0.85", fmt.Sprintf("%.2f", median(ratios)))
	report("sidecar: /authz"+what, "", fmt.Sprintf("%.0f/s", median(rates)))
	memory, err := s.anonymous()
	if err != nil {
		return err
	}
	report("sidecar: anonymous memory (RssAnon) after the load", "<= 200 MB", memory)
	return nil
}

// tokensOf gets a token for each client.
func tokensOf(ctx context.Context, address string, clients []client) ([]string, error) {
	c, err := httpapi.NewClient("http://"+address, httpapi.ClientOptions{})
	if err != nil {
		return nil, err
	}
	tokens := make([]string, len(clients))
	for i, who := range clients {
		t, _, err := c.Token(ctx, httpapi.TokenParams{ClientID: who.id, ClientSecret: who.secret})
		if err != nil {
			return nil, err
		}
		tokens[i] = t.AccessToken
	}
	return tokens, nil
}

// askTwice lets a sidecar see each token, and see it again: a proxy asks about a token as long as its client uses it.
func askTwice(ctx context.Context, address string, tokens []string) error {
	for _, text := range slices.Concat(tokens, tokens) {
		if status, err := authz(ctx, address, text); err != nil || status != http.StatusOK {
			return fmt.Errorf("a token just issued: status %d, %w", status, err)
		}
	}
	return nil
}

// revocations measures how long after the answer to a revocation each of three sidecars refuses what was revoked.
func revocations(ctx context.Context, _ options, dir string) error {
	const n, peers = 200, 3
	home := filepath.Join(dir, "revocations")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	admin, clients, _, err := fill(ctx, home, n, 64)
	if err != nil {
		return err
	}
	authority, err := start(ctx, "authority", home)
	if err != nil {
		return err
	}
	defer authority.stop()
	who, err := newOperator(ctx, authority.address, admin)
	if err != nil {
		return err
	}
	tokens, err := tokensOf(ctx, authority.address, clients)
	if err != nil {
		return err
	}
	var addresses []string
	for i := range peers {
		s, _, err := who.join(ctx, filepath.Join(dir, fmt.Sprintf("peer-%d", i)))
		if err != nil {
			return err
		}
		defer s.stop()
		addresses = append(addresses, s.address)
	}
	var took []time.Duration
	for i, c := range clients {
		each, err := who.revoke(ctx, c, tokens[i], addresses)
		if err != nil {
			return err
		}
		took = append(took, each...)
	}
	slices.Sort(took)
	at := func(p float64) string {
		return took[int(p*float64(len(took)-1))].Round(100 * time.Microsecond).String()
	}
	report("revocation, from its answer to refusal on 3 sidecars, p99", "<= 1 s", at(0.99))
	report("the same, median", "", at(0.5))
	return nil
}

// revoke returns how long after the answer each sidecar let the token through for the last time.
func (p operator) revoke(ctx context.Context, c client, token string, sidecars []string) ([]time.Duration, error) {
	for _, address := range sidecars {
		if status, err := authz(ctx, address, token); err != nil || status != http.StatusOK {
			return nil, fmt.Errorf("before the revocation: status %d, %w", status, err)
		}
	}
	if _, err := p.Call(ctx, httpapi.Request{Method: http.MethodDelete, Path: "/v1/credentials/" + c.id, Bearer: p.bearer}); err != nil {
		return nil, err
	}
	answered := time.Now()
	took := make([]time.Duration, 0, len(sidecars))
	for _, address := range sidecars {
		for {
			status, err := authz(ctx, address, token)
			if err != nil {
				return nil, err
			}
			if status == http.StatusUnauthorized {
				break
			}
		}
		took = append(took, time.Since(answered))
	}
	return took, nil
}

func authz(ctx context.Context, address, token string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/authz", nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	return a.StatusCode, a.Body.Close()
}
