// Package kms is a keys.Sealer on AWS KMS: labels are the encryption context, by which the policies of roles decide who may
// seal and open what. Its errors are keys.ErrNotSealed and those of the client.
package kms

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/keyturn/keyturn/internal/keys"
)

// API is what the package calls of a *kms.Client.
type API interface {
	// Encrypt is kms:Encrypt: at most 4096 bytes, under an encryption context.
	Encrypt(ctx context.Context, in *kms.EncryptInput, o ...func(*kms.Options)) (*kms.EncryptOutput, error)
	// Decrypt is kms:Decrypt: under the very context of Encrypt.
	Decrypt(ctx context.Context, in *kms.DecryptInput, o ...func(*kms.Options)) (*kms.DecryptOutput, error)
}

// Sealer seals with one symmetric KMS key, or with the replicas of a multi-region key. It may be used from many goroutines.
type Sealer struct {
	api API
	key string
}

var _ keys.Sealer = (*Sealer)(nil)

// New returns a sealer for a key by its ARN, id or alias. It makes no call.
func New(api API, key string) *Sealer { return &Sealer{api, key} }

// Seal implements keys.Sealer.
func (s *Sealer) Seal(ctx context.Context, secret []byte, labels map[string]string) ([]byte, error) {
	out, err := s.api.Encrypt(ctx, &kms.EncryptInput{KeyId: &s.key, Plaintext: secret, EncryptionContext: labels})
	if err != nil {
		return nil, fmt.Errorf("kms: encrypt: %w", err)
	}
	return out.CiphertextBlob, nil
}

// Open implements keys.Sealer. It names the key: what another key has sealed, in whose account ever, is not ours.
func (s *Sealer) Open(ctx context.Context, sealed []byte, labels map[string]string) ([]byte, error) {
	out, err := s.api.Decrypt(ctx, &kms.DecryptInput{KeyId: &s.key, CiphertextBlob: sealed, EncryptionContext: labels})
	var invalid *types.InvalidCiphertextException
	var other *types.IncorrectKeyException
	if errors.As(err, &invalid) || errors.As(err, &other) {
		return nil, keys.ErrNotSealed
	}
	if err != nil {
		return nil, fmt.Errorf("kms: decrypt: %w", err)
	}
	return out.Plaintext, nil
}
