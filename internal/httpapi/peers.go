package httpapi

import (
	"encoding/base64"
	"math"
	"net/http"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
)

// createJoinKey is POST /v1/join-keys.
func (s *server) createJoinKey(c *call) (answer, error) {
	var w JoinKeyRequest
	if err := c.json(&w); err != nil {
		return answer{}, err
	}
	scopes, err := credential.ParseScopes(w.MaxScopes)
	if err != nil {
		return answer{}, err
	}
	r := authority.JoinKeyRequest{Name: w.Name, Region: w.Region}
	if w.MaxScopes != nil { // [] is nothing at all, which is not the default
		r.MaxScopes = append(credential.Scopes{}, scopes...)
	}
	if w.TTLSeconds != nil {
		r.TTL = time.Duration(max(-1, min(*w.TTLSeconds, math.MaxInt32))) * time.Second
		if r.TTL == 0 {
			r.TTL = -1 // it was asked for: that is not the default
		}
	}
	if err := credential.CheckReason(w.Reason); err != nil {
		return answer{}, err
	}
	k, err := s.authority.CreateJoinKey(c.Context(), c.caller, c.origin(w.Reason), r)
	return answer{status: http.StatusCreated, body: CreatedJoinKey{k.Text, k.ID.String(), Time{k.ExpiresAt}}}, err
}

// json reads the body of a call that takes an object, or none.
func (c *call) json(into any) error {
	body, err := c.bodyOf("application/json")
	if err != nil {
		return err
	}
	return decodeBody(body, into)
}

// listJoinKeys is GET /v1/join-keys.
func (s *server) listJoinKeys(c *call) (answer, error) {
	query, err := c.query()
	if err != nil {
		return answer{}, err
	}
	include := query.Get("include")
	if include != "" && include != "terminal" {
		return answer{}, refuse(http.StatusBadRequest, InvalidRequest, "include can only be terminal")
	}
	keys, err := s.authority.JoinKeys(c.Context(), c.caller, c.at, include != "")
	if err != nil {
		return answer{}, err
	}
	w := JoinKeys{JoinKeys: make([]JoinKey, 0, len(keys))}
	for _, k := range keys {
		w.JoinKeys = append(w.JoinKeys, joinKeyWire(k, c.at))
	}
	return answer{body: w}, nil
}

// revokeJoinKey is DELETE /v1/join-keys/{join_key_id}.
func (s *server) revokeJoinKey(c *call) (answer, error) {
	target, err := id.Parse(id.JoinKey, c.PathValue("join_key_id"))
	if err != nil {
		return answer{}, refuse(http.StatusNotFound, NotFound, "there is no such join key: an id is jk_ and 26 letters or digits")
	}
	reason, err := c.reason()
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, s.authority.RevokeJoinKey(c.Context(), c.caller, c.origin(reason), target)
}

// reason reads the one parameter of a removal.
func (c *call) reason() (string, error) {
	query, err := c.query()
	if err != nil {
		return "", err
	}
	reason := query.Get("reason")
	return reason, credential.CheckReason(reason)
}

// join is POST /v1/peers/join. It takes no token: the join key is who asks.
func (s *server) join(c *call) (answer, error) {
	if _, err := s.authority.Cluster(c.Context()); err != nil {
		return answer{}, err
	}
	var w JoinRequest
	if err := c.json(&w); err != nil {
		return answer{}, err
	}
	r := authority.JoinRequest{JoinKey: w.JoinKey, Name: w.Name, Via: c.Header.Get(HeaderForwarded)}
	var err error
	if r.PublicKey, err = namedKey("public_key", w.PublicKey); err != nil {
		return answer{}, err
	}
	if r.TokenKey, err = namedKey("token_key", w.TokenKey); err != nil {
		return answer{}, err
	}
	if r.Proof, err = base64.RawURLEncoding.Strict().DecodeString(w.Proof); err != nil {
		return answer{}, refuse(http.StatusBadRequest, InvalidRequest, "proof has to be base64url without padding")
	}
	done, err := s.authority.Join(c.Context(), c.origin(""), r)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: joinedWire(done)}, nil
}

// namedKey reads the JWK of a member that has to be there.
func namedKey(member string, text []byte) (jwk.Key, error) {
	if len(text) == 0 || string(text) == "null" {
		return jwk.Key{}, refuse(http.StatusBadRequest, InvalidRequest, member+" is missing")
	}
	key, err := jwk.Parse(text)
	if err != nil {
		return jwk.Key{}, refuse(http.StatusBadRequest, InvalidRequest, member+": "+err.Error())
	}
	return key, nil
}

// listPeers is GET /v1/peers.
func (s *server) listPeers(c *call) (answer, error) {
	peers, err := s.authority.Peers(c.Context(), c.caller, c.at)
	if err != nil {
		return answer{}, err
	}
	w := Peers{Peers: make([]Peer, 0, len(peers))}
	for _, p := range peers {
		w.Peers = append(w.Peers, peerWire(p))
	}
	return answer{body: w}, nil
}

// peerID is the peer in the path. What is not one cannot exist.
func (c *call) peerID() (id.ID, error) {
	target, err := id.Parse(id.Peer, c.PathValue("peer_id"))
	if err != nil {
		return "", refuse(http.StatusNotFound, NotFound, "there is no such peer: an id is peer_ and 26 letters or digits")
	}
	return target, nil
}

// getPeer is GET /v1/peers/{peer_id}.
func (s *server) getPeer(c *call) (answer, error) {
	target, err := c.peerID()
	if err != nil {
		return answer{}, err
	}
	p, err := s.authority.FindPeer(c.Context(), c.caller, c.at, target)
	if err != nil {
		return answer{}, err
	}
	return answer{body: peerWire(p)}, nil
}

// changePeer is PATCH /v1/peers/{peer_id}.
func (s *server) changePeer(c *call) (answer, error) {
	target, err := c.peerID()
	if err != nil {
		return answer{}, err
	}
	var w PeerChangeRequest
	if err := c.json(&w); err != nil {
		return answer{}, err
	}
	r := authority.PeerChange{Name: w.Name}
	if w.MaxScopes != nil {
		scopes, err := credential.ParseScopes(*w.MaxScopes)
		if err != nil {
			return answer{}, err
		}
		r.MaxScopes = &scopes
	}
	if err := credential.CheckReason(w.Reason); err != nil {
		return answer{}, err
	}
	p, err := s.authority.ChangePeer(c.Context(), c.caller, c.origin(w.Reason), target, r)
	if err != nil {
		return answer{}, err
	}
	return answer{body: peerWire(p)}, nil
}

// removePeer is DELETE /v1/peers/{peer_id}.
func (s *server) removePeer(c *call) (answer, error) {
	target, err := c.peerID()
	if err != nil {
		return answer{}, err
	}
	reason, err := c.reason()
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, s.authority.RemovePeer(c.Context(), c.caller, c.origin(reason), target)
}
