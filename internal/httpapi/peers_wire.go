package httpapi

import (
	"encoding/json"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/peer"
)

// JoinKeyRequest asks for a join key. No TTLSeconds means 600; no MaxScopes, what ends in .read of what the token has.
type JoinKeyRequest struct {
	Name       string   `json:"name,omitempty"`
	TTLSeconds *int64   `json:"ttl_seconds,omitempty"` // at most 86400
	MaxScopes  []string `json:"max_scopes,omitzero"`
	Region     string   `json:"region,omitempty"` // "": where the host asks to join
	Reason     string   `json:"reason,omitempty"`
}

// CreatedJoinKey is a new join key: the only time that it is shown.
type CreatedJoinKey struct {
	JoinKey   string `json:"join_key"` // a JWT
	JoinKeyID string `json:"join_key_id"`
	ExpiresAt Time   `json:"expires_at"`
}

// JoinKey is a join key without the key itself. Absent values are null or [].
type JoinKey struct {
	JoinKeyID string   `json:"join_key_id"`
	Name      *string  `json:"name"`
	Status    string   `json:"status"` // active, used, revoked or expired
	MaxScopes []string `json:"max_scopes"`
	Region    *string  `json:"region"`
	CreatedAt Time     `json:"created_at"`
	CreatedBy *string  `json:"created_by"`
	ExpiresAt Time     `json:"expires_at"`
	UsedBy    *string  `json:"used_by"` // the peer that joined with it
}

// JoinKeys is the answer to who asks for join keys, the oldest first.
type JoinKeys struct {
	JoinKeys []JoinKey `json:"join_keys"`
}

// JoinRequest lets a host join. Proof is its Ed25519 signature in base64url, see peer.ProofMessage.
type JoinRequest struct {
	JoinKey   string          `json:"join_key"`
	Name      string          `json:"name,omitempty"`
	PublicKey json.RawMessage `json:"public_key"` // a JWK, Ed25519: its identity
	TokenKey  json.RawMessage `json:"token_key"`  // a JWK: signs the tokens that it issues
	Proof     string          `json:"proof"`
}

// Joined is what a new peer has to know. It checks the license itself.
type Joined struct {
	PeerID     string          `json:"peer_id"`
	ClusterID  string          `json:"cluster_id"`
	Issuer     string          `json:"issuer"`
	LedgerKeys []jwk.Key       `json:"ledger_keys"`
	License    json.RawMessage `json:"license"` // as its vendor signed it
	Region     string          `json:"region"`
}

// Peer is a host of the cluster, or a region's authority, which has neither keys nor scopes of its own here.
type Peer struct {
	PeerID    string   `json:"peer_id"`
	Name      *string  `json:"name"`
	Role      string   `json:"role"` // sidecar or authority
	PublicKey jwk.Key  `json:"public_key"`
	TokenKey  jwk.Key  `json:"token_key"`
	Region    string   `json:"region"`
	MaxScopes []string `json:"max_scopes"`
	JoinedAt  Time     `json:"joined_at"`
	LeftAt    Time     `json:"left_at"`
	Status    string   `json:"status"` // active or removed
}

// Peers is the answer to who asks for all peers, in the order in which they joined.
type Peers struct {
	Peers []Peer `json:"peers"`
}

// PeerChangeRequest changes a peer. What is not there stays.
type PeerChangeRequest struct {
	Name      *string   `json:"name,omitempty"`
	MaxScopes *[]string `json:"max_scopes,omitempty"`
	Reason    string    `json:"reason,omitempty"`
}

func joinKeyWire(k *peer.JoinKey, at time.Time) JoinKey {
	return JoinKey{
		JoinKeyID: k.ID.String(), Name: optional(k.Name), Status: string(k.Status(at)), MaxScopes: k.MaxScopes.Strings(),
		Region: optional(k.Region), CreatedAt: Time{k.CreatedAt}, CreatedBy: optional(k.CreatedBy), ExpiresAt: Time{k.ExpiresAt},
		UsedBy: optional(k.UsedBy.String()),
	}
}

func joinedWire(j authority.Joined) Joined {
	return Joined{
		PeerID: j.PeerID.String(), ClusterID: j.ClusterID.String(), Issuer: j.Issuer, LedgerKeys: j.LedgerKeys,
		License: j.License, Region: j.Region,
	}
}

func peerWire(p *peer.Peer) Peer {
	return Peer{
		PeerID: p.ID.String(), Name: optional(p.Name), Role: string(p.Role), PublicKey: p.PublicKey, TokenKey: p.TokenKey,
		Region: p.Region, MaxScopes: p.MaxScopes.Strings(), JoinedAt: Time{p.JoinedAt}, LeftAt: Time{p.LeftAt}, Status: string(p.Status()),
	}
}
