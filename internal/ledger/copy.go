package ledger

import (
	"fmt"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
)

// A signed record begins with SignedVersion and, in its first HeaderLen bytes, has all but its payload.
const (
	SignedVersion = signedVersion
	HeaderLen     = headerLen
)

// Read decodes a signed record without checking its signature: for records that were checked before they were kept, where
// what keeps them notices damage itself. It returns ErrRecord.
func Read(data []byte) (*Record, error) {
	s, err := Decode(data)
	if err != nil {
		return nil, err
	}
	return s.Record()
}

// Record decodes s without checking its signature. It returns ErrRecord.
func (s Signed) Record() (*Record, error) { return decodeRecord(s.Payload) }

// Check is Open for who has decoded s into r already and keeps it: nothing is remembered. It returns ErrSignature, or
// ErrRecord for a record of another cluster. As long as v does not know which cluster it is, that is any record but one that
// founds one: see Learn.
func (v *Verifier) Check(s Signed, r *Record) error {
	if !v.signedByTrusted(s) {
		return fmt.Errorf("%w: key %.43s", ErrSignature, s.KeyID)
	}
	return v.belongs(r)
}

// belongs is what Check checks beside the signature.
func (v *Verifier) belongs(r *Record) error {
	cluster := v.Cluster()
	if _, founds := r.body.(*ClusterBody); cluster == "" && !founds {
		return fmt.Errorf("%w: it comes before the record that founds the cluster", ErrRecord)
	}
	_, err := r.in(cluster)
	return err
}

// Learn takes from a record that has been checked what later ones are checked with: which cluster it is, from the record
// that founds it, and the ledger keys that it vouches for.
func (v *Verifier) Learn(r *Record) {
	if _, founds := r.body.(*ClusterBody); founds {
		v.mu.Lock()
		if v.cluster == "" {
			v.cluster = r.Cluster
		}
		v.mu.Unlock()
	}
	v.learn(r)
}

// Cluster is the id of the cluster whose records v takes; "" as long as it has seen none that founds one.
func (v *Verifier) Cluster() id.ID {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.cluster
}

// Fits reports whether hash is that of the secret whose version r states.
func (r *Record) Fits(hash []byte) bool {
	b, ok := r.body.(*VersionBody)
	return ok && len(hash) == len(credential.Hash{}) && credential.Hash(hash).Digest() == b.Digest
}
