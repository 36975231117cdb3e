package verdict_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/testdose"
	"github.com/keyturn/keyturn/internal/verdict"
)

// history is a world that anything may happen to.
type history struct {
	*world
	at     time.Time
	tokens []string
	redo   []func() // changes that may arrive again
}

func (h *history) some(t *rapid.T) id.ID { return rapid.SampledFrom(h.order).Draw(t, "credential") }

func (h *history) version(t *rapid.T, name id.ID) int {
	return rapid.IntRange(1, len(h.secrets[name])).Draw(t, "version")
}

// window is none, or over already, or to come.
func (h *history) window(t *rapid.T) time.Time {
	return rapid.SampledFrom([]time.Time{{}, h.at, h.at.Add(-time.Minute), h.at.Add(time.Minute), h.at.Add(30 * time.Minute), h.at.Add(24 * time.Hour)}).Draw(t, "window")
}

// do makes a change now, and remembers it.
func (h *history) do(change func()) {
	change()
	h.redo = append(h.redo, change)
}

// tombstone is where a life ends: the first one counts.
func tombstone(end *time.Time) {
	if end.IsZero() {
		*end = now
	}
}

func (h *history) actions() map[string]func(t *rapid.T) {
	return map[string]func(t *rapid.T){
		"create": func(t *rapid.T) {
			kind := rapid.SampledFrom([]credential.Kind{credential.Shared, credential.Standard}).Draw(t, "kind")
			h.create(kind, h.window(t), credential.PeersRead, credential.ServicesRead)
		},
		"rotate": func(t *rapid.T) {
			h.rotate(h.some(t), h.window(t), false, rapid.Bool().Draw(t, "hash comes later"))
		},
		"emergency": func(t *rapid.T) { h.rotate(h.some(t), time.Time{}, true, false) },
		"deliver":   func(t *rapid.T) { h.deliver(h.some(t)) },
		"revoke": func(t *rapid.T) {
			name := h.some(t)
			h.do(func() { h.change(name, func(c *credential.Credential) { tombstone(&c.RevokedAt) }) })
		},
		"revokeVersion": func(t *rapid.T) {
			name := h.some(t)
			n := h.version(t, name)
			h.do(func() { h.change(name, func(c *credential.Credential) { tombstone(&c.Versions[n-1].DeadSince) }) })
		},
		"join": func(t *rapid.T) {
			h.join(fmt.Sprint("peer", len(h.keys)), rapid.SampledFrom([]credential.Scope{credential.PeersRead, credential.Admin}).Draw(t, "scope"))
		},
		"removePeer": func(t *rapid.T) {
			name := rapid.SampledFrom(h.sidecars()).Draw(t, "peer")
			h.do(func() { h.changePeer(name, func(p *peer.Peer) { tombstone(&p.LeftAt) }) })
		},
		"changePeer": func(t *rapid.T) {
			scope := rapid.SampledFrom([]credential.Scope{credential.PeersRead, credential.ServicesRead, credential.Admin}).Draw(t, "scope")
			h.changePeer(rapid.SampledFrom(h.sidecars()).Draw(t, "peer"), func(p *peer.Peer) { p.MaxScopes = credential.NewScopes(scope) })
		},
		"publishKey": func(*rapid.T) { h.publish(fmt.Sprint("key", len(h.keys))) },
		"retireKey": func(t *rapid.T) {
			key := rapid.SampledFrom(h.keys).Draw(t, "key").signer.Key()
			h.do(func() { h.retire(key) })
		},
		"again":   func(t *rapid.T) { rapid.SampledFrom(h.redo).Draw(t, "change")() },
		"forward": func(t *rapid.T) { h.at = h.at.Add(h.step(t)) },
		"back":    func(t *rapid.T) { h.at = h.at.Add(-h.step(t)) },
		"clock":   func(*rapid.T) { h.behind = !h.behind },
		"view": func(t *rapid.T) {
			h.set(func() { h.fails = access.ErrUnavailable })
			h.generations.MoveAll()
			h.compare(t)
			h.set(func() { h.fails = nil })
		},
		"issue": func(t *rapid.T) {
			h.signs = rapid.SampledFrom(h.keys).Draw(t, "signer")
			r := access.TokenRequest{
				Audience: rapid.SampledFrom([]string{"", "", "", billing}).Draw(t, "audience"),
				Scope:    rapid.SampledFrom([]string{"", "peers.read", "peers.read"}).Draw(t, "scope"),
			}
			for _, name := range slices.Backward(h.order) { // whoever can still get one
				if text, err := h.tryIssue(h.at, name, len(h.secrets[name]), r); err == nil {
					h.tokens = append(h.tokens, text)
					return
				}
			}
		},
	}
}

