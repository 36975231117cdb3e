package keys

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/token"
)

// ErrNotSealed says that bytes were not sealed by this sealer for this purpose.
var ErrNotSealed = errors.New("keys: not sealed here for this purpose")

// Sealer seals short secrets, and opens what it has sealed. The labels are bound to the secret: it opens under exactly those
// under which it was sealed, and the service behind it decides by them who may do which. It may be used from many
// goroutines.
type Sealer interface {
	// Seal takes at most 4096 bytes.
	Seal(ctx context.Context, secret []byte, labels map[string]string) ([]byte, error)
	// Open returns ErrNotSealed where the bytes are not this sealer's or were sealed under other labels.
	Open(ctx context.Context, sealed []byte, labels map[string]string) ([]byte, error)
}

// The labels of what is sealed. Policies name them: who signs tokens need not be able to open the ledger key.
const (
	LabelPurpose  = "keyturn:purpose" // one of the purposes below
	LabelKey      = "keyturn:key"     // thumbprint of the key whose private half is sealed
	PurposeLedger = "ledger"
	PurposeToken  = "token"
	PurposeAnchor = "anchor" // a thumbprint: that key founded the cluster
)

// maxWords is how many words on who founded the cluster are tried: whoever can write to the store can add some, and each
// costs a call.
const maxWords = 16

// Sealed is a custody that keeps its keys in the ledger: the record that publishes a key carries its private half, sealed.
// Each is opened once, when it is first used. It may be used from many goroutines.
type Sealed struct {
	sealer Sealer

	mu       sync.Mutex
	ledgers  map[string]ledger.Signer
	tokens   map[string]*token.Signer
	spare    map[string]authority.NewKey // by algorithm: made, and not published as far as is known
	founding *authority.Founding
}

// NewSealed returns a custody over a sealer. It makes no call.
func NewSealed(s Sealer) *Sealed {
	return &Sealed{
		sealer: s, ledgers: map[string]ledger.Signer{}, tokens: map[string]*token.Signer{}, spare: map[string]authority.NewKey{},
	}
}

// LedgerKey is the zero Key: the ledger says which it is.
func (*Sealed) LedgerKey() jwk.Key { return jwk.Key{} }

// Anchor finds the founder of whom this custody has put its word down. It returns authority.ErrNoKey where there is none.
func (s *Sealed) Anchor(ctx context.Context, founders []jwk.Key, words [][]byte) (jwk.Key, error) {
	for _, word := range words[:min(len(words), maxWords)] {
		name, err := s.sealer.Open(ctx, word, map[string]string{LabelPurpose: PurposeAnchor})
		if errors.Is(err, ErrNotSealed) {
			continue
		}
		if err != nil {
			return jwk.Key{}, fmt.Errorf("keys: open the anchor: %w", err)
		}
		for _, founder := range founders {
			if founder.ID() == string(name) {
				return founder, nil
			}
		}
	}
	return jwk.Key{}, authority.ErrNoKey
}

// Ledger opens the newest ledger key of c that it can.
func (s *Sealed) Ledger(ctx context.Context, c *ledger.Cluster) (ledger.Signer, error) {
	why := authority.ErrNoKey
	for _, key := range slices.Backward(c.LedgerKeys) {
		signer, err := s.openLedger(ctx, key, c.Sealed[key.ID()])
		if err == nil {
			return signer, nil
		}
		if !errors.Is(err, authority.ErrNoKey) {
			why = err
		}
	}
	return ledger.Signer{}, why
}

