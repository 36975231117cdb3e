package httpapi

import (
	"encoding/json"
	"time"

	"github.com/keyturn/keyturn/internal/jwk"
)

// Headers of the API.
const (
	HeaderRequestID      = "Keyturn-Request-Id"
	HeaderClientRequest  = "X-Request-Id"
	HeaderBootstrapToken = "Keyturn-Bootstrap-Token"
	HeaderIdempotencyKey = "Idempotency-Key"
	HeaderReplayed       = "Idempotency-Replayed"
)

// Time is an instant on the wire: RFC 3339, UTC, whole seconds; null where there is none.
type Time struct{ time.Time }

// MarshalJSON writes null for the zero instant.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(t.UTC().Truncate(time.Second).Format(time.RFC3339))
}

// Token is the answer of the token endpoint (RFC 6749 §5.1). The last two members are there for a superseded secret only.
type Token struct {
	AccessToken          string `json:"access_token"`
	TokenType            string `json:"token_type"`
	ExpiresIn            int    `json:"expires_in"` // seconds
	Scope                string `json:"scope"`
	SecretExpiresAt      *Time  `json:"secret_expires_at,omitempty"`
	SecretVersionCurrent int    `json:"secret_version_current,omitempty"`
}

// Introspection is the answer of the introspection endpoint (RFC 7662 §2.2). What is not active has no other member.
type Introspection struct {
	Active    bool            `json:"active"`
	ClientID  string          `json:"client_id,omitempty"`
	Subject   string          `json:"sub,omitempty"`
	Scope     string          `json:"scope,omitempty"`
	ExpiresAt int64           `json:"exp,omitempty"`
	IssuedAt  int64           `json:"iat,omitempty"`
	Audience  json.RawMessage `json:"aud,omitempty"`
	Issuer    string          `json:"iss,omitempty"`
	ID        string          `json:"jti,omitempty"`
	TokenType string          `json:"token_type,omitempty"`
}

// Bootstrapped is the answer of a bootstrap: the only time that the first secret is shown.
type Bootstrapped struct {
	ClusterID    string   `json:"cluster_id"`
	PeerID       string   `json:"peer_id"`
	LicenseID    string   `json:"license_id"`
	ClientID     string   `json:"client_id"`
	ClientSecret string   `json:"client_secret"`
	Version      int      `json:"version"`
	Scopes       []string `json:"scopes"`
}

// Identity is what a cluster says of itself to anybody.
type Identity struct {
	ClusterID  string    `json:"cluster_id"`
	Issuer     string    `json:"issuer"`
	Region     string    `json:"region"`
	HomeRegion string    `json:"home_region"`
	PeerID     string    `json:"peer_id"`
	LicenseID  string    `json:"license_id"`
	LedgerKeys []jwk.Key `json:"ledger_keys"`
	Version    string    `json:"version"`
}

// Discovery is the metadata of an authorization server (RFC 8414 §2, OpenID Connect Discovery §3).
type Discovery struct {
	Issuer                       string   `json:"issuer"`
	TokenEndpoint                string   `json:"token_endpoint"`
	JWKSURI                      string   `json:"jwks_uri"`
	IntrospectionEndpoint        string   `json:"introspection_endpoint"`
	GrantTypes                   []string `json:"grant_types_supported"`
	ResponseTypes                []string `json:"response_types_supported"`
	SubjectTypes                 []string `json:"subject_types_supported"`
	IDTokenAlgs                  []string `json:"id_token_signing_alg_values_supported"`
	TokenAuthMethods             []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgs                []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	IntrospectionEndpointMethods []string `json:"introspection_endpoint_auth_methods_supported"`
	Scopes                       []string `json:"scopes_supported"`
}

// Credential is a credential without its secret. Absent values are null or [].
type Credential struct {
	ClientID  string            `json:"client_id"`
	ID        string            `json:"id"`
	Name      *string           `json:"name"`
	Kind      string            `json:"kind"`
	Scopes    []string          `json:"scopes"`
	LicenseID *string           `json:"license_id"`
	Version   int               `json:"version"`
	Status    string            `json:"status"`
	CreatedAt Time              `json:"created_at"`
	CreatedBy *string           `json:"created_by"`
	RotatedAt Time              `json:"rotated_at"`
	ExpiresAt Time              `json:"expires_at"`
	RevokedAt Time              `json:"revoked_at"`
	Labels    map[string]string `json:"labels"`
	Previous  []Previous        `json:"previous"`
}

// Previous is a superseded version that is still accepted.
type Previous struct {
	ClientID  string `json:"client_id"`
	Version   int    `json:"version"`
	ExpiresAt Time   `json:"expires_at"`
}

