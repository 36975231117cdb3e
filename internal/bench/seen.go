package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/keyturn/keyturn/internal/devcluster"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/sidecar/verify"
)

// seen measures the check of a token that was seen before, as another Go service makes it, against golang-jwt with a key set.
func seen(ctx context.Context, o options, dir string) error {
	cluster, err := devcluster.Start(ctx, devcluster.Options{Dir: filepath.Join(dir, "seen"), Peers: 1})
	if err != nil {
		return err
	}
	defer cluster.Close() //nolint:errcheck // only figures came from it
	source := cluster.Sidecars()[0]
	client, err := httpapi.NewClient(source, httpapi.ClientOptions{})
	if err != nil {
		return err
	}
	t, _, err := client.Token(ctx, httpapi.TokenParams{ClientID: cluster.ClientID(), ClientSecret: cluster.Secret().Reveal()})
	if err != nil {
		return err
	}
	v, err := verify.New(ctx, source, verify.Options{})
	if err != nil {
		return err
	}
	defer v.Close()
	keys, err := cluster.Sidecar(1).KeySet(ctx, time.Now())
	if err != nil {
		return err
	}
	byID := map[string]crypto.PublicKey{}
	for _, k := range keys.Keys {
		byID[k.ID()] = k.Public()
	}
	ours := func() error {
		_, err := v.Check(ctx, t.AccessToken, verify.Want{})
		return err
	}
	theirs := func() error {
		_, err := jwt.ParseWithClaims(t.AccessToken, &claims{}, func(t *jwt.Token) (any, error) {
			key, ok := byID[fmt.Sprint(t.Header["kid"])]
			if !ok {
				return nil, errors.New("unknown key")
			}
			return key, nil
		})
		return err
	}
	return o.compare(ours, theirs)
}

func (o options) compare(ours, theirs func() error) error {
	const many, few = 300_000, 2000
	var each, ratios, scaled []float64
	for range o.rounds {
		one, allocs, err := timed(many, 1, ours)
		if err != nil {
			return err
		}
		if allocs > many/10 { // the cluster in this process makes some
			return fmt.Errorf("%d allocations in %d checks", allocs, many)
		}
		other, _, err := timed(few, 1, theirs)
		if err != nil {
			return err
		}
		all, _, err := timed(many, runtime.GOMAXPROCS(0), ours)
		if err != nil {
			return err
		}
		each, ratios, scaled = append(each, one), append(ratios, other/one), append(scaled, one/all)
	}
	report("token seen before, in process (sidecar/verify)", "<= 250 ns", fmt.Sprintf("%.0f ns", median(each)))
	report("golang-jwt with a key set / the same", ">= 150", fmt.Sprintf("%.0f", median(ratios)))
	report(fmt.Sprintf("the same on %d processors at once / on one", runtime.GOMAXPROCS(0)), "", fmt.Sprintf("%.2f", median(scaled)))
	return nil
}

// timed is how long one of n calls takes, in nanoseconds, where so many goroutines share them, and how many allocations all of
// them made.
func timed(n, workers int, do func() error) (nanoseconds float64, allocations uint64, err error) {
	var before, after runtime.MemStats
	errs := make([]error, workers)
	runtime.ReadMemStats(&before)
	start := time.Now()
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for range n / workers {
				if err := do(); err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	group.Wait()
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	return float64(took.Nanoseconds()) / float64(n), after.Mallocs - before.Mallocs, errors.Join(errs...)
}
