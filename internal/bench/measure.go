package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// writes measures durable creates per second with 16 writers who share fsyncs.
func writes(ctx context.Context, o options, dir string) error {
	dir = filepath.Join(dir, "writes")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	const n = 3000
	_, _, took, err := fill(ctx, dir, n, 16)
	if err != nil {
		return err
	}
	report("create, 16 writers, durable", ">= 500/s", fmt.Sprintf("%.0f/s", n/took.Seconds()))
	return nil
}

// tokens measures the token endpoint with one credential and with many, against the bare endpoint.
func tokens(ctx context.Context, o options, dir string) error {
	bare, err := start(ctx, "bare", "")
	if err != nil {
		return err
	}
	defer bare.stop()
	for _, n := range []int{1, o.credentials} {
		home := filepath.Join(dir, fmt.Sprintf("tokens-%d", n))
		if err := os.Mkdir(home, 0o700); err != nil {
			return err
		}
		_, clients, _, err := fill(ctx, home, n, 128)
		if err != nil {
			return err
		}
		if err := against(ctx, o, bare, home, clients); err != nil {
			return err
		}
	}
	return nil
}

func against(ctx context.Context, o options, bare *process, home string, clients []client) error {
	ours, err := start(ctx, "authority", home)
	if err != nil {
		return err
	}
	defer ours.stop()
	what := fmt.Sprintf("%d credentials", len(clients))
	report("start, "+what, "<= 1 s", ours.started.Round(time.Millisecond).String())
	ratios, rates, err := takeTurns(o, ours.address, tokenRequests(ours.address, clients), bare.address, tokenRequests(bare.address, clients))
	if err != nil {
		return err
	}
	memory, err := ours.anonymous()
	if err != nil {
		return err
	}
	report("token endpoint / bare endpoint, "+what, ">= 0.6", fmt.Sprintf("%.2f", median(ratios)))
	report("token endpoint, "+what, "", fmt.Sprintf("%.0f/s", median(rates)))
	report("anonymous memory (RssAnon) under load, "+what, "<= 200 MB", memory)
	return nil
}

// takeTurns loads two servers by turns, and returns the ratio of the first one's throughput to the second one's for each
// round, and the first one's requests per second.
func takeTurns(o options, ours string, ourRequests [][]byte, bare string, bareRequests [][]byte) (ratios, rates []float64, err error) {
	if _, err := load(ours, ourRequests, o.connections, o.round); err != nil {
		return nil, nil, err // this turn warms up and does not count
	}
	for range o.rounds {
		a, err := load(ours, ourRequests, o.connections, o.round)
		if err != nil {
			return nil, nil, err
		}
		b, err := load(bare, bareRequests, o.connections, o.round)
		if err != nil {
			return nil, nil, err
		}
		ratios, rates = append(ratios, a/b), append(rates, a)
	}
	return ratios, rates, nil
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
