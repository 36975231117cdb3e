package boot_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// noting counts the notes that are written, and can be so slow that nobody waits for it.
type noting struct {
	authority.Store
	claims atomic.Int64
	slow   atomic.Bool
}

func (n *noting) Claim(ctx context.Context, c authority.Claim) error {
	n.claims.Add(1)
	if n.slow.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return n.Store.Claim(ctx, c)
}

// uses is how often the first version of the shared credential was used, as the API says.
func (s *stack) uses(bearer string) (count uint64) {
	s.t.Helper()
	_, _, body := s.call("GET", "/v1/cluster/credentials", "", "", "Authorization", "Bearer "+bearer)
	var c httpapi.CredentialDetail
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		s.t.Fatalf("%s: %v", body, err)
	}
	for _, u := range c.Versions[len(c.Versions)-1].LastUsed {
		if u.PeerID != nil || u.Name != "authority eu-central-1" {
			s.t.Errorf("%+v", u)
		}
		count += u.Count
	}
	return count
}

// Token requests are noted once a minute and version, and none of them waits for a store that does not answer.
func TestUsage_IsNotedOnceAMinuteAndVersion(t *testing.T) {
	t.Parallel()
	store := &noting{Store: openBolt(t)}
	s := newStack(t, store)
	first := s.bootstrap()
	before := store.claims.Load()
	var bearer string
	for range 4 {
		_, bearer = s.token(first.ClientID, first.ClientSecret)
	}
	if n := store.claims.Load() - before; n != 1 {
		t.Errorf("%d notes for 4 requests within a minute", n)
	}
	if n := s.uses(bearer); n != 1 {
		t.Errorf("noted %d of 4: the first is noted at once, and the rest with the next one", n)
	}
	s.clock.advance(time.Minute)
	_, bearer = s.token(first.ClientID, first.ClientSecret)
	if n := s.uses(bearer); n != 5 || store.claims.Load()-before != 2 {
		t.Errorf("noted %d of 5 in %d notes", n, store.claims.Load()-before)
	}
	s.clock.advance(time.Minute)
	store.slow.Store(true)
	began := time.Now()
	if status, _ := s.token(first.ClientID, first.ClientSecret); status != 200 {
		t.Errorf("a store that does not answer: %d", status)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("a request waited %s for its note", took)
	}
	store.slow.Store(false)
	s.clock.advance(time.Minute)
	_, bearer = s.token(first.ClientID, first.ClientSecret)
	if n := s.uses(bearer); n != 7 {
		t.Errorf("noted %d of 7", n)
	}
}
