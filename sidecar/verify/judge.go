package verify

import (
	"fmt"
	"slices"
	"time"
	"unique"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/token"
	"github.com/keyturn/keyturn/internal/verdict"
)

// judged is a token that is good until something that it rests on moves.
type judged struct {
	claims   Claims
	admin    bool // it has every scope but ledger.read
	reads    bool // all its scopes, if any, only read
	issuedAt time.Time
}

func (j *judged) allows(s credential.Scope) bool {
	return slices.Contains(j.claims.Scopes, string(s)) || j.admin && s != credential.LedgerRead
}

// entry is how the cache keeps j.
func (j *judged) entry() verdict.Entry[*judged] {
	const own, header = 256, 16 // bytes of j, and of a string in a slice
	return verdict.Entry[*judged]{
		Value: j, Bytes: own + len(j.claims.ClientID) + header*(len(j.claims.Scopes)+len(j.claims.Audience)),
		Subject: id.ID(j.claims.Credential), Owner: id.ID(j.claims.IssuedBy),
		NotBefore: j.issuedAt.Add(-access.Leeway), Deadline: j.claims.ExpiresAt,
	}
}

// judge says whether a token is good at instant at, for anybody. The error is an ErrInvalid; it is an access.ErrUnknown too
// where a key or a peer is not known, which the token may be from.
func (s *state) judge(at time.Time, text string) (*judged, error) {
	why := fmt.Errorf("%w: it is not signed by a key of this cluster", ErrInvalid)
	c, keyID, err := s.keys.VerifyOr(text, func(_ string, c token.Claims) (jwk.Key, bool) {
		if s.checkClaims(c, at) == nil && !s.refuses(id.ID(c.PeerID), 0) { // a removed peer's key is gone for ever
			why = fmt.Errorf("%w: %w", why, access.ErrUnknown)
		}
		return jwk.Key{}, false
	})
	if err != nil {
		return nil, why
	}
	o, known := s.owners[keyID]
	switch err := s.checkClaims(c, at); {
	case err != nil:
		return nil, err
	case s.alone:
		o = owner{peer: id.ID(c.PeerID), any: true}
	case !known:
		return nil, fmt.Errorf("%w: the owner of its key is not known: %w", ErrInvalid, access.ErrUnknown)
	}
	if o.peer != id.ID(c.PeerID) {
		return nil, fmt.Errorf("%w: it names another issuer than the one whose key signed it", ErrInvalid)
	}
	if s.refuses(o.peer, 0) {
		return nil, fmt.Errorf("%w: the peer that issued it is removed or denied", ErrInvalid)
	}
	return s.judgeHolder(c, o)
}

// judgeHolder judges whom the token is of, and what it allows.
func (s *state) judgeHolder(c token.Claims, o owner) (*judged, error) {
	if _, err := id.Parse(id.Peer, c.Subject); err == nil {
		return s.judgePeer(c, o)
	}
	if _, err := id.Parse(id.Client, c.Subject); err != nil {
		return nil, fmt.Errorf("%w: it is not of a credential", ErrInvalid)
	}
	scopes, err := credential.SplitScopes(c.Scope)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	case c.Version < 1:
		return nil, fmt.Errorf("%w: there never was such a version", ErrInvalid)
	case !o.mayGrant(scopes):
		return nil, fmt.Errorf("%w: its scopes are beyond what the peer that issued it may grant", ErrInvalid)
	case c.ClientID != c.Subject && c.ClientID != (id.ClientID{Credential: id.ID(c.Subject), Version: c.Version}).String():
		return nil, fmt.Errorf("%w: its client_id is not that of its credential", ErrInvalid)
	case s.refuses(id.ID(c.Subject), c.Version):
		return nil, fmt.Errorf("%w: its credential is revoked or denied", ErrInvalid)
	}
	return newJudged(c, scopes), nil
}

// judgePeer is judgeHolder for a peer's own token: only an authority issues those, for ledger.read alone.
func (s *state) judgePeer(c token.Claims, o owner) (*judged, error) {
	peerID := id.ID(c.Subject)
	switch {
	case s.alone || !o.any || c.Scope != string(credential.LedgerRead):
		return nil, fmt.Errorf("%w: it is not what an authority gives a peer", ErrInvalid)
	case s.refuses(peerID, 0):
		return nil, fmt.Errorf("%w: its peer is removed or denied", ErrInvalid)
	case !s.peers[peerID]:
		return nil, fmt.Errorf("%w: its peer is not known: %w", ErrInvalid, access.ErrUnknown)
	}
	return newJudged(c, credential.NewScopes(credential.LedgerRead)), nil
}

func (s *state) refuses(name id.ID, version int) bool {
	return s.dead.hold(name, version) || s.denied.hold(name, version)
}

// checkClaims is that of access, and holds for a token alone where the cluster's id is not known.
func (s *state) checkClaims(c token.Claims, at time.Time) error {
	switch {
	case !s.alone && c.ClusterID != s.cluster || c.Issuer != s.issuer && c.Issuer != c.PeerID:
		return fmt.Errorf("%w: it names another cluster or issuer", ErrInvalid)
	case c.ExpiresAt <= at.Unix():
		return fmt.Errorf("%w: it expired on %s", ErrInvalid, time.Unix(c.ExpiresAt, 0).UTC().Format(time.RFC3339))
	case c.IssuedAt < c.ExpiresAt-int64(access.Lifetime/time.Second):
		return fmt.Errorf("%w: it lasts longer than a token does", ErrInvalid)
	case c.IssuedAt > at.Add(access.Leeway).Unix():
		return access.ErrEarly
	}
	if _, err := id.Parse(id.Peer, c.PeerID); err != nil {
		return fmt.Errorf("%w: it names no issuer", ErrInvalid)
	}
	return nil
}

// newJudged lets the claims that many tokens have in common use the same memory.
func newJudged(c token.Claims, scopes credential.Scopes) *judged {
	j := &judged{
		claims: Claims{
			ClientID: c.ClientID, Credential: c.Subject, Version: c.Version, Scopes: scopes.Strings(),
			Audience: slices.Clone(c.Audience), IssuedBy: unique.Make(c.PeerID).Value(), ExpiresAt: time.Unix(c.ExpiresAt, 0).UTC(),
		},
		admin: slices.Contains(scopes, credential.Admin), reads: true, issuedAt: time.Unix(c.IssuedAt, 0),
	}
	if c.ClientID == c.Subject {
		j.claims.ClientID = c.Subject
	}
	for i, scope := range scopes {
		j.claims.Scopes[i] = unique.Make(string(scope)).Value()
		j.reads = j.reads && scope.Read()
	}
	for i, audience := range j.claims.Audience {
		j.claims.Audience[i] = unique.Make(audience).Value()
	}
	return j
}
