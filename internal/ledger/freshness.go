package ledger

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/id"
)

// freshnessDomain keeps a proof of freshness apart from a record.
const freshnessDomain = "keyturn-freshness-v1\n"

// Freshness says how far each region's ledger had grown, as the home region knew it at an instant. Who has read up to all
// these heads, and has the records there that Sums names, knows everything that home knew then.
type Freshness struct {
	Cluster id.ID             `json:"cluster"`
	Heads   map[string]uint64 `json:"heads"` // region -> sequence
	// Sums names the record at each head, spelled as in Record.Prev: a ledger that was restored from a backup may have grown as
	// long again as it was. A region whose sum the signer did not know is left out, and older signers knew none.
	Sums map[string]string `json:"sums,omitempty"`
	At   time.Time         `json:"at"` // UTC, whole seconds
}

// SignFreshness signs f. Payload, key and signature are laid out like those of a record, over a domain prefix of its own.
func (s Signer) SignFreshness(f Freshness) (Signed, error) {
	payload, err := json.Marshal(f)
	if err != nil {
		return Signed{}, fmt.Errorf("ledger: proof of freshness: %w", err)
	}
	signature, err := s.signDomain(freshnessDomain, payload)
	return Signed{payload, s.id, signature}, err
}

// Freshness checks a proof of freshness and decodes it. It returns ErrRecord or ErrSignature.
func (v *Verifier) Freshness(s Signed) (Freshness, error) {
	v.mu.Lock()
	key, ok := v.keys[s.KeyID]
	cluster := v.cluster
	v.mu.Unlock()
	public, isEd := key.Public().(ed25519.PublicKey)
	if !ok || !isEd || !ed25519.Verify(public, append([]byte(freshnessDomain), s.Payload...), s.Signature) {
		return Freshness{}, fmt.Errorf("%w: a proof of freshness of key %.43s", ErrSignature, s.KeyID)
	}
	var f Freshness
	if err := json.Unmarshal(s.Payload, &f); err != nil {
		return Freshness{}, fmt.Errorf("%w: a proof of freshness: %w", ErrRecord, err)
	}
	if cluster != "" && f.Cluster != cluster {
		return Freshness{}, fmt.Errorf("%w: a proof of freshness of %.64q", ErrRecord, f.Cluster)
	}
	return f, nil
}

// Reached reports whether a reader whose cursors are these has read up to every head of f.
func (f Freshness) Reached(cursors map[string]uint64) bool {
	for region, head := range f.Heads {
		if cursors[region] < head {
			return false
		}
	}
	return true
}
