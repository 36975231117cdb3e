package peer_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/peer"
)

func TestJoinKey_Status(t *testing.T) {
	t.Parallel()
	end := now.Add(time.Minute)
	for name, c := range map[string]struct {
		k    peer.JoinKey
		at   time.Time
		want peer.KeyStatus
	}{
		"Active":          {peer.JoinKey{ExpiresAt: end}, end.Add(-time.Second), peer.KeyActive},
		"AtItsEnd":        {peer.JoinKey{ExpiresAt: end}, end, peer.KeyExpired},
		"Revoked":         {peer.JoinKey{ExpiresAt: end, RevokedAt: now}, now, peer.KeyRevoked},
		"RevokedStays":    {peer.JoinKey{ExpiresAt: end, RevokedAt: now}, end, peer.KeyRevoked},
		"Used":            {peer.JoinKey{ExpiresAt: end, UsedBy: "peer_1"}, now, peer.KeyUsed},
		"UsedStays":       {peer.JoinKey{ExpiresAt: end, UsedBy: "peer_1"}, end, peer.KeyUsed},
		"UsedThenRevoked": {peer.JoinKey{ExpiresAt: end, UsedBy: "peer_1", RevokedAt: now}, now, peer.KeyUsed},
	} {
		if got := c.k.Status(c.at); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestCheckTTL(t *testing.T) {
	t.Parallel()
	for ttl, good := range map[time.Duration]bool{
		-time.Second: false, 0: false, time.Second - 1: false, time.Second: true,
		peer.DefaultTTL: true, 24 * time.Hour: true, 24*time.Hour + 1: false,
	} {
		if err := peer.CheckTTL(ttl); (err == nil) != good || err != nil && !errors.Is(err, credential.ErrInput) {
			t.Errorf("%v: %v", ttl, err)
		}
	}
}

func TestDefaultScopes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ has, want credential.Scopes }{
		"WhatItReads":     {scopes("billing.read", "billing.write", "peers.write"), scopes("billing.read")},
		"AdminReadsAll":   {scopes("admin"), scopes("credentials.read", "peers.read", "services.read")},
		"AdminAndMore":    {scopes("admin", "billing.read"), scopes("billing.read", "credentials.read", "peers.read", "services.read")},
		"NeverTheLedger":  {scopes("ledger.read"), nil},
		"NothingToRead":   {scopes("peers.write"), nil},
		"OnlyTheLastWord": {scopes("read.write", "a.reread"), nil},
	} {
		if got := peer.DefaultScopes(c.has); !cmp.Equal(got.Strings(), c.want.Strings()) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Whatever somebody has: the default never gives more, and it only reads.
func TestDefaultScopes_NobodyGains(t *testing.T) {
	t.Parallel()
	all := append(credential.KnownScopes(), credential.LedgerRead, "billing.read", "billing.write", "a.b.read")
	rapid.Check(t, func(t *rapid.T) {
		has := credential.NewScopes(rapid.SliceOfN(rapid.SampledFrom(all), 0, 6).Draw(t, "has")...)
		got := peer.DefaultScopes(has)
		for _, s := range got {
			if !has.Allow(s) || !s.Read() || s == credential.LedgerRead {
				t.Fatalf("%v gives %s", has, s)
			}
		}
		for _, s := range has {
			if s.Read() && s != credential.LedgerRead && !got.Allow(s) {
				t.Fatalf("%v does not give %s", has, s)
			}
		}
	})
}
