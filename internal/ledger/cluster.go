package ledger

import (
	"encoding/json"
	"time"

	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
)

// Cluster is what the records of the cluster itself say together.
type Cluster struct {
	ID         id.ID
	Issuer     string
	Home       string
	HomeSince  time.Time // the instant of the record that made it home
	CreatedAt  time.Time
	License    json.RawMessage   // the one issued last, as its vendor signed it; nil before there is one
	Keys       []Key             // in the order in which they were published
	LedgerKeys []jwk.Key         // the trusted ones, the first first
	Sealed     map[string][]byte // private halves of ledger and token keys by thumbprint, where records carry them
}

// Key is a published token key.
type Key struct {
	Key         jwk.Key
	PeerID      id.ID
	Region      string // whose authority published it
	PublishedAt time.Time
	RetiredAt   time.Time // zero: in use
}

// JoinCluster joins the records whose subject is the cluster. It returns nil where none of them founds it. The license that
// was issued last wins, and the home that was named last; a retired key stays retired.
func JoinCluster(records []*Record) *Cluster {
	var c *Cluster
	set := inOrder(records)
	for _, r := range set {
		if b, ok := r.body.(*ClusterBody); ok && c == nil {
			c = &Cluster{
				ID: r.Subject, Issuer: b.Issuer, Home: b.Home, HomeSince: r.At, CreatedAt: r.At, LedgerKeys: []jwk.Key{b.LedgerKey},
				Sealed: map[string][]byte{},
			}
			c.keep(b.LedgerKey, b.Sealed)
		}
	}
	if c == nil {
		return nil
	}
	retired := map[string]time.Time{}
	for _, r := range set {
		switch b := r.body.(type) {
		case *LicenseBody:
			c.apply(b)
		case *HomeBody:
			c.Home, c.HomeSince = b.Home, r.At
		case *KeyBody:
			c.publish(r, b)
		case *KeyRetiredBody:
			retired[b.KeyID] = earliest(retired[b.KeyID], r.At)
		}
	}
	for i := range c.Keys {
		c.Keys[i].RetiredAt = retired[c.Keys[i].Key.ID()]
	}
	return c
}

// apply takes b's license unless the one that holds was issued later. What a clock did to the record's own time does not
// matter.
func (c *Cluster) apply(b *LicenseBody) {
	if c.License == nil || !issuedAt(b.License).Before(issuedAt(c.License)) {
		c.License = b.License
	}
}

// issuedAt is when a license was issued; the zero instant for what is none.
func issuedAt(text json.RawMessage) time.Time {
	var l struct {
		IssuedAt time.Time `json:"issued_at"`
	}
	_ = json.Unmarshal(text, &l) // an authority writes only licenses that it has checked
	return l.IssuedAt
}

func (c *Cluster) publish(r *Record, b *KeyBody) {
	switch b.Use {
	case UseLedger:
		for _, known := range c.LedgerKeys {
			if known.ID() == b.Key.ID() {
				return
			}
		}
		c.LedgerKeys = append(c.LedgerKeys, b.Key)
		c.keep(b.Key, b.Sealed)
	case UseToken:
		for _, known := range c.Keys {
			if known.Key.ID() == b.Key.ID() {
				return
			}
		}
		c.Keys = append(c.Keys, Key{Key: b.Key, PeerID: b.PeerID, Region: r.Region, PublishedAt: r.At})
		c.keep(b.Key, b.Sealed)
	}
}

func (c *Cluster) keep(key jwk.Key, sealed []byte) {
	if len(sealed) > 0 {
		c.Sealed[key.ID()] = sealed
	}
}

// Authority is the peer id of a region's authority; "" where that region has published no token key.
func (c *Cluster) Authority(region string) id.ID {
	for _, k := range c.Keys {
		if k.Region == region {
			return k.PeerID
		}
	}
	return ""
}
