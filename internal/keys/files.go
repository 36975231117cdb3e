package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/disk"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/token"
)

// The files of a data directory that hold keys.
const (
	LedgerFile = "ledger.key"
	TokenFile  = "token.key"
)

const rsaBits = 3072

// ErrMissing says that a data directory has no ledger key.
var ErrMissing = errors.New("keys: no ledger key")

// Files are the keys of one data directory. It may be used from many goroutines.
type Files struct {
	dir    string
	ledger ledgerFile
	signer ledger.Signer

	mu     sync.Mutex
	tokens []*token.Signer
}

// ledgerFile is ledger.key: a private JWK, and the key that founded the cluster, where that is another one.
type ledgerFile struct {
	Key    json.RawMessage `json:"key"`
	Anchor *jwk.Key        `json:"anchor,omitempty"`
}

// tokenFile is token.key: a JWK set of private keys, the oldest first.
type tokenFile struct {
	Keys []json.RawMessage `json:"keys"`
}

// Open reads the keys of a data directory. It returns ErrMissing where there is no ledger key, and an error that names the
// command that mends it where a file has the wrong mode or owner.
func Open(dir string) (*Files, error) {
	f := &Files{dir: dir}
	if err := f.read(LedgerFile, &f.ledger); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %s is not there", ErrMissing, filepath.Join(dir, LedgerFile))
		}
		return nil, err
	}
	private, err := jwk.ParsePrivate(f.ledger.Key)
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", filepath.Join(dir, LedgerFile), err)
	}
	if f.signer, err = ledger.NewSigner(private); err != nil {
		return nil, fmt.Errorf("keys: %s: %w", filepath.Join(dir, LedgerFile), err)
	}
	if err := f.openTokens(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *Files) openTokens() error {
	var stored tokenFile
	if err := f.read(TokenFile, &stored); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, text := range stored.Keys {
		s, err := tokenSigner(text)
		if err != nil {
			return fmt.Errorf("keys: %s: %w", filepath.Join(f.dir, TokenFile), err)
		}
		f.tokens = append(f.tokens, s)
	}
	return nil
}

func tokenSigner(text []byte) (*token.Signer, error) {
	private, err := jwk.ParsePrivate(text)
	if err != nil {
		return nil, err
	}
	return token.NewSigner(private)
}

// Create makes a ledger key in a data directory that has none, and opens it.
func Create(dir string) (*Files, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	text, err := jwk.MarshalPrivate(private)
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(ledgerFile{Key: text})
	if err != nil {
		return nil, err
	}
	if err := disk.WriteNew(filepath.Join(dir, LedgerFile), content); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return Open(dir)
}

// LedgerKey is the public half of the ledger key.
func (f *Files) LedgerKey() jwk.Key { return f.signer.Key() }

// Ledger signs records, of whichever cluster.
func (f *Files) Ledger(context.Context, *ledger.Cluster) (ledger.Signer, error) { return f.signer, nil }

// Found returns the ledger key: it founds the cluster.
func (f *Files) Found(context.Context) (authority.Founding, error) {
	return authority.Founding{Signer: f.signer}, nil
}

// Anchor is the key that founded the cluster: the ledger key itself, unless the cluster came from another store. It stands
// in the file, so what the ledger holds about founders does not matter.
func (f *Files) Anchor(context.Context, []jwk.Key, [][]byte) (jwk.Key, error) {
	if f.ledger.Anchor != nil {
		return *f.ledger.Anchor, nil
	}
	return f.signer.Key(), nil
}

// SetAnchor notes which key founded the cluster whose ledger was loaded into this directory.
func (f *Files) SetAnchor(key jwk.Key) error {
	f.ledger.Anchor = &key
	return f.write(LedgerFile, f.ledger)
}

// Token returns the token key with that thumbprint, or authority.ErrNoKey.
func (f *Files) Token(_ context.Context, _ *ledger.Cluster, keyID string) (*token.Signer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.tokens {
		if s.Key().ID() == keyID {
			return s, nil
		}
	}
	return nil, authority.ErrNoKey
}

// NewToken makes and keeps a token key for alg (ES256, EdDSA or RS256), or returns one that was never published.
func (f *Files) NewToken(_ context.Context, alg string, published func(keyID string) bool) (authority.NewKey, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.tokens {
		if s.Key().Alg() == alg && !published(s.Key().ID()) {
			return authority.NewKey{Key: s.Key()}, nil
		}
	}
	private, s, err := newTokenKey(alg)
	if err != nil {
		return authority.NewKey{}, err
	}
	var stored tokenFile
	if err := f.read(TokenFile, &stored); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return authority.NewKey{}, err
	}
	stored.Keys = append(stored.Keys, private)
	if err := f.write(TokenFile, stored); err != nil {
		return authority.NewKey{}, err
	}
	f.tokens = append(f.tokens, s)
	return authority.NewKey{Key: s.Key()}, nil
}

// newTokenKey makes a token key, and its private JWK.
func newTokenKey(alg string) ([]byte, *token.Signer, error) {
	private, err := generate(alg)
	if err != nil {
		return nil, nil, err
	}
	text, err := jwk.MarshalPrivate(private)
	if err != nil {
		return nil, nil, err
	}
	s, err := token.NewSigner(private)
	return text, s, err
}

func generate(alg string) (crypto.Signer, error) {
	switch alg {
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case "RS256":
		return rsa.GenerateKey(rand.Reader, rsaBits)
	}
	return nil, fmt.Errorf("keys: unknown token algorithm %.16q: want ES256, EdDSA or RS256", alg)
}

func (f *Files) read(name string, into any) error {
	path := filepath.Join(f.dir, name)
	content, err := disk.ReadPrivate(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, into); err != nil {
		return fmt.Errorf("keys: %s is damaged: restore it from a backup", path) // the cause could repeat key material
	}
	return nil
}

func (f *Files) write(name string, value any) error {
	content, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := disk.Write(filepath.Join(f.dir, name), content); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	return nil
}
