package ledger

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/id"
)

// Format is the version of the record's form.
const Format = 1

// MaxRecord is the largest signed record, in bytes.
const MaxRecord = 128 << 10

// Errors of the package.
var (
	// ErrRecord says that bytes are no record: malformed, of another format, or of another cluster.
	ErrRecord = errors.New("ledger: not a record of this cluster")
	// ErrSignature says that a record is not signed by a trusted ledger key.
	ErrSignature = errors.New("ledger: signature is not of a trusted key")
	// ErrFork says that a record does not continue the chain before it: a restored backup, or a rollback.
	ErrFork = errors.New("ledger: the chain is broken")
)

// Kind says what a record states.
type Kind string

// The kinds of record. Kinds that a reader does not know are kept and do not change its state.
const (
	KindCluster     Kind = "cluster"
	KindLicense     Kind = "license"
	KindHome        Kind = "home"
	KindKey         Kind = "key.published"
	KindKeyRetired  Kind = "key.retired"
	KindCredential  Kind = "credential"
	KindVersion     Kind = "version"
	KindRevoked     Kind = "revoked"
	KindJoinKey     Kind = "join_key"
	KindJoinKeyUsed Kind = "join_key.used"
	KindPeer        Kind = "peer"
	KindPeerChange  Kind = "peer.changed"
)

// Record is one fact. Times are UTC in whole seconds.
type Record struct {
	Format       int             `json:"format"`
	Cluster      id.ID           `json:"cluster"`
	Region       string          `json:"region"`
	Seq          uint64          `json:"seq"`
	Prev         string          `json:"prev"` // base64url of the predecessor's sum; "" for the first
	At           time.Time       `json:"at"`
	Kind         Kind            `json:"kind"`
	Subject      id.ID           `json:"subject"`
	Actor        string          `json:"actor,omitempty"` // the client id or peer id that asked; "" for the authority itself
	ActorVersion int             `json:"actor_version,omitempty"`
	RequestID    string          `json:"request_id,omitempty"`
	Reason       string          `json:"reason,omitempty"`
	Source       string          `json:"source,omitempty"` // the caller's address
	Body         json.RawMessage `json:"body"`

	body any // decoded Body: a pointer to one of the types in body.go, nil for an unknown kind
}

// decodeRecord reads a record's payload with its body.
func decodeRecord(payload []byte) (*Record, error) {
	r := new(Record)
	if err := json.Unmarshal(payload, r); err != nil { // unknown members pass: a later version may add some
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if r.Format != Format || r.Seq == 0 || r.Region == "" || r.Subject == "" {
		return nil, fmt.Errorf("%w: format %d, region %.32q, sequence %d", ErrRecord, r.Format, r.Region, r.Seq)
	}
	body := newBody(r.Kind)
	if body == nil {
		return r, nil
	}
	if err := json.Unmarshal(r.Body, body); err != nil {
		return nil, fmt.Errorf("%w: body of %s: %w", ErrRecord, r.Kind, err)
	}
	r.body = body
	return r, nil
}

// Sum is what the next record of the region names as its predecessor: SHA-256 over a domain prefix and the signed record.
func Sum(signed []byte) []byte {
	h := sha256.New()
	h.Write([]byte("keyturn-record-sum-v1\n"))
	h.Write(signed)
	return h.Sum(nil)
}

// PrevOf is the spelling of a sum in Record.Prev.
func PrevOf(sum []byte) string { return base64.RawURLEncoding.EncodeToString(sum) }

// Decoded is the record's body: a pointer to one of the Body types, nil for a kind that this version does not know. It is
// shared: do not change it.
func (r *Record) Decoded() any { return r.body }
