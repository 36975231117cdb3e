package ledger

import (
	"encoding/json"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/peer"
)

// ClusterBody is the first record of a cluster. It is signed with the key that it names.
type ClusterBody struct {
	Issuer    string  `json:"issuer"`
	Home      string  `json:"home"`
	LedgerKey jwk.Key `json:"ledger_key"`
	Sealed    []byte  `json:"sealed,omitempty"` // the private half of LedgerKey, for whoever may open it
	Anchor    []byte  `json:"anchor,omitempty"` // the custody's sealed word that LedgerKey founded the cluster
}

// LicenseBody carries the license as it was signed by its vendor.
type LicenseBody struct {
	License json.RawMessage `json:"license"`
}

// HomeBody moves the home to another region.
type HomeBody struct {
	Home string `json:"home"`
}

// Use says what a published key signs.
type Use string

// The uses of a published key.
const (
	UseLedger Use = "ledger"
	UseToken  Use = "token"
)

// KeyBody publishes a key of an authority. A ledger key is trusted from here on: a trusted one vouches for it.
type KeyBody struct {
	Use    Use     `json:"use"`
	Key    jwk.Key `json:"key"`
	PeerID id.ID   `json:"peer_id,omitempty"` // who signs tokens with it
	Sealed []byte  `json:"sealed,omitempty"`  // the private half of Key, for whoever may open it
	Anchor []byte  `json:"anchor,omitempty"`  // beside a ledger key: its custody's sealed word which key founded the cluster
}

// KeyRetiredBody takes a token key out of the key set.
type KeyRetiredBody struct {
	KeyID string `json:"key_id"`
}

// CredentialBody creates a credential. Its first secret is a record of its own.
type CredentialBody struct {
	Name      string            `json:"name,omitempty"`
	Kind      credential.Kind   `json:"kind"`
	Scopes    credential.Scopes `json:"scopes"`
	LicenseID id.ID             `json:"license_id,omitempty"`
	ExpiresAt *time.Time        `json:"expires_at,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Recovery  bool              `json:"recovery,omitempty"` // made by who holds the ledger key
}

// VersionBody is a rotation, or a credential's first secret (without Parent). Versions are named by digest as well as by
// number, because two regions may have used one number unheard of each other.
//
// An emergency kills every version that does not name it in its Trunk: all that came before it, and every branch that
// grew beside it. The trunk is spelled out because the records between may have expired from a subject's copy.
type VersionBody struct {
	Version   int                 `json:"version"`
	Digest    credential.Digest   `json:"digest"`
	Key       *jwk.Key            `json:"public_key,omitempty"`
	Parent    credential.Digest   `json:"parent,omitempty"`
	Retires   []Retirement        `json:"retires,omitempty"`
	Emergency bool                `json:"emergency,omitempty"` // what is neither this version nor its descendant is dead
	Trunk     []credential.Digest `json:"trunk,omitempty"`     // the emergencies that it is, or descends from, newest last
	Recovery  bool                `json:"recovery,omitempty"`  // made by who holds the ledger key
}

// Retirement closes a version's window. In an emergency it is the version's tombstone.
type Retirement struct {
	Version  int               `json:"version"`
	Digest   credential.Digest `json:"digest"`
	NotAfter time.Time         `json:"not_after"`
}

// RevokedBody is a tombstone: for the whole subject, or for the versions of one number.
type RevokedBody struct {
	Version int `json:"version,omitempty"`
}

// PeerBody says that a peer has joined. An authority has neither keys nor scopes here: its keys are the cluster's.
type PeerBody struct {
	Name      string            `json:"name"`
	Role      peer.Role         `json:"role"`
	PublicKey jwk.Key           `json:"public_key,omitzero"`
	TokenKey  jwk.Key           `json:"token_key,omitzero"`
	Region    string            `json:"region,omitempty"`
	MaxScopes credential.Scopes `json:"max_scopes,omitempty"`
	JoinKey   id.ID             `json:"join_key,omitempty"`
}

// PeerChangeBody changes what is said of a peer. What is nil stays.
type PeerChangeBody struct {
	Name      *string            `json:"name,omitempty"`
	MaxScopes *credential.Scopes `json:"max_scopes,omitempty"`
}

// JoinKeyBody creates a join key. The key itself is shown once and kept nowhere.
type JoinKeyBody struct {
	Name      string            `json:"name,omitempty"`
	Region    string            `json:"region,omitempty"`
	MaxScopes credential.Scopes `json:"max_scopes,omitempty"`
	ExpiresAt time.Time         `json:"expires_at"`
}

// JoinKeyUsedBody says which peer has joined with a join key.
type JoinKeyUsedBody struct {
	PeerID id.ID `json:"peer_id"`
}

func newBody(k Kind) any {
	switch k {
	case KindCluster:
		return new(ClusterBody)
	case KindLicense:
		return new(LicenseBody)
	case KindHome:
		return new(HomeBody)
	case KindKey:
		return new(KeyBody)
	case KindKeyRetired:
		return new(KeyRetiredBody)
	case KindCredential:
		return new(CredentialBody)
	case KindVersion:
		return new(VersionBody)
	case KindRevoked:
		return new(RevokedBody)
	case KindPeer:
		return new(PeerBody)
	case KindPeerChange:
		return new(PeerChangeBody)
	case KindJoinKey:
		return new(JoinKeyBody)
	case KindJoinKeyUsed:
		return new(JoinKeyUsedBody)
	}
	return nil
}
