package access

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/token"
)

// Limits of a client assertion.
const (
	assertionLife = 5 * time.Minute
	maxAssertedID = 256
)

// assertion authenticates with private_key_jwt (RFC 7523 §3): signed by a key of the credential or of the peer, for this
// cluster, at most five minutes long, and never seen before.
func (g *Gate) assertion(ctx context.Context, at time.Time, p Proof) (Client, error) {
	subject, err := token.UnverifiedSubject(p.Assertion)
	if err != nil || p.ClientID != "" && p.ClientID != subject || g.o.Claim == nil {
		return Client{}, ErrRefused
	}
	cluster, err := g.view.Cluster(ctx)
	if err != nil {
		return Client{}, err
	}
	client, a, err := g.asserted(ctx, at, subject, p.Assertion)
	if err != nil {
		return Client{}, err
	}
	if err := checkAssertion(a, cluster, at); err != nil {
		return Client{}, err
	}
	if client.Version != nil {
		if err := g.inTime(at, client.Version); err != nil {
			return Client{}, err
		}
	}
	if err := g.claimOnce(ctx, at, client.ID(), a); err != nil { // last: what is refused for another reason stays unused
		return Client{}, err
	}
	return client, nil
}

// asserted finds whose assertion it is, and checks its signature.
func (g *Gate) asserted(ctx context.Context, at time.Time, subject, text string) (Client, token.Assertion, error) {
	if peerID, err := id.Parse(id.Peer, subject); err == nil {
		return g.assertedPeer(ctx, at, peerID, text)
	}
	clientID, err := id.ParseClientID(subject)
	if err != nil {
		return Client{}, token.Assertion{}, ErrRefused
	}
	c, err := g.credential(ctx, at, clientID)
	if err != nil {
		return Client{}, token.Assertion{}, err
	}
	version, a, err := signedBy(c, text, at)
	if err != nil && c.Status(at) == credential.Active {
		err = unheard{} // signed with a key that is not here yet, for all that is known
	}
	return Client{Credential: c, Version: version}, a, err
}

func (g *Gate) assertedPeer(ctx context.Context, at time.Time, peerID id.ID, text string) (Client, token.Assertion, error) {
	p, err := g.view.Peer(ctx, at, peerID)
	switch {
	case errors.Is(err, ErrUnknown):
		return Client{}, token.Assertion{}, unheard{}
	case err != nil:
		return Client{}, token.Assertion{}, err
	case p.Status() != peer.Active || p.PublicKey.IsZero():
		return Client{}, token.Assertion{}, ErrRefused
	}
	a, err := token.NewKeySet([]jwk.Key{p.PublicKey}).VerifyAssertion(text)
	if err != nil {
		return Client{}, token.Assertion{}, ErrRefused
	}
	return Client{Peer: p}, a, nil
}

func signedBy(c *credential.Credential, text string, at time.Time) (*credential.Version, token.Assertion, error) {
	for _, v := range c.Keys(at) {
		if a, err := token.NewKeySet([]jwk.Key{v.Key}).VerifyAssertion(text); err == nil {
			return v, a, nil
		}
	}
	return nil, token.Assertion{}, ErrRefused
}

func checkAssertion(a token.Assertion, cluster *Cluster, at time.Time) error {
	now, leeway := at.Unix(), int64(Leeway/time.Second)
	exp, issued := int64(a.ExpiresAt), int64(a.IssuedAt)
	start := issued
	if start == 0 {
		start = now + leeway // the client's clock may be that far ahead
	}
	switch {
	case a.Issuer != a.Subject:
		return fmt.Errorf("%w: the assertion's iss and sub have to be the client id", ErrRefused)
	case a.Audience != cluster.Issuer && a.Audience != cluster.Issuer+"/v1/oauth/token":
		return fmt.Errorf("%w: the assertion's aud has to be %s", ErrRefused, cluster.Issuer)
	case exp <= now-leeway || issued > now+leeway || int64(a.NotBefore) > now+leeway:
		return fmt.Errorf("%w: the assertion is expired or not valid yet", ErrRefused)
	case exp-start > int64(assertionLife/time.Second):
		return fmt.Errorf("%w: the assertion lasts longer than 5 minutes", ErrRefused)
	case a.ID == "" || len(a.ID) > maxAssertedID:
		return fmt.Errorf("%w: the assertion needs a jti of at most %d bytes", ErrRefused, maxAssertedID)
	}
	return nil
}

// claimOnce keeps the jti until no leeway could make the assertion valid again.
func (g *Gate) claimOnce(ctx context.Context, at time.Time, client id.ID, a token.Assertion) error {
	sum := sha256.Sum256([]byte(client.String() + "\n" + a.ID))
	until := time.Unix(int64(a.ExpiresAt), 0).UTC().Add(2 * Leeway)
	fresh, err := g.o.Claim(ctx, "jti:"+base64.RawURLEncoding.EncodeToString(sum[:]), at, until)
	if err != nil {
		return err
	}
	if !fresh {
		return fmt.Errorf("%w: the assertion's jti has been used", ErrRefused)
	}
	return nil
}
