package agent

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/keyturn/keyturn/internal/disk"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/token"
)

// Files of a sidecar's data directory.
const (
	peerKeyFile  = "peer.key"
	tokenKeyFile = "token.key"
	peerFile     = "peer.json"
	replicaFile  = "replica.db"
	deniedFile   = "denied.json"
	runningFile  = "running.json"
	licenseFile  = "license.json"
)

// identity is who a sidecar is: its two keys, and what it was told when it joined.
type identity struct {
	peer   *token.Signer // Ed25519: joins and asserts
	token  *token.Signer // signs tokens
	raw    crypto.Signer // the key of peer
	joined *joined       // nil before it has joined
}

// joined is peer.json. It holds no secret, and what a lost replica is made anew from.
type joined struct {
	PeerID    id.ID   `json:"peer_id"`
	ClusterID id.ID   `json:"cluster_id"`
	Issuer    string  `json:"issuer"`
	Region    string  `json:"region"`
	Anchor    jwk.Key `json:"anchor"` // the ledger key that founded the cluster
	// Declined is true while this host does not accept the cluster's license, which it is shown as a peer only: it does not run.
	Declined bool `json:"license_declined,omitempty"`
}

// openIdentity reads the keys, and makes those that are missing before the sidecar has joined. A sidecar that has joined and
// lost a key cannot be that peer any more.
func openIdentity(dir string) (*identity, error) {
	for _, name := range []string{peerKeyFile, tokenKeyFile, peerFile, deniedFile, runningFile, licenseFile} {
		if err := disk.Tidy(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	i := &identity{}
	text, err := disk.ReadPrivate(filepath.Join(dir, peerFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		i.joined = new(joined)
		if err := json.Unmarshal(text, i.joined); err != nil || i.joined.PeerID == "" || i.joined.Anchor.IsZero() {
			return nil, fmt.Errorf("%s is damaged: restore it, or remove the peer and join anew in an empty directory", filepath.Join(dir, peerFile))
		}
	}
	if i.raw, i.peer, err = openKey(dir, peerKeyFile, i.joined != nil, newIdentityKey); err != nil {
		return nil, err
	}
	_, i.token, err = openKey(dir, tokenKeyFile, i.joined != nil, newTokenKey)
	return i, err
}

func newIdentityKey() (crypto.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

func newTokenKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// openKey reads a private JWK, or makes and keeps one where that may be.
func openKey(dir, name string, joined bool, make func() (crypto.Signer, error)) (crypto.Signer, *token.Signer, error) {
	path := filepath.Join(dir, name)
	text, err := disk.ReadPrivate(path)
	if errors.Is(err, fs.ErrNotExist) && joined {
		return nil, nil, fmt.Errorf("%s is missing, and this peer has joined with it: restore it, or remove the peer and join anew in an empty directory", path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path, make)
	}
	if err != nil {
		return nil, nil, err
	}
	key, err := jwk.ParsePrivate(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	s, err := token.NewSigner(key)
	return key, s, err
}

func makeKey(path string, make func() (crypto.Signer, error)) (crypto.Signer, *token.Signer, error) {
	key, err := make()
	if err != nil {
		return nil, nil, err
	}
	text, err := jwk.MarshalPrivate(key)
	if err != nil {
		return nil, nil, err
	}
	if err := disk.WriteNew(path, append(text, '\n')); err != nil {
		return nil, nil, err
	}
	s, err := token.NewSigner(key)
	return key, s, err
}

// writeJSON keeps what is no secret, but nobody else's business.
func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return disk.Write(path, append(text, '\n'))
}

// Joined reports whether the sidecar of a data directory has joined a cluster.
func Joined(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, peerFile))
	return err == nil
}
