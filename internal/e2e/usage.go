package e2e

import (
	"crypto/rand"
	"strings"
	"time"
)

// usage: a peer tells who uses which version, and the shared credential's versions say so, with a verdict on what is
// superseded.
func (r *run) usage() {
	made := r.Want(201, "POST", "/v1/join-keys", Bearer(r.admin()), JSON(`{"name":"e2e"}`))
	host := NewHost(r.T)
	joined := r.Want(201, "POST", "/v1/peers/join", JSON(host.Join(r.T, made.Text("join_key"))))
	self, issuer := joined.Text("peer_id"), joined.Text("issuer")
	own := r.Want(200, "POST", "/v1/oauth/token", host.Assertion(r.T, self, issuer, r.claims(r.admin()).IssuedAt)).Text("access_token")
	old := r.id
	first := r.report(old)
	r.Want(401, "POST", "/v1/peers/self/usage", JSON(first))
	r.Want(403, "POST", "/v1/peers/self/usage", Bearer(r.admin()), JSON(first))
	r.Want(400, "POST", "/v1/peers/self/usage", Bearer(own), JSON(map[string]any{"report": rand.Text(), "at": first["at"], "secret": "x"}))
	r.Want(204, "POST", "/v1/peers/self/usage", Bearer(own), JSON(first))
	r.Want(204, "POST", "/v1/peers/self/usage", Bearer(own), JSON(first)) // again, as if the answer was lost
	if again := r.Want(429, "POST", "/v1/peers/self/usage", Bearer(own), JSON(r.report(old))); again.Text("code") != "RATE_LIMITED" || again.Header.Get("Retry-After") == "" {
		r.T.Errorf("two reports in a minute: %s, %v", again.Body, again.Header)
	}
	if v := r.versionOf(old); v.Verdict != nil || v.KnownSince != nil || // there are notes since the cluster is there
		len(v.seen(self)) != 1 || v.seen(self)[0].Count != 3 || v.seen(self)[0].Source != "127.0.0.1" {
		r.T.Errorf("the current version: %+v", v)
	}

	next := r.Want(200, "POST", "/v1/cluster/credentials/rotate", Bearer(r.admin()))
	r.id, r.secret = next.Text("client_id"), next.Text("client_secret")
	if v := r.versionOf(old).Verdict; v == nil || v.Safe || !strings.Contains(strings.Join(v.WouldLockOut, " "), "host-1 (127.0.0.1)") || v.Text == "" {
		r.T.Errorf("the superseded version: %+v", v)
	}
	r.pass(6*time.Second, func() bool { // a peer that stops reports once more, though not at once
		last := r.report(r.id)
		last["final"] = true
		return r.Do("POST", "/v1/peers/self/usage", Bearer(own), JSON(last)).Status == 204
	})
	used := r.versionOf(old)
	if v := used.Verdict; v == nil || v.Safe || strings.Contains(strings.Join(v.WouldLockOut, " "), "host-1") ||
		!strings.Contains(strings.Join(v.Unknown, " "), "host-1 (127.0.0.1)") || len(used.unsettled(self)) != 1 {
		r.T.Errorf("somebody on the host has moved on: %+v", used)
	}
	r.Want(204, "DELETE", "/v1/peers/"+self, Bearer(r.admin()))
	r.Want(401, "POST", "/v1/peers/self/usage", Bearer(own), JSON(r.report(r.id)))
	left := r.versionOf(old)
	if places := left.seen(self); len(places) != 1 || !places[0].Removed || strings.Contains(strings.Join(left.Verdict.WouldLockOut, " "), "host-1") || len(left.unsettled(self)) > 0 {
		r.T.Errorf("the host has been removed: %+v", left)
	}
}

// report tells that a version of the shared credential was used three times just now.
func (r *run) report(clientID string) map[string]any {
	claims := r.claims(r.admin())
	at := time.Unix(claims.IssuedAt, 0).UTC().Format(time.RFC3339)
	version := claims.Version
	if clientID != claims.ClientID {
		version--
	}
	return map[string]any{"report": rand.Text(), "at": at, "cursor": "", "uses": []any{map[string]any{
		"client_id": clientID, "version": version, "source": "127.0.0.1", "first_at": at, "last_at": at, "count": 3,
	}}}
}

// usedVersion is a version as GET /v1/cluster/credentials tells who uses it.
type usedVersion struct {
	ClientID   string  `json:"client_id"`
	KnownSince *string `json:"known_since"`
	LastUsed   []place `json:"last_used"`
	Unsettled  []place
	Verdict    *struct {
		Safe         bool
		WouldLockOut []string `json:"would_lock_out"`
		Unknown      []string
		Text         string
	}
}

// place is where a version was used last.
type place struct {
	PeerID  *string `json:"peer_id"`
	Source  string
	Count   int
	Removed bool
}

// seen are the uses at one peer.
func (v usedVersion) seen(peerID string) []place { return placesAt(peerID, v.LastUsed) }

// unsettled are those of which it is not certain yet whether all there have moved on.
func (v usedVersion) unsettled(peerID string) []place { return placesAt(peerID, v.Unsettled) }

func placesAt(peerID string, of []place) (list []place) {
	for _, p := range of {
		if p.PeerID != nil && *p.PeerID == peerID {
			list = append(list, p)
		}
	}
	return list
}

func (r *run) versionOf(clientID string) usedVersion {
	r.T.Helper()
	var c struct{ Versions []usedVersion }
	r.Want(200, "GET", "/v1/cluster/credentials", Bearer(r.admin())).Into(r.T, &c)
	for _, v := range c.Versions {
		if v.ClientID == clientID {
			return v
		}
	}
	r.T.Fatalf("no version %s: %+v", clientID, c)
	return usedVersion{}
}
