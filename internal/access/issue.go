package access

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/token"
)

const maxAudience = 512

// TokenRequest is what a client asks for (RFC 6749 §4.4.2, RFC 8707 §2).
type TokenRequest struct {
	Scope    string // space separated, any spelling; "" for all that the credential has
	Audience string // "" for the issuer
	Resource string // RFC 8707: an absolute URI; another way to say Audience
}

// Token is an issued access token.
type Token struct {
	AccessToken string
	ExpiresIn   time.Duration
	Scope       string // in the spelling that was asked

	SecretExpiresAt      time.Time // when the secret that was used is superseded; else zero
	SecretVersionCurrent int       // the version to use instead; 0 when the secret is current
}

// Issue signs an access token for a client (RFC 9068). It returns ErrScope, ErrBeyond, ErrRequest, ErrNotBootstrapped or
// ErrUnavailable.
func (g *Gate) Issue(ctx context.Context, at time.Time, c Client, r TokenRequest) (Token, error) {
	cluster, err := g.view.Cluster(ctx)
	if err != nil {
		return Token{}, err
	}
	scopes, spelling, err := grant(c.Scopes(), r.Scope)
	if err != nil {
		return Token{}, err
	}
	if g.o.MayGrant != nil && !g.o.MayGrant(ctx, at, scopes) {
		return Token{}, ErrBeyond
	}
	audience, err := r.audience(cluster.Issuer)
	if err != nil {
		return Token{}, err
	}
	signer, peer, err := g.signer(ctx, at)
	if err != nil {
		return Token{}, err
	}
	expires := at.Add(Lifetime)
	if end := c.deadline(); !end.IsZero() && end.Before(expires) {
		expires = end
	}
	claims := token.Claims{
		Issuer: cluster.Issuer, Subject: c.ID().String(), ClientID: c.ClientID(), Version: c.Number(),
		Audience: token.Audience{audience}, ExpiresAt: expires.Unix(), IssuedAt: at.Unix(), ID: newTokenID(),
		Scope: scopes.String(), ClusterID: cluster.ID.String(), PeerID: peer.String(),
	}
	if g.o.PeerIssuer {
		claims.Issuer = peer.String()
	}
	text, err := signer.Sign(claims)
	if err != nil {
		return Token{}, err
	}
	if len(text) > token.MaxLen {
		return Token{}, fmt.Errorf("%w: the token would be longer than %d bytes: ask for fewer scopes or a shorter audience", ErrRequest, token.MaxLen)
	}
	issued := Token{AccessToken: text, ExpiresIn: expires.Sub(at), Scope: spelling}
	if c.Version != nil && !c.Version.NotAfter.IsZero() {
		issued.SecretExpiresAt, issued.SecretVersionCurrent = c.Version.NotAfter, c.Credential.Current().Number
	}
	return issued, nil
}

// deadline is when what the client has shown ends; zero for never.
func (c Client) deadline() time.Time {
	if c.Peer != nil {
		return time.Time{}
	}
	return c.Credential.Deadline(c.Version)
}

// grant narrows what a credential has to what was asked, and keeps the spelling.
func grant(has credential.Scopes, asked string) (credential.Scopes, string, error) {
	words := strings.Fields(asked)
	if len(words) == 0 {
		return has, has.String(), nil
	}
	if has.Allow(credential.LedgerRead) && asked == string(credential.LedgerRead) {
		return has, asked, nil // a peer's own scope, which nobody else can even ask for
	}
	scopes, err := credential.ParseScopes(words)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrScope, err)
	}
	if !has.Cover(scopes) {
		return nil, "", fmt.Errorf("%w: the client does not have all of these scopes", ErrScope)
	}
	var spelling []string
	for _, w := range words {
		if !slices.Contains(spelling, w) {
			spelling = append(spelling, w)
		}
	}
	return scopes, strings.Join(spelling, " "), nil
}

func (r TokenRequest) audience(issuer string) (string, error) {
	if r.Resource != "" {
		u, err := url.Parse(r.Resource)
		if err != nil || !u.IsAbs() || u.Fragment != "" || strings.Contains(r.Resource, "#") {
			return "", fmt.Errorf("%w: resource has to be an absolute URI without a fragment", ErrRequest)
		}
	}
	if r.Audience != "" && r.Resource != "" && r.Audience != r.Resource {
		return "", fmt.Errorf("%w: audience and resource name different things: send one of them", ErrRequest)
	}
	audience := r.Audience + r.Resource
	if r.Audience == r.Resource {
		audience = r.Audience
	}
	if audience == "" {
		return issuer, nil
	}
	if len(audience) > maxAudience || strings.ContainsFunc(audience, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", fmt.Errorf("%w: audience has to be at most %d printable ASCII characters without spaces", ErrRequest, maxAudience)
	}
	return audience, nil
}

// CanIssue reports whether there is a key to sign with.
func (g *Gate) CanIssue(ctx context.Context, at time.Time) error {
	_, _, err := g.signer(ctx, at)
	return err
}

func (g *Gate) signer(ctx context.Context, at time.Time) (*token.Signer, id.ID, error) {
	if g.o.Signer == nil {
		return nil, "", fmt.Errorf("%w: there is no key to sign tokens with", ErrUnavailable)
	}
	return g.o.Signer(ctx, at)
}

// newTokenID makes a jti of 128 random bits.
func newTokenID() string {
	var random [16]byte
	rand.Read(random[:]) // never fails: crypto/rand aborts the program instead
	return base64.RawURLEncoding.EncodeToString(random[:])
}