func (h *history) step(t *rapid.T) time.Duration {
	return rapid.SampledFrom([]time.Duration{time.Second, 29 * time.Second, access.Leeway, 31 * time.Second, time.Minute, 29 * time.Minute, 59 * time.Minute, access.Lifetime}).Draw(t, "step")
}

// compare asks about one token and all pairs, and asks the plain gate too where the answer is not from there. The next
// change finds the caches full.
func (h *history) compare(t *rapid.T) {
	if len(h.tokens) > 0 {
		text := rapid.SampledFrom(h.tokens[max(0, len(h.tokens)-2):]).Draw(t, "token")
		audience := rapid.SampledFrom([]string{"", "", issuer, billing}).Draw(t, "audience")
		h.compareToken(t, text, audience)
		h.compareToken(t, text, audience) // where the first one found it in ristretto, it is in front
	}
	for _, name := range h.order {
		for version := range h.secrets[name] {
			for _, form := range []string{"", "-2"} {
				h.comparePair(t, h.proof(name.String()+form, name, version+1))
			}
		}
	}
	h.Wait()
}

func (h *history) compareToken(t *rapid.T, text, audience string) {
	asked := h.asked
	got, err := h.Check(context.Background(), h.at, text, audience)
	if h.asked != asked {
		return
	}
	want, wantErr := h.plain.Check(context.Background(), h.at, text, audience)
	same(t, err, wantErr)
	if !reflect.DeepEqual(plainCaller(got), plainCaller(want)) {
		t.Fatalf("caller %+v, want %+v", got, want)
	}
}

func (h *history) comparePair(t *rapid.T, p access.Proof) {
	asked := h.asked
	got, err := h.Authenticate(context.Background(), h.at, p)
	if h.asked != asked {
		return
	}
	want, wantErr := h.plain.Authenticate(context.Background(), h.at, p)
	same(t, err, wantErr)
	if !reflect.DeepEqual(plainCredential(got.Credential), plainCredential(want.Credential)) || got.ClientID() != want.ClientID() || got.Version.Digest != want.Version.Digest {
		t.Fatalf("client %+v, want %+v", got, want)
	}
}

func same(t *rapid.T, err, want error) {
	if fmt.Sprint(err) != fmt.Sprint(want) {
		t.Fatalf("%v, want %v", err, want)
	}
	for _, kind := range []error{access.ErrToken, access.ErrUnknown, access.ErrRefused, access.ErrUnavailable} {
		if errors.Is(err, kind) != errors.Is(want, kind) {
			t.Fatalf("%v, want %v", err, want)
		}
	}
}

// plainCredential has no hashes: which are still there is not what is remembered.
func plainCredential(c *credential.Credential) *credential.Credential {
	if c == nil {
		return nil
	}
	c = clone(c)
	for i := range c.Versions {
		c.Versions[i].Hash = nil
	}
	return c
}

func plainCaller(c access.Caller) access.Caller {
	c.Credential = plainCredential(c.Credential)
	return c
}

// Whatever happens, in any order and again, the caches answer what the plain gate answers.
func TestGate_NeverDiffersFromThePlainGate(t *testing.T) {
	t.Parallel()
	parts, dose := 4, testdose.Dose{Least: 1, Most: 25, Within: 10 * time.Second} // of 20 histories each
	if raced {
		parts, dose.Least, dose.Most = 1, 2, 5
	}
	for i := range parts {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			var tokenHits, pairHits, done uint64
			for range dose.Rounds(t) {
				rapid.Check(t, func(t *rapid.T) {
					tokens, pairs := happen(t)
					tokenHits, pairHits, done = tokenHits+tokens.Hits, pairHits+pairs.Hits, done+1
				})
			}
			t.Logf("%d histories, %d tokens and %d pairs were answered from memory", done, tokenHits, pairHits)
			if tokenHits < done/10 || pairHits < done {
				t.Error("too few to prove anything")
			}
		})
	}
}

// happen lives through one history.
func happen(t *rapid.T) (tokens, pairs verdict.Stats) {
	h := &history{world: newWorld(t, verdict.Limits{Entries: 64, Bytes: 1 << 20}), at: now}
	defer h.Close()
	h.join("sidecar", credential.PeersRead)
	h.create(credential.Shared, time.Time{}, credential.PeersRead)
	h.do(h.generations.MoveAll)
	actions := h.actions()
	actions[""] = h.compare // after each of them
	actions["issue2"], actions["issue3"], actions["issue4"] = actions["issue"], actions["issue"], actions["issue"]
	t.Repeat(actions)
	return h.Stats()
}
