package main

import (
	"context"
	"crypto"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/id"
)

// checks measures the check of a token that was never seen before, in process, against golang-jwt's verification alone.
func checks(ctx context.Context, o options, dir string) error {
	dir = filepath.Join(dir, "checks")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	_, clients, _, err := fill(ctx, dir, 1000, 128)
	if err != nil {
		return err
	}
	a, err := open(ctx, dir)
	if err != nil {
		return err
	}
	defer a.Close() //nolint:errcheck // only read
	now := time.Now().UTC().Truncate(time.Second)
	tokens, err := issue(ctx, a, now, clients)
	if err != nil {
		return err
	}
	cluster, err := a.Cluster(ctx)
	if err != nil {
		return err
	}
	key := cluster.Keys[0].Key.Public()
	var ratios []float64
	for range 2*o.rounds + 1 {
		ours, err := clock(tokens, func(text string) error {
			_, err := a.Check(ctx, now, text, "")
			return err
		})
		if err != nil {
			return err
		}
		alone, err := clock(tokens, func(text string) error {
			_, err := jwt.ParseWithClaims(text, &claims{}, func(*jwt.Token) (any, error) { return crypto.PublicKey(key), nil })
			return err
		})
		if err != nil {
			return err
		}
		ratios = append(ratios, float64(ours)/float64(alone))
	}
	report("check of a token, first time / golang-jwt alone", "<= 1.15", fmt.Sprintf("%.2f", median(ratios)))
	return nil
}

func issue(ctx context.Context, a *authority.Authority, now time.Time, clients []client) ([]string, error) {
	var tokens []string
	for _, c := range clients {
		clientID, err := id.ParseClientID(c.id)
		if err != nil {
			return nil, err
		}
		client, err := a.Authenticate(ctx, now, access.Proof{ClientID: clientID.String(), Secret: c.secret})
		if err != nil {
			return nil, err
		}
		issued, err := a.Issue(ctx, now, client, access.TokenRequest{})
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, issued.AccessToken)
	}
	return tokens, nil
}

// clock is how long it takes to do something with each token.
func clock(tokens []string, do func(string) error) (time.Duration, error) {
	start := time.Now()
	for _, text := range tokens {
		if err := do(text); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}
