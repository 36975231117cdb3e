package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/jwk"
)

// maxDocument is the size in bytes beyond which a key set or metadata is not read.
const maxDocument = 4 << 20

// What the keys alone are good for, in seconds, where Options say nothing else: as a sidecar has it.
const (
	offlineRead  = 24 * 60 * 60
	offlineWrite = 60 * 60
)

// keySet is the key set of an authority, and nothing else of it.
type keySet struct {
	base   string // of the authority; "" where url is known
	issuer string // "": what the authority's metadata says, if that is base
	url    string // of the key set; "" until the metadata was read
	getter
}

func (*keySet) pace() pace {
	return pace{every: 5 * time.Minute, gap: 10 * time.Second, slow: time.Minute}
}

// read returns the keys as a feed that knows of no owners and of nobody who is dead.
func (k *keySet) read(ctx context.Context, _ httpapi.FeedQuery) (httpapi.Feed, error) {
	if k.url == "" {
		if err := k.discover(ctx); err != nil {
			return httpapi.Feed{}, err
		}
	}
	body, err := k.get(ctx, k.url, 0, maxDocument)
	if err != nil {
		return httpapi.Feed{}, fmt.Errorf("read the key set: %w", err)
	}
	set, err := jwk.ParseSet(body)
	if err != nil {
		return httpapi.Feed{}, fmt.Errorf("read the key set: %w", err)
	}
	now := 0
	bounds := httpapi.Bounds{Read: offlineRead, Write: offlineWrite}
	return httpapi.Feed{Issuer: k.issuer, Keys: set, Age: &now, Bounds: bounds, Complete: true}, nil
}

// discover reads where the key set is (RFC 8414 §3, OpenID Connect Discovery §4).
func (k *keySet) discover(ctx context.Context) error {
	body, err := k.get(ctx, k.base+"/.well-known/openid-configuration", 0, maxDocument)
	if err != nil {
		return fmt.Errorf("read the metadata: %w", err)
	}
	var d struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(body, &d); err != nil {
		return fmt.Errorf("read the metadata: %w", err)
	}
	issuer := k.issuer
	if issuer == "" {
		issuer = k.base
	}
	if strings.TrimSuffix(d.Issuer, "/") != strings.TrimSuffix(issuer, "/") {
		return fmt.Errorf("%w: the metadata are of the issuer %.200q, not of %.200q", errWrong, d.Issuer, issuer)
	}
	at, err := address(d.JWKSURI)
	if err != nil {
		return fmt.Errorf("%w: jwks_uri: %w", errWrong, err)
	}
	k.issuer, k.url = d.Issuer, at
	return nil
}
