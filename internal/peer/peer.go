package peer

import (
	"crypto/ed25519"
	"errors"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
)

// Role says what a peer is.
type Role string

// The roles of a peer.
const (
	Authority Role = "authority" // one of each region; outside the license's limit of nodes
	Sidecar   Role = "sidecar"
)

// Status says whether a peer belongs to the cluster.
type Status string

// A peer is active until it is removed, and removed for ever then.
const (
	Active  Status = "active"
	Removed Status = "removed"
)

// Peer is what the records of one peer say together.
type Peer struct {
	ID        id.ID
	Name      string
	Role      Role
	PublicKey jwk.Key // its identity, Ed25519; zero for an authority
	TokenKey  jwk.Key // signs the tokens that it issues; zero for an authority, whose keys are the cluster's
	Region    string  // whose authority it has joined at
	MaxScopes credential.Scopes
	JoinKey   id.ID // with which it joined; "" for an authority
	JoinedAt  time.Time
	LeftAt    time.Time // zero: it is here
}

// Status is active or removed.
func (p *Peer) Status() Status {
	if p.LeftAt.IsZero() {
		return Active
	}
	return Removed
}

// MayGrant reports whether p may issue tokens with these scopes. An authority may grant whatever a credential has; a sidecar
// what its max_scopes cover, and nothing once it is removed.
func (p *Peer) MayGrant(scopes credential.Scopes) bool {
	if p.Status() != Active {
		return false
	}
	return p.Role == Authority || p.MaxScopes.Cover(scopes)
}

// ErrProof says that a joining host did not prove that it holds the key it names.
var ErrProof = errors.New("the proof is not a signature of public_key over this join")

// proofDomain begins what a joining host signs.
const proofDomain = "keyturn-join-v1\n"

// ProofMessage is what a host signs with its identity to join: the join key's jti and the RFC 7638 thumbprints of its
// identity and of its token key, each on a line of its own behind the domain prefix.
func ProofMessage(jti string, public, token jwk.Key) []byte {
	return []byte(proofDomain + jti + "\n" + public.ID() + "\n" + token.ID() + "\n")
}

// CheckProof returns nil where signature is public's over this join, else ErrProof.
func CheckProof(jti string, public, token jwk.Key, signature []byte) error {
	key, ok := public.Public().(ed25519.PublicKey)
	if !ok || !ed25519.Verify(key, ProofMessage(jti, public, token), signature) {
		return ErrProof
	}
	return nil
}
