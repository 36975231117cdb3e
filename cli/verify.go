package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/token"
)

// clockLeeway is how far ahead the clock of whoever issued a token may be.
const clockLeeway = 30 * time.Second

// VerifyCmd checks a token by itself: its signature and its claims. Whether its credential was revoked since, only
// introspection tells.
type VerifyCmd struct {
	Token    string `arg:"" optional:"" help:"The token; - or nothing reads standard input." default:"-"`
	Audience string `help:"The audience that the token has to be for; the issuer where nothing is said." placeholder:"AUD"`
}

// Run prints the claims of a good token, and says what is wrong with a bad one.
func (c *VerifyCmd) Run(a *App) error {
	text := []byte(c.Token)
	if c.Token == "-" {
		if a.interactive() {
			a.screen.note("paste the token, then end the input with Ctrl-D")
		}
		var err error
		if text, err = a.input("-"); err != nil {
			return &failure{what: "read the token", why: err}
		}
	}
	text = bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(text), []byte("Bearer ")))
	s, err := a.open(false)
	if err != nil {
		return err
	}
	issuer, keys, err := s.cluster()
	if err != nil {
		return err
	}
	claims, why := check(string(text), keys)
	if why == nil {
		why = c.judge(claims, issuer, a.Now())
	}
	if why != nil {
		return &failure{what: "the token is not good", why: why, exit: exitFailed}
	}
	if a.flags.JSON {
		payload, err := segment(string(text), 1)
		return orWire(a, payload, err)
	}
	return a.data(claimsTable(claims, a.Now()))
}

// cluster asks what tokens have to say and are signed with.
func (s *session) cluster() (issuer string, keys []jwk.Key, err error) {
	answer, err := s.send("ask for the issuer", httpapi.Request{Path: "/.well-known/openid-configuration"})
	var d httpapi.Discovery
	if err == nil {
		err = failed("ask for the issuer", answer.Decode(&d))
	}
	if err != nil {
		return "", nil, err
	}
	answer, err = s.send("ask for the keys", httpapi.Request{Path: "/.well-known/jwks.json"})
	if err != nil {
		return "", nil, err
	}
	set, err := jwk.ParseSet(answer.Body)
	return d.Issuer, set.Keys, failed("ask for the keys", err)
}

// check verifies the signature. The key set tells only that it is bad; the header tells a person why.
func check(text string, keys []jwk.Key) (token.Claims, error) {
	claims, _, err := token.NewKeySet(keys).Verify(text)
	if err == nil {
		return claims, nil
	}
	var header struct {
		Type  string `json:"typ"`
		KeyID string `json:"kid"`
	}
	raw, malformed := segment(text, 0)
	if malformed != nil || strings.Count(text, ".") != 2 || json.Unmarshal(raw, &header) != nil {
		return claims, errors.New("it is no JWT in compact form")
	}
	typ := strings.TrimPrefix(strings.ToLower(header.Type), "application/")
	known := slices.ContainsFunc(keys, func(k jwk.Key) bool { return k.ID() == header.KeyID })
	switch {
	case typ != "at+jwt":
		return claims, fmt.Errorf("its type is %q and not at+jwt: it is no access token", plain(header.Type))
	case !known:
		return claims, fmt.Errorf("its key %q is none of the %d keys of this cluster", plain(header.KeyID), len(keys))
	}
	return claims, errors.New("its signature is wrong, or its claims are malformed")
}

// segment decodes one part of a JWT in compact form (RFC 7515 §7.1).
func segment(text string, n int) ([]byte, error) {
	parts := strings.Split(text, ".")
	if n >= len(parts) {
		return nil, errors.New("not a JWT")
	}
	return base64.RawURLEncoding.DecodeString(parts[n])
}

// judge checks what a signed token says (RFC 9068 §4).
func (c *VerifyCmd) judge(t token.Claims, issuer string, now time.Time) error {
	audience := c.Audience
	if audience == "" {
		audience = issuer
	}
	_, notPeer := id.Parse(id.Peer, t.Issuer)
	switch {
	case t.Issuer != issuer && (notPeer != nil || t.Issuer != t.PeerID):
		return fmt.Errorf("its issuer is %q and not %q", plain(t.Issuer), issuer)
	case t.ExpiresAt <= now.Unix():
		return fmt.Errorf("it expired on %s", moment(time.Unix(t.ExpiresAt, 0), now))
	case t.IssuedAt > now.Add(clockLeeway).Unix():
		return fmt.Errorf("it was issued %s: a clock is wrong", moment(time.Unix(t.IssuedAt, 0), now))
	case !slices.Contains(t.Audience, audience):
		return fmt.Errorf("it is for %q and not for %q", plain(strings.Join(t.Audience, " ")), audience)
	}
	return nil
}

func claimsTable(t token.Claims, now time.Time) string {
	return table([][]string{
		{"sub", plain(t.Subject)},
		{"client_id", plain(t.ClientID)},
		{"ver", fmt.Sprint(t.Version)},
		{"scope", or(plain(t.Scope))},
		{"aud", plain(strings.Join(t.Audience, " "))},
		{"iss", plain(t.Issuer)},
		{"issued", moment(time.Unix(t.IssuedAt, 0), now)},
		{"expires", moment(time.Unix(t.ExpiresAt, 0), now)},
		{"jti", plain(t.ID)},
		{"cluster_id", plain(t.ClusterID)},
		{"peer_id", plain(t.PeerID)},
	})
}