// CreateRequest asks for a credential.
type CreateRequest struct {
	Name             string            `json:"name,omitempty"`
	Scopes           []string          `json:"scopes,omitempty"`
	ExpiresInSeconds *int64            `json:"expires_in_seconds,omitempty"`
	Labels           map[string]string `json:"labels,omitempty"`
	PublicKey        json.RawMessage   `json:"public_key,omitempty"` // a JWK: then the client uses private_key_jwt
	Reason           string            `json:"reason,omitempty"`
}

// Created is a new credential: the only time that its secret is shown. ClientSecret is "" for one with a public key.
type Created struct {
	Credential
	ClientSecret string `json:"client_secret,omitempty"`
}

// CredentialPage is one page of credentials. NextCursor is null on the last one.
type CredentialPage struct {
	Credentials []Credential `json:"credentials"`
	NextCursor  *string      `json:"next_cursor"`
}

// RotateRequest asks for a rotation. No WindowSeconds means 24 hours, or 0 in an emergency.
type RotateRequest struct {
	WindowSeconds *int64          `json:"window_seconds,omitempty"`
	Emergency     bool            `json:"emergency,omitempty"`
	Reason        string          `json:"reason,omitempty"`
	PublicKey     json.RawMessage `json:"public_key,omitempty"`
}

// Rotation is the answer of a rotation: the only time that the new secret is shown. The last two members are there in an
// emergency only.
type Rotation struct {
	ClientID        string     `json:"client_id"`
	ClientSecret    string     `json:"client_secret,omitempty"`
	Version         int        `json:"version"`
	RotatedAt       Time       `json:"rotated_at"`
	Previous        []Previous `json:"previous"`
	Killed          *[]string  `json:"killed,omitempty"`
	CreatedByKilled *[]string  `json:"created_by_killed,omitempty"`
}

// AuditPage is one page of the audit trail, oldest first. NextCursor is null at the end of what there is.
type AuditPage struct {
	Events     []Event `json:"events"`
	NextCursor *string `json:"next_cursor"`
}

// Event is one line of the audit trail.
type Event struct {
	At        Time    `json:"at"`
	Actor     *string `json:"actor"`
	Action    string  `json:"action"`
	Subject   string  `json:"subject"`
	Reason    *string `json:"reason"`
	RequestID *string `json:"request_id"`
	Source    *string `json:"source"`
	Region    string  `json:"region"`
	Seq       uint64  `json:"seq"`
}

// ExportLine is one line of an export: a record, a live hash, or, as the last line of each answer, the cursor.
type ExportLine struct {
	Record     *SignedRecord   `json:"record,omitempty"`
	Hash       *LiveHash       `json:"hash,omitempty"`
	NextCursor json.RawMessage `json:"next_cursor,omitempty"` // a string, or null at the end of what there is
}

// SignedRecord is a record as it travels. Payload and signature are base64url without padding.
type SignedRecord struct {
	Payload   string `json:"payload"`
	KeyID     string `json:"key_id"`
	Signature string `json:"signature"`
}

// LiveHash is the hash of a version that is accepted, base64url without padding.
type LiveHash struct {
	Region string `json:"region"`
	Seq    uint64 `json:"seq"`
	Hash   string `json:"hash"`
}

// VouchRequest asks the ledger to trust a further ledger key: that of a store that will take over.
type VouchRequest struct {
	PublicKey json.RawMessage `json:"public_key"`
	Reason    string          `json:"reason,omitempty"`
}

// SealedKey is what a JWK in a VouchRequest has beside the members of the key itself, where the store that will take over
// keeps its ledger key sealed in the ledger. Both are base64 with padding.
type SealedKey struct {
	Sealed []byte `json:"keyturn:sealed,omitempty"` // the private half, for whoever may open it
	Anchor []byte `json:"keyturn:anchor,omitempty"` // that custody's word on who founded the cluster
}

// HomeRequest moves the home to the region that is asked, which it names.
type HomeRequest struct {
	Region string `json:"region"`
	Reason string `json:"reason,omitempty"`
}

// Home says which region is home, since when, and which one was before; the same one where nothing has changed.
type Home struct {
	HomeRegion     string `json:"home_region"`
	PreviousRegion string `json:"previous_region"`
	Since          Time   `json:"since"`
}

// TokenKeyRequest asks for a new token key.
type TokenKeyRequest struct {
	Reason string `json:"reason,omitempty"`
}

// TokenKey is a token key that was just published.
type TokenKey struct {
	Key         jwk.Key `json:"key"`
	PublishedAt Time    `json:"published_at"`
	SignsAt     Time    `json:"signs_at"` // verifiers have fetched it by then
}

// Health is the answer of the health endpoints.
type Health struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks,omitempty"`
}

// errorBody is an error answer: Error holds words for a person, at the OAuth endpoints an error of RFC 6749 §5.2.
type errorBody struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
	Code        Code   `json:"code"`
	RequestID   string `json:"request_id,omitempty"`
}
