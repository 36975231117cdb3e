package ledger

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/keyturn/keyturn/internal/jwk"
)

// A signed record in bytes: one byte of version, the 32 bytes of the key's RFC 7638 thumbprint, the 64 bytes of its
// Ed25519 signature, and the payload as it was signed.
const (
	signedVersion = 1
	keyIDLen      = 32
	headerLen     = 1 + keyIDLen + ed25519.SignatureSize
	signDomain    = "keyturn-record-v1\n"
)

// Signed is a record as it travels.
type Signed struct {
	Payload   []byte
	KeyID     string // RFC 7638 thumbprint of the ledger key
	Signature []byte // Ed25519 over "keyturn-record-v1\n" and Payload
}

// Signer signs records with one ledger key.
type Signer struct {
	key crypto.Signer
	id  string
}

// NewSigner returns a Signer for an Ed25519 private key.
func NewSigner(key crypto.Signer) (Signer, error) {
	public, err := jwk.New(key.Public())
	if err != nil {
		return Signer{}, err
	}
	if public.Alg() != "EdDSA" {
		return Signer{}, fmt.Errorf("ledger: a ledger key is an Ed25519 key, not %s", public.Alg())
	}
	return Signer{key, public.ID()}, nil
}

// KeyID is the thumbprint of the signer's key.
func (s Signer) KeyID() string { return s.id }

// Key is the public half of the signer's key.
func (s Signer) Key() jwk.Key {
	k, _ := jwk.New(s.key.Public()) // NewSigner has checked it
	return k
}

// Crypto is the key as a crypto.Signer, for what is signed beside records: an authority's license for itself.
func (s Signer) Crypto() crypto.Signer { return s.key }

// Sign encodes body into r and signs it. The result goes into a store as it is.
func (s Signer) Sign(r Record, body any) ([]byte, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("ledger: body of %s: %w", r.Kind, err)
	}
	r.Format, r.Body = Format, encoded
	payload, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("ledger: record %s: %w", r.Kind, err)
	}
	signature, err := s.signDomain(signDomain, payload)
	if err != nil {
		return nil, err
	}
	return Signed{payload, s.id, signature}.Encode()
}

func (s Signer) signDomain(domain string, payload []byte) ([]byte, error) {
	return s.key.Sign(nil, append([]byte(domain), payload...), crypto.Hash(0))
}

// Encode returns the bytes of s, or ErrRecord where its parts have the wrong sizes.
func (s Signed) Encode() ([]byte, error) {
	keyID, err := base64.RawURLEncoding.DecodeString(s.KeyID)
	if err != nil || len(keyID) != keyIDLen || len(s.Signature) != ed25519.SignatureSize ||
		len(s.Payload)+headerLen > MaxRecord {
		return nil, fmt.Errorf("%w: key id, signature or payload has a wrong size", ErrRecord)
	}
	out := make([]byte, 0, headerLen+len(s.Payload))
	out = append(out, signedVersion)
	out = append(out, keyID...)
	out = append(out, s.Signature...)
	return append(out, s.Payload...), nil
}

// Decode reads the bytes of a signed record without checking its signature. It shares memory with data.
func Decode(data []byte) (Signed, error) {
	if len(data) <= headerLen || len(data) > MaxRecord || data[0] != signedVersion {
		return Signed{}, fmt.Errorf("%w: %d bytes", ErrRecord, len(data))
	}
	return Signed{
		Payload:   data[headerLen:],
		KeyID:     base64.RawURLEncoding.EncodeToString(data[1 : 1+keyIDLen]),
		Signature: data[1+keyIDLen : headerLen],
	}, nil
}

// signedBy checks the signature with one key.
func (s Signed) signedBy(key jwk.Key) bool {
	public, ok := key.Public().(ed25519.PublicKey)
	return ok && ed25519.Verify(public, append([]byte(signDomain), s.Payload...), s.Signature)
}

// FoundingKey is the key that s names as the founder of a cluster, where s is the record that founds one and is signed with
// that key. It says nothing about whether that is the cluster one is looking for.
func (s Signed) FoundingKey() (jwk.Key, bool) {
	r, err := decodeRecord(s.Payload)
	if err != nil {
		return jwk.Key{}, false
	}
	b, ok := r.body.(*ClusterBody)
	if !ok || b.LedgerKey.ID() != s.KeyID || !s.signedBy(b.LedgerKey) {
		return jwk.Key{}, false
	}
	return b.LedgerKey, true
}

// Founders reads the records of the cluster itself before anybody is trusted: the keys that each say of themselves that they
// founded it, and the sealed words that custodies have put down about that. Anybody who can write to a store can add to
// both: only the custody can tell which word is its own.
func Founders(data [][]byte) (keys []jwk.Key, words [][]byte) {
	for _, d := range data {
		s, err := Decode(d)
		if err != nil {
			continue
		}
		if key, ok := s.FoundingKey(); ok {
			keys = append(keys, key)
		}
		r, err := decodeRecord(s.Payload)
		if err != nil {
			continue
		}
		switch b := r.body.(type) {
		case *ClusterBody:
			words = append(words, b.Anchor)
		case *KeyBody:
			words = append(words, b.Anchor)
		}
	}
	return keys, slices.DeleteFunc(words, func(w []byte) bool { return len(w) == 0 })
}

// Place is the region and the sequence that the record claims. The signature is not checked.
func (s Signed) Place() (region string, seq uint64, err error) {
	r, err := decodeRecord(s.Payload)
	if err != nil {
		return "", 0, err
	}
	return r.Region, r.Seq, nil
}
