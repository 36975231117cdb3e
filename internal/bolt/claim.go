package bolt

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyturn/keyturn/internal/authority"
)

// Claim takes c alone. See authority.Store.
func (s *Store) Claim(ctx context.Context, c authority.Claim) error {
	return s.update(ctx, func(w *change) error { return w.claim(c) })
}

// Claimed returns the claim under key, as long as Sweep has not removed it. See authority.Store.
func (s *Store) Claimed(ctx context.Context, key string) (c authority.Claim, err error) {
	err = s.view(ctx, func(v view) error {
		b, err := v.get(claims, []byte(key))
		if err != nil {
			return err
		}
		if b == nil {
			return fmt.Errorf("claim: %w", authority.ErrNotFound)
		}
		c, err = decodeClaim(key, b)
		return err
	})
	return c, err
}

func (c *change) claim(n authority.Claim) error {
	if n.Key == "" {
		return errors.New("claim: no key")
	}
	key := []byte(n.Key)
	v, err := c.get(claims, key)
	if err != nil {
		return err
	}
	if v != nil {
		held, err := decodeClaim(n.Key, v)
		if err != nil {
			return err
		}
		if !held.Gives(n.At) {
			return fmt.Errorf("%w: claimed already", authority.ErrConflict)
		}
		if err := c.remove(dates, dateKey(held.ExpiresAt, claimDate, key)); err != nil {
			return err
		}
	}
	if err := c.put(dates, dateKey(n.ExpiresAt, claimDate, key), nil); err != nil {
		return err
	}
	return c.put(claims, key, encodeClaim(n))
}
