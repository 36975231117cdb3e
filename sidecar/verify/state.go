package verify

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
	"unique"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/token"
)

// state is what one reading of the source has told, on top of those before. It does not change, but for its dead.
type state struct {
	alone    bool   // from the key set alone: who owns a key is not known
	cluster  string // "" alone
	issuer   string
	audience string // where nobody asks for another
	list     []string
	keys     *token.KeySet
	owners   map[string]owner // by key id
	peers    map[id.ID]bool   // that own keys
	dead     *graves          // shared with the states before and after, until all is read anew
	denied   *graves
	cursor   string

	complete    bool          // of whom nothing is known here, nothing is known anywhere: the authority was asked
	known       bool          // there was a proof of freshness
	age         time.Duration // of that, at asOf
	asOf        time.Time
	read, write bound
}

// bound is until when what is known is fresh enough, by both clocks of a host: see ageAt.
type bound struct {
	most  time.Duration // what the age may be
	until time.Time
	wall  int64 // until, in nanoseconds since 1970
}

func (s *state) bound(most time.Duration) bound {
	if !s.known || s.age > most {
		return bound{most: most, wall: math.MinInt64} // over, also where the clock was set back
	}
	until := s.asOf.Add(most - s.age)
	return bound{most, until, until.UnixNano()}
}

func (b *bound) passed(at time.Time) bool { return at.After(b.until) || at.UnixNano() > b.wall }

// owner is a peer whose key signs tokens.
type owner struct {
	peer   id.ID
	any    bool // it may grant whatever a credential has, as only authorities may
	scopes credential.Scopes
}

func (o owner) equal(p owner) bool {
	return o.peer == p.peer && o.any == p.any && slices.Equal(o.scopes, p.scopes)
}

func (o owner) mayGrant(scopes credential.Scopes) bool { return o.any || o.scopes.Cover(scopes) }

// ageAt is how old the last proof of freshness is at instant at. A host that slept counts by its wall clock, one whose wall
// clock was set back by the other: whichever says more.
func (s *state) ageAt(at time.Time) time.Duration {
	wall := time.Duration(at.UnixNano() - s.asOf.UnixNano())
	return s.age + max(at.Sub(s.asOf), wall, 0)
}

// newState makes a state of a reading that was asked for at asOf. Without a state before, the reading has everything.
func newState(f httpapi.Feed, before *state, asOf time.Time, o Options) (*state, error) {
	if o.Issuer != "" && o.Issuer != f.Issuer {
		return nil, fmt.Errorf("the source is of the issuer %.200q, not of %.200q", f.Issuer, o.Issuer)
	}
	s := &state{
		alone: o.KeysOnly, cluster: f.ClusterID, issuer: f.Issuer, cursor: f.Cursor, asOf: asOf,
		denied: denied(f.Denied), complete: f.Complete,
	}
	s.audience = unique.Make(cmp.Or(o.Audience, f.Issuer)).Value() // the same memory as in claims: quickly compared
	if f.Age != nil {
		s.known, s.age = true, seconds(*f.Age)
	}
	s.read = s.bound(cmp.Or(o.OfflineRead, seconds(f.Bounds.Read)))
	s.write = s.bound(min(s.read.most, cmp.Or(o.OfflineWrite, seconds(f.Bounds.Write))))
	if err := s.own(f.Peers); err != nil {
		return nil, err
	}
	s.take(f.Keys, before)
	if before == nil {
		s.dead = newGraves(f.Dead)
	} else {
		s.dead = before.dead
	}
	return s, nil
}

// seconds of the wire, where too many would turn negative.
func seconds(n int) time.Duration { return time.Duration(min(n, math.MaxInt32)) * time.Second }

// own learns whose the keys are. A scope that is none grants nothing.
func (s *state) own(grants []httpapi.Grant) error {
	s.owners, s.peers = make(map[string]owner, len(grants)), make(map[id.ID]bool, len(grants))
	for _, g := range grants {
		peerID, err := id.Parse(id.Peer, g.PeerID)
		if err != nil {
			return fmt.Errorf("the owner of a key: %w", err)
		}
		o := owner{peer: peerID, any: g.MaxScopes == nil}
		if !o.any {
			var list []credential.Scope
			for _, text := range *g.MaxScopes {
				if scope, err := credential.ParseScope(text); err == nil {
					list = append(list, scope)
				}
			}
			o.scopes = credential.NewScopes(list...)
		}
		if was, twice := s.owners[g.KeyID]; twice && !was.equal(o) {
			return fmt.Errorf("the key %.64q has two owners", g.KeyID)
		}
		s.owners[g.KeyID], s.peers[peerID] = o, true
	}
	return nil
}

// take makes the keys ready, or takes them from the state before where they are the same.
func (s *state) take(set jwk.Set, before *state) {
	for _, k := range set.Keys {
		s.list = append(s.list, k.ID())
	}
	slices.Sort(s.list)
	if before != nil && slices.Equal(s.list, before.list) {
		s.keys = before.keys
		return
	}
	s.keys = token.NewKeySet(set.Keys)
}

// wait is how long a reading may wait for news, at most: it also tells the age, which has to be known before it is too old.
func (s *state) wait(most time.Duration) time.Duration {
	return min(most, max(s.write.most/4, time.Second))
}

var (
	errUnproven = errors.New("the sidecar has no proof of freshness, or the clock of this host is behind it")
	errUnasked  = errors.New("the sidecar could not ask the authority at home")
)

// unsure is nil where a reading that a check has asked for has brought all that there is: see state.complete.
func (s *state) unsure() error {
	switch {
	case !s.known:
		return errUnproven
	case !s.complete:
		return errUnasked
	}
	return nil
}

// tells reports whether s has news that the state before did not have. What an operator denies moves no cursor.
func (s *state) tells(before *state) bool {
	return s.cursor != before.cursor || len(s.denied.differ(before.denied)) > 0
}

// agrees reports whether what one state says of clusters, keys and peers, the other says too.
func (s *state) agrees(other *state) bool {
	return s.cluster == other.cluster && s.issuer == other.issuer && slices.Equal(s.list, other.list) &&
		maps.EqualFunc(s.owners, other.owners, owner.equal)
}
