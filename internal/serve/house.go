package serve

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/disk"
)

// houseEvery is how often the store is swept and the token keys are looked after.
const houseEvery = time.Minute

// keepHouse does its rounds every minute, and writes the license down when a commit has changed it.
func (s *Server) keepHouse(ctx context.Context) {
	tick := time.NewTicker(houseEvery)
	defer tick.Stop()
	var trouble []string
	for {
		changed := s.authority.Changed()
		_ = s.saveLicense(context.WithoutCancel(ctx)) // the next round says what is wrong
		select {
		case <-ctx.Done():
			_ = s.saveLicense(context.WithoutCancel(ctx))
			if err := s.authority.StoreUsage(context.WithoutCancel(ctx), s.now()); err != nil {
				s.log.Warn().Err(err).Msg("cannot note who uses which version")
			}
			return
		case <-tick.C:
			trouble = s.round(ctx, trouble)
		case <-changed:
		}
	}
}

// checkLedger reads the whole ledger once, while requests are answered already: what does not fit is logged and makes the
// server not ready, and what fits need not be checked again when it is first asked for.
func (s *Server) checkLedger(ctx context.Context) {
	if err := s.authority.CheckLedger(ctx); err != nil && ctx.Err() == nil {
		s.log.Error().Err(err).Msg("the ledger does not fit together: compare it with an export, and restore")
	}
}

// round sweeps what has expired out of the store, publishes a token key where one is missing and retires old ones. It logs
// what fails, once for as long as it fails in the same way: before is what it returned the last time.
func (s *Server) round(ctx context.Context, before []string) (trouble []string) {
	at := s.now()
	removed, err := s.dir.store.Sweep(ctx, at)
	s.metrics.Swept(removed)
	for _, done := range []struct {
		task string
		err  error
	}{
		{"sweep the store", err},
		{"publish a token key", s.authority.EnsureKeys(ctx, at)},
		{"retire token keys", s.authority.RetireKeys(ctx, at)},
		{"write down the license", s.saveLicense(ctx)},
		{"note who uses which version", s.authority.StoreUsage(ctx, at)},
	} {
		if done.err == nil || ctx.Err() != nil {
			continue
		}
		text := done.task + ": " + root(done.err).Error()
		trouble = append(trouble, text)
		if !slices.Contains(before, text) {
			s.log.Warn().Err(done.err).Msg("cannot " + done.task)
		}
	}
	return trouble
}

// saveLicense writes the license in force to the data directory, for people: nothing reads it back.
func (s *Server) saveLicense(ctx context.Context) error {
	c, err := s.authority.Cluster(ctx)
	if errors.Is(err, access.ErrNotBootstrapped) {
		return nil
	}
	if err != nil || bytes.Equal(c.License, s.license) {
		return err
	}
	if err := disk.Write(filepath.Join(s.dir.path, licenseFile), append(slices.Clone(c.License), '\n')); err != nil {
		return err
	}
	s.license = c.License
	return nil
}

// root is the innermost cause of an error: what stays the same where names of temporary files differ.
func root(err error) error {
	for {
		cause := errors.Unwrap(err)
		if cause == nil {
			return err
		}
		err = cause
	}
}