func (s *Sealed) openLedger(ctx context.Context, key jwk.Key, sealed []byte) (ledger.Signer, error) {
	s.mu.Lock()
	signer, ok := s.ledgers[key.ID()]
	s.mu.Unlock()
	if ok {
		return signer, nil
	}
	text, err := s.open(ctx, PurposeLedger, key.ID(), sealed)
	if err != nil {
		return ledger.Signer{}, err
	}
	private, err := jwk.ParsePrivate(text)
	if err == nil {
		signer, err = ledger.NewSigner(private)
	}
	if err != nil || signer.KeyID() != key.ID() {
		return ledger.Signer{}, fmt.Errorf("keys: what is sealed beside ledger key %s is not that key", key.ID())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledgers[key.ID()] = signer
	return signer, nil
}

// Token opens a token key.
func (s *Sealed) Token(ctx context.Context, c *ledger.Cluster, keyID string) (*token.Signer, error) {
	s.mu.Lock()
	signer, ok := s.tokens[keyID]
	s.mu.Unlock()
	if ok {
		return signer, nil
	}
	text, err := s.open(ctx, PurposeToken, keyID, c.Sealed[keyID])
	if err != nil {
		return nil, err
	}
	private, err := jwk.ParsePrivate(text)
	if err == nil {
		signer, err = token.NewSigner(private)
	}
	if err != nil || signer.Key().ID() != keyID {
		return nil, fmt.Errorf("keys: what is sealed beside token key %s is not that key", keyID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[keyID] = signer
	return signer, nil
}

// open returns authority.ErrNoKey where nothing is sealed, or by somebody else.
func (s *Sealed) open(ctx context.Context, purpose, keyID string, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 {
		return nil, authority.ErrNoKey
	}
	text, err := s.sealer.Open(ctx, sealed, labels(purpose, keyID))
	if errors.Is(err, ErrNotSealed) {
		return nil, authority.ErrNoKey
	}
	if err != nil {
		return nil, fmt.Errorf("keys: open the %s key %s: %w", purpose, keyID, err)
	}
	return text, nil
}

func labels(purpose, keyID string) map[string]string {
	return map[string]string{LabelPurpose: purpose, LabelKey: keyID}
}

// Found makes the ledger key of a new cluster, once.
func (s *Sealed) Found(ctx context.Context) (authority.Founding, error) {
	s.mu.Lock()
	defer s.mu.Unlock() // two bootstraps of one process are to found one cluster
	if s.founding != nil {
		return *s.founding, nil
	}
	signer, sealed, err := s.newLedger(ctx)
	if err != nil {
		return authority.Founding{}, err
	}
	anchor, err := s.word(ctx, signer.Key())
	if err != nil {
		return authority.Founding{}, err
	}
	s.founding = &authority.Founding{Signer: signer, Sealed: sealed, Anchor: anchor}
	s.ledgers[signer.KeyID()] = signer
	return *s.founding, nil
}

// word seals the statement that a key founded the cluster.
func (s *Sealed) word(ctx context.Context, founder jwk.Key) ([]byte, error) {
	word, err := s.sealer.Seal(ctx, []byte(founder.ID()), map[string]string{LabelPurpose: PurposeAnchor})
	if err != nil {
		return nil, fmt.Errorf("keys: seal the anchor: %w", err)
	}
	return word, nil
}

func (s *Sealed) newLedger(ctx context.Context) (ledger.Signer, []byte, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return ledger.Signer{}, nil, err
	}
	text, err := jwk.MarshalPrivate(private)
	if err != nil {
		return ledger.Signer{}, nil, err
	}
	signer, err := ledger.NewSigner(private)
	if err != nil {
		return ledger.Signer{}, nil, err
	}
	sealed, err := s.sealer.Seal(ctx, text, labels(PurposeLedger, signer.KeyID()))
	if err != nil {
		return ledger.Signer{}, nil, fmt.Errorf("keys: seal the ledger key: %w", err)
	}
	return signer, sealed, nil
}

// NewToken makes a token key and seals it.
func (s *Sealed) NewToken(ctx context.Context, alg string, published func(keyID string) bool) (authority.NewKey, error) {
	s.mu.Lock()
	spare, ok := s.spare[alg]
	s.mu.Unlock()
	if ok && !published(spare.Key.ID()) {
		return spare, nil
	}
	text, signer, err := newTokenKey(alg)
	if err != nil {
		return authority.NewKey{}, err
	}
	keyID := signer.Key().ID()
	sealed, err := s.sealer.Seal(ctx, text, labels(PurposeToken, keyID))
	if err != nil {
		return authority.NewKey{}, fmt.Errorf("keys: seal a token key: %w", err)
	}
	made := authority.NewKey{Key: signer.Key(), Sealed: sealed}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spare[alg], s.tokens[keyID] = made, signer
	return made, nil
}

// Successor makes a ledger key for a store that is to take a cluster over, and says in its custody's word who founded that
// cluster. It returns a public JWK with both parts that the ledger has to carry: what `keyturn export --vouch-for` takes.
func (s *Sealed) Successor(ctx context.Context, founder jwk.Key) ([]byte, error) {
	signer, sealed, err := s.newLedger(ctx)
	if err != nil {
		return nil, err
	}
	anchor, err := s.word(ctx, founder)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(signer.Key())
	if err != nil {
		return nil, err
	}
	parts, err := json.Marshal(struct {
		Sealed []byte `json:"keyturn:sealed"`
		Anchor []byte `json:"keyturn:anchor"`
	}{sealed, anchor})
	if err != nil {
		return nil, err
	}
	return slices.Concat(text[:len(text)-1], []byte(","), parts[1:]), nil
}
