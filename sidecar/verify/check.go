package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
)

// Want is what a token has to be good for. The zero Want takes any scopes, for the Verifier's audience.
type Want struct {
	// Scopes are all needed, in any of their spellings. A token with admin has all but ledger.read.
	Scopes []string
	// Audience has to be among the token's. "": the Verifier's has to.
	Audience string
}

// Claims say who holds a token. The slices are shared with other callers: read them only.
type Claims struct {
	ClientID   string    // as it was issued to: the version whose secret was shown, or the whole credential
	Credential string    // cli_<26>, the same through all rotations; the id of a peer for its own token
	Version    int       // of the secret that was shown
	Scopes     []string  // in their short form, sorted
	Audience   []string  // whom it is for
	IssuedBy   string    // the peer that issued it
	ExpiresAt  time.Time // UTC, whole seconds
}

// Check says who holds the token, if it is good now, and for what is wanted. The error is an ErrInvalid, an ErrForbidden or
// an ErrStale. Only a token whose key or issuer is not known, or which is from the future, waits for the source, until ctx is
// done: a second, mostly.
func (v *Verifier) Check(ctx context.Context, token string, want Want) (Claims, error) {
	at := v.now()
	s := v.state.Load()
	if s == nil {
		return Claims{}, stale("nobody follows the revocations", errClosed)
	}
	j, seen := v.tokens.Get(at, token)
	if !seen {
		var err error
		if j, s, err = v.judge(at, token); behind(err) {
			unsure := v.asks.Wait(ctx)
			at = v.now() // time has passed, and a deadline with it
			if j, s, err = v.judge(at, token); behind(err) && unsure != nil {
				err = undecided(err, unsure)
			}
		}
		if err != nil {
			return Claims{}, err
		}
	}
	if err := v.suits(at, s, j, want); err != nil {
		return Claims{}, err
	}
	return j.claims, nil
}

// judge judges a token that was not seen before, and remembers the answer.
func (v *Verifier) judge(at time.Time, text string) (*judged, *state, error) {
	m := v.generations.Mark()
	s := v.state.Load()
	if s == nil {
		return nil, nil, stale("nobody follows the revocations", errClosed)
	}
	j, err := s.judge(at, text)
	if err != nil {
		return nil, nil, err
	}
	v.tokens.Set(m, at, text, j.entry())
	return j, s, nil
}

// behind reports whether a refusal may only mean that the source has to be asked: the token's key or peer is not known here, and
// may be as new as the token; or the token is from the future of a clock that may be the wrong one.
func behind(refused error) bool {
	return errors.Is(refused, access.ErrUnknown) || errors.Is(refused, access.ErrEarly)
}

// undecided is what becomes of such a refusal where the source could not tell all that there is: neither yes nor no.
func undecided(refused, unsure error) error {
	if errors.Is(refused, access.ErrEarly) {
		return stale("the token is from the future by the clock of this host, which may be behind", unsure)
	}
	return stale("the key or the issuer of the token is not known here, and nobody who would know can be asked", unsure)
}

// suits compares a good token with what is wanted.
func (v *Verifier) suits(at time.Time, s *state, j *judged, want Want) error {
	switch {
	case want.Audience == "" && !slices.Contains(j.claims.Audience, s.audience):
		return fmt.Errorf("%w: it is for another audience", ErrInvalid)
	case want.Audience != "" && !slices.Contains(j.claims.Audience, want.Audience):
		return fmt.Errorf("%w: it is for another audience", ErrForbidden)
	}
	reads := j.reads
	if len(want.Scopes) > 0 {
		reads = true
		for _, text := range want.Scopes {
			scope := credential.Scope(text)
			if !slices.Contains(j.claims.Scopes, text) { // what a token has is well-formed
				if scope = v.scope(text); scope == "" || !j.allows(scope) {
					return ErrForbidden
				}
			}
			reads = reads && scope.Read()
		}
	}
	return s.fresh(at, reads)
}

// fresh returns an ErrStale where what is known is too old for a token that is used to read, or for more than that.
func (s *state) fresh(at time.Time, reads bool) error {
	b := &s.write
	if reads {
		b = &s.read
	}
	switch {
	case !b.passed(at):
		return nil
	case !s.known:
		return stale("there was no proof of its freshness yet, or the clock of this host is behind it", nil)
	}
	return stale(fmt.Sprintf("the last proof of its freshness is %s old, and %s are allowed", s.ageAt(at).Truncate(time.Second), b.most), nil)
}

// spellings is how many wanted scopes are remembered: a service wants the same few for ever.
const spellings = 256

// scope returns the short form of a wanted scope, "" for what is none.
func (v *Verifier) scope(text string) credential.Scope {
	known := *v.wanted.Load()
	if scope, ok := known[text]; ok {
		return scope
	}
	scope, err := credential.ParseScope(text)
	if err != nil {
		return ""
	}
	if before := v.wanted.Load(); len(*before) < spellings {
		next := maps.Clone(*before)
		next[strings.Clone(text)] = scope
		v.wanted.CompareAndSwap(before, &next)
	}
	return scope
}
