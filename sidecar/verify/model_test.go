package verify_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/testdose"
	"github.com/keyturn/keyturn/internal/token"
	"github.com/keyturn/keyturn/sidecar/verify"
)

// history is a world that anything may happen to, and two that judge.
type history struct {
	*world
	v      *verify.Verifier
	gate   *access.Gate
	tokens []string
	joined []id.ID
}

func (h *history) actions() map[string]func(t *rapid.T) {
	names := []id.ID{sharedI, readerI}
	scopes := []credential.Scope{"peers.read", "peers.write", "admin", "billing.read"}
	name := func(t *rapid.T) id.ID { return rapid.SampledFrom(names).Draw(t, "credential") }
	someone := func(t *rapid.T) id.ID { return rapid.SampledFrom(h.joined).Draw(t, "peer") }
	scope := func(t *rapid.T) credential.Scope { return rapid.SampledFrom(scopes).Draw(t, "scope") }
	return map[string]func(t *rapid.T){
		"": h.compare,
		"issue": func(t *rapid.T) {
			c := claims()
			c.Subject, c.Version = name(t).String(), 1
			c.Scope = credential.NewScopes(scope(t), scope(t)).String()
			if c.ClientID = c.Subject; c.Subject == sharedI.String() {
				c.ClientID += "-1"
			}
			if rapid.IntRange(0, 9).Draw(t, "of another") == 0 {
				c.ClientID = h.another().String()
			}
			c.IssuedAt = h.now().Unix()
			c.ExpiresAt = c.IssuedAt + 3600
			c.PeerID = rapid.SampledFrom(append([]id.ID{authorityI}, h.joined...)).Draw(t, "issuer").String()
			if rapid.IntRange(0, 5).Draw(t, "of a peer") == 0 {
				c.Subject, c.Scope = someone(t).String(), "ledger.read"
			}
			h.tokens = append(h.tokens, sign(t, h.signers[id.ID(c.PeerID)], c))
		},
		"revoke":        func(t *rapid.T) { h.revoke(name(t)) },
		"revokeVersion": func(t *rapid.T) { h.revoke(sharedI, rapid.IntRange(1, 2).Draw(t, "version")) },
		"renew":         func(t *rapid.T) { names = append(names, h.another()) },
		"join": func(t *rapid.T) {
			peerID := id.New(id.Peer, now)
			h.join(peerID, scope(t), scope(t))
			h.joined = append(h.joined, peerID)
		},
		"remove": func(t *rapid.T) { h.remove(someone(t)) },
		"grant": func(t *rapid.T) {
			next := credential.NewScopes(scope(t), scope(t))
			h.setPeer(someone(t), func(p *peer.Peer) { p.MaxScopes = next })
		},
		"publish": func(*rapid.T) { h.publish(edKey(fmt.Sprint(h.changes))) },
		"retire": func(t *rapid.T) {
			h.retire(rapid.SampledFrom(h.ledger.Keys).Draw(t, "key").Key.ID())
		},
		"forget": func(*rapid.T) { h.set(func() { h.forgets = !h.forgets }) },
		"pass": func(t *rapid.T) {
			h.pass(rapid.SampledFrom([]time.Duration{-time.Minute, time.Second, 30 * time.Second, time.Minute, 59 * time.Minute}).Draw(t, "time"))
		},
	}
}

// another is a new credential.
func (w *world) another() id.ID {
	name := id.New(id.Client, now)
	w.create(name, 1)
	return name
}

// compare asks both about one token, once from memory maybe.
func (h *history) compare(t *rapid.T) {
	if len(h.tokens) == 0 {
		return
	}
	sync1(t, h.v)
	text := rapid.SampledFrom(h.tokens[max(0, len(h.tokens)-4):]).Draw(t, "token")
	scope := rapid.SampledFrom([]credential.Scope{"peers.read", "billing.write", "ledger.read", "admin"}).Draw(t, "wanted")
	caller, want := h.gate.Check(context.Background(), h.now(), text, "")
	for range 2 {
		got, err := h.v.Check(context.Background(), text, verify.Want{})
		if errors.Is(err, verify.ErrInvalid) != errors.Is(want, access.ErrToken) || (err == nil) != (want == nil) {
			t.Fatalf("%v, want %v", err, want)
		}
		if err != nil {
			continue
		}
		c := caller.Claims
		if got.Credential != c.Subject || got.ClientID != c.ClientID || got.Version != c.Version || got.IssuedBy != c.PeerID ||
			got.ExpiresAt.Unix() != c.ExpiresAt || !slices.Equal(got.Scopes, caller.Scopes.Strings()) {
			t.Fatalf("%+v, want %+v", got, c)
		}
		_, err = h.v.Check(context.Background(), text, verify.Want{Scopes: []string{string(scope)}})
		if errors.Is(err, verify.ErrForbidden) != (caller.Require(scope) != nil) {
			t.Fatalf("%s: %v, want %v", scope, err, caller.Require(scope))
		}
	}
}

// For the same state, a Verifier says what access.Gate says: whatever happened, from memory or not.
func TestVerifier_AgreesWithTheGate(t *testing.T) {
	t.Parallel()
	var hits, histories uint64
	dose := testdose.Dose{Least: 2, Most: 20, Within: 4 * time.Second} // of ten histories each
	if raced {
		dose.Most = 2 // each takes ten times as long
	}
	for range dose.Rounds(t) {
		rapid.Check(t, func(t *rapid.T) {
			w := newWorld(t)
			h := &history{world: w, joined: []id.ID{sidecarI}, gate: access.NewGate(w, access.Options{})}
			h.v = w.hurried(t, verify.Options{OfflineRead: 1000 * time.Hour, OfflineWrite: 1000 * time.Hour})
			defer h.v.Close()
			actions := h.actions()
			actions["issue2"], actions["issue3"] = actions["issue"], actions["issue"]
			t.Repeat(actions)
			hits += h.v.Hits()
			histories++
		})
	}
	t.Logf("%d histories, %d answers from memory", histories, hits)
	if !t.Failed() && histories >= 20 && hits < histories {
		t.Error("too few to prove anything")
	}
}

// While everything changes, nobody is let in whose end was known before they asked.
func TestVerifier_NoAnswerAfterTheEnd(t *testing.T) {
	t.Parallel()
	w, v := open(t)
	other := w.sign(sidecarI, func(c *token.Claims) { c.Subject = readerI.String() })
	for range (testdose.Dose{Least: 5, Most: 50, Within: 2 * time.Second}).Rounds(t) {
		name := w.another()
		text := w.sign(authorityI, func(c *token.Claims) { c.Subject, c.Version = name.String(), 1 })
		stop, done := make(chan struct{}), make(chan error, 4)
		for range cap(done) {
			go func() {
				for {
					select {
					case <-stop:
						_, err := v.Check(context.Background(), text, verify.Want{})
						done <- err
						return
					default:
						_, _ = v.Check(context.Background(), text, verify.Want{})
						if _, err := v.Check(context.Background(), other, verify.Want{}); err != nil {
							done <- err
							return
						}
					}
				}
			}()
		}
		w.revoke(name)
		sync1(t, v)
		close(stop)
		for range cap(done) {
			is(t, <-done, verify.ErrInvalid)
		}
	}
}
