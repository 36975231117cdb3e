package authority

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/peer"
)

// answersKept is how long the answer of an idempotent write can be asked for again.
const answersKept = 24 * time.Hour

// Once makes a write idempotent. The answer is kept encrypted under a key that is derived from Key, which is not kept.
type Once struct {
	Key     string                           // the client's idempotency key; "" for a write that is not idempotent
	Caller  string                           // whose key it is: the same key of another caller is another key
	Request []byte                           // what was asked; the same key with another request is ErrMismatch
	Render  func(result any) ([]byte, error) // makes the answer that is kept
}

// Replayed is returned in place of a result where the write was done before: Answer is what Render made of it then.
type Replayed struct{ Answer []byte }

// Error implements error: whoever does not look for a *Replayed has a conflict.
func (*Replayed) Error() string { return "this request was answered before" }

// keptAnswer is the value of a claim.
type keptAnswer struct {
	Request []byte `json:"request"` // SHA-256 of Once.Request
	Nonce   []byte `json:"nonce"`
	Sealed  []byte `json:"sealed"`
}

// Replay returns the *Replayed answer of an earlier write with the same key, ErrMismatch where the key was used for another
// request, or nil where it is new.
func (a *Authority) Replay(ctx context.Context, at time.Time, once Once) error {
	if once.Key == "" {
		return nil
	}
	claim, err := a.readClaim(ctx, once.claimKey())
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return unavailable("read an earlier answer", err)
	case !at.Before(claim.ExpiresAt):
		return nil
	}
	return once.open(claim.Value)
}

func (o Once) claimKey() string {
	sum := sha256.Sum256([]byte("keyturn-idempotency-v1\n" + o.Caller + "\n" + o.Key))
	return "idem:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

func (o Once) open(value []byte) error {
	var kept keptAnswer
	if err := json.Unmarshal(value, &kept); err != nil {
		return unavailable("read an earlier answer", err)
	}
	if request := sha256.Sum256(o.Request); !bytes.Equal(request[:], kept.Request) {
		return ErrMismatch
	}
	box, err := o.box()
	if err != nil {
		return err
	}
	if len(kept.Nonce) != box.NonceSize() { // Open would panic
		return unavailable("open an earlier answer", errors.New("it is damaged"))
	}
	answer, err := box.Open(nil, kept.Nonce, kept.Sealed, []byte(o.claimKey()))
	if err != nil {
		return unavailable("open an earlier answer", err)
	}
	return &Replayed{answer}
}

func (o Once) box() (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(o.Key), []byte(o.Caller), "keyturn-answer-v1", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// keep adds the sealed answer to a draft, so that it commits together with what it answers. It returns a *Replayed where
// the same request was faster.
func (a *Authority) keep(ctx context.Context, d *draft, once Once, result any) error {
	if once.Key == "" {
		return nil
	}
	if err := a.Replay(ctx, d.At, once); err != nil {
		return err
	}
	answer, err := once.Render(result)
	if err != nil {
		return fmt.Errorf("render the answer: %w", err)
	}
	box, err := once.box()
	if err != nil {
		return err
	}
	request := sha256.Sum256(once.Request)
	kept := keptAnswer{Request: request[:], Nonce: make([]byte, box.NonceSize())}
	rand.Read(kept.Nonce) // never fails: crypto/rand aborts the program instead
	kept.Sealed = box.Seal(nil, kept.Nonce, answer, []byte(once.claimKey()))
	value, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	d.claims = append(d.claims, Claim{Key: once.claimKey(), Value: value, At: d.At, ExpiresAt: d.At.Add(answersKept)})
	return nil
}

// stillIn refuses a caller who has died since its token was checked.
func (a *Authority) stillIn(ctx context.Context, at time.Time, caller access.Caller) error {
	if caller.Credential == nil {
		return nil
	}
	c, err := a.Credential(ctx, at, caller.ID())
	if err != nil {
		return err
	}
	if version := caller.Claims.Version; !c.RevokedAt.IsZero() || version != 0 && c.TokenDead(version) {
		return fmt.Errorf("%w: its credential was revoked just now", access.ErrToken)
	}
	if caller.Issuer == nil {
		return nil
	}
	p, err := a.Peer(ctx, at, caller.Issuer.ID)
	if err == nil && p.Status() != peer.Active {
		err = fmt.Errorf("%w: the peer that issued it was removed just now", access.ErrToken)
	}
	return err
}

// relying is what a caller's write counts on: that the caller is still in, and who issued its token.
func relying(caller access.Caller) []string {
	if caller.Credential == nil {
		return nil
	}
	if caller.Issuer != nil {
		return []string{caller.ID().String(), caller.Issuer.ID.String()}
	}
	return []string{caller.ID().String()}
}

// touching adds the claim of an idempotent write to what a change touches.
func (o Once) touching(subjects []string) []string {
	if o.Key != "" {
		subjects = append(subjects, o.claimKey())
	}
	return subjects
}
