package verdict

import (
	"context"
	"reflect"
	"slices"
	"time"
	"unique"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
)

// Decider is what a Gate stands in front of: an *access.Gate. The credentials and peers in its answers are taken for the
// memory of its View, which holds them anyway: they are not counted as bytes of the caches, and the caches keep them alive.
type Decider interface {
	// Check is access.Gate.Check. Its answer may change only with time, or after a move of the credential, of the peer that
	// issued the token, or of all. It holds from 30 s before the token's iat until its exp.
	Check(ctx context.Context, at time.Time, text, audience string) (access.Caller, error)
	// Authenticate is access.Gate.Authenticate. With a secret its answer may change only at the end of the version or of the
	// credential, or after a move of the credential or of all, or as Options.ClockBehind says.
	Authenticate(ctx context.Context, at time.Time, p access.Proof) (access.Client, error)
}

// Options of a Gate. The zero value works.
type Options struct {
	Tokens, Pairs Limits
	// ClockBehind is the same as in access.Options. It is asked on each hit of a superseded secret; without it none is
	// answered from memory.
	ClockBehind func(at time.Time) bool
}

// Gate answers from its caches what it can, and asks a Decider for the rest.
type Gate struct {
	next        Decider
	generations *Generations
	clockBehind func(at time.Time) bool
	tokens      *Tokens[*judged]
	pairs       *Pairs
}

// judged is a caller, and whether "" is an audience of the token: the issuer is not known here.
type judged struct {
	caller access.Caller
	home   bool
}

func (j *judged) suits(audience string) bool {
	return audience == "" && j.home || audience != "" && slices.Contains(j.caller.Claims.Audience, audience)
}

// NewGate returns a Gate whose caches end when Close is called. It fails for negative limits only.
func NewGate(next Decider, g *Generations, o Options) (*Gate, error) {
	tokens, err := NewTokens[*judged](g, o.Tokens)
	if err != nil {
		return nil, err
	}
	pairs, err := NewPairs(g, o.Pairs)
	if err != nil {
		tokens.Close()
		return nil, err
	}
	return &Gate{next, g, o.ClockBehind, tokens, pairs}, nil
}

// Check returns what the Decider's Check does. What is refused, for another audience too, the Decider refuses each time.
func (g *Gate) Check(ctx context.Context, at time.Time, text, audience string) (access.Caller, error) {
	if j, ok := g.tokens.Get(at, text); ok && j.suits(audience) {
		return j.caller, nil
	}
	m := g.generations.Mark()
	caller, err := g.next.Check(ctx, at, text, audience)
	if err == nil {
		g.keep(m, at, text, &judged{caller, audience == ""})
	}
	return caller, err
}

func (g *Gate) keep(m Mark, at time.Time, text string, j *judged) {
	c := &j.caller.Claims
	bytes := share(&j.caller)
	g.tokens.Set(m, at, text, Entry[*judged]{
		Value: j, Bytes: bytes, Subject: j.caller.ID(), Owner: id.ID(c.PeerID),
		NotBefore: time.Unix(c.IssuedAt, 0).Add(-access.Leeway), Deadline: time.Unix(c.ExpiresAt, 0),
	})
}

// share lets the claims that many tokens have in common use the same memory, and returns how much the rest takes
// in a judged, in bytes.
func share(c *access.Caller) int {
	const header = 16 // of a string in a slice
	claims := &c.Claims
	for _, s := range []*string{&claims.Issuer, &claims.Scope, &claims.ClusterID, &claims.PeerID} {
		*s = unique.Make(*s).Value()
	}
	bytes := int(reflect.TypeFor[judged]().Size()) + len(claims.ID) + header*(len(claims.Audience)+len(c.Scopes))
	claims.Audience = slices.Clone(claims.Audience)
	for i, a := range claims.Audience {
		claims.Audience[i] = unique.Make(a).Value()
	}
	same := claims.ClientID == claims.Subject
	claims.Subject = string(c.ID())
	if same {
		claims.ClientID = claims.Subject
	} else {
		bytes += len(claims.ClientID)
	}
	return bytes
}

// Authenticate returns what the Decider's Authenticate does. An assertion is good once and always goes there.
func (g *Gate) Authenticate(ctx context.Context, at time.Time, p access.Proof) (access.Client, error) {
	client, hash, ok := shown(p)
	if !ok {
		return g.next.Authenticate(ctx, at, p)
	}
	if c, ok := g.pairs.Get(at, client, hash); ok && g.inTime(at, c.Version) {
		return c, nil
	}
	m := g.generations.Mark()
	c, err := g.next.Authenticate(ctx, at, p)
	if err == nil && c.Version != nil && g.inTime(at, c.Version) {
		g.pairs.Set(m, at, client, hash, c)
	}
	return c, err
}

// shown is false for what is no pair of a client id and a secret.
func shown(p access.Proof) (id.ClientID, credential.Hash, bool) {
	if p.Assertion != "" {
		return id.ClientID{}, credential.Hash{}, false
	}
	client, err := id.ParseClientID(p.ClientID)
	if err != nil {
		return id.ClientID{}, credential.Hash{}, false
	}
	secret, err := credential.ParseSecret(p.Secret)
	if err != nil {
		return id.ClientID{}, credential.Hash{}, false
	}
	return client, secret.Hash(), true
}

// inTime is false where a clock that is known to be wrong would judge a deadline.
func (g *Gate) inTime(at time.Time, v *credential.Version) bool {
	return v.NotAfter.IsZero() || g.clockBehind != nil && !g.clockBehind(at)
}

// Stats returns the counters of both caches: of tokens, and of clients with their secrets.
func (g *Gate) Stats() (tokens, pairs Stats) { return g.tokens.Stats(), g.pairs.Stats() }

// Close ends the caches. The Gate still answers, without them.
func (g *Gate) Close() {
	g.tokens.Close()
	g.pairs.Close()
}
