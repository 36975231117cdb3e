package ledger

import "github.com/keyturn/keyturn/internal/peer"

// JoinPeer joins the records of one peer. It returns nil where none of them says that it has joined. Changes hold in the
// order of their records; a removed peer stays removed.
func JoinPeer(records []*Record) *peer.Peer {
	var p *peer.Peer
	set := inOrder(records)
	for _, r := range set {
		if b, ok := r.body.(*PeerBody); ok && p == nil {
			p = &peer.Peer{
				ID: r.Subject, Name: b.Name, Role: b.Role, PublicKey: b.PublicKey, TokenKey: b.TokenKey,
				Region: b.Region, MaxScopes: b.MaxScopes, JoinKey: b.JoinKey, JoinedAt: r.At,
			}
			if p.Region == "" {
				p.Region = r.Region
			}
		}
	}
	if p == nil {
		return nil
	}
	for _, r := range set {
		switch b := r.body.(type) {
		case *PeerChangeBody:
			if b.Name != nil {
				p.Name = *b.Name
			}
			if b.MaxScopes != nil {
				p.MaxScopes = *b.MaxScopes
			}
		case *RevokedBody:
			p.LeftAt = earliest(p.LeftAt, r.At)
		}
	}
	return p
}

// JoinJoinKey joins the records of one join key. It returns nil where none of them creates it. Should two regions have let a
// host in with one key, the first of them is who used it.
func JoinJoinKey(records []*Record) *peer.JoinKey {
	var k *peer.JoinKey
	set := inOrder(records)
	for _, r := range set {
		if b, ok := r.body.(*JoinKeyBody); ok && k == nil {
			k = &peer.JoinKey{
				ID: r.Subject, Name: b.Name, Region: b.Region, MaxScopes: b.MaxScopes,
				CreatedAt: r.At, CreatedBy: r.Actor, ExpiresAt: b.ExpiresAt,
			}
		}
	}
	if k == nil {
		return nil
	}
	for _, r := range set {
		switch b := r.body.(type) {
		case *JoinKeyUsedBody:
			if k.UsedBy == "" {
				k.UsedBy = b.PeerID
			}
		case *RevokedBody:
			k.RevokedAt = earliest(k.RevokedAt, r.At)
		}
	}
	return k
}
