package e2e

import (
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/token"
)

// peers: a host joins with a key that works once, issues tokens within its bounds, and is gone with all of them once it is
// removed.
func (r *run) peers() {
	admin := Bearer(r.admin())
	made := r.Want(201, "POST", "/v1/join-keys", admin, JSON(`{"name":"e2e","ttl_seconds":600,"max_scopes":["billing.read"],"reason":"a host"}`))
	key, keyID := made.Text("join_key"), made.Text("join_key_id")
	if r.joinKeys("")[keyID] != "active" {
		r.T.Errorf("join keys: %v", r.joinKeys(""))
	}
	host := NewHost(r.T)
	joined := r.Want(201, "POST", "/v1/peers/join", JSON(host.Join(r.T, key)))
	self := joined.Text("peer_id")
	if again := r.Want(201, "POST", "/v1/peers/join", JSON(host.Join(r.T, key))); string(again.Body) != string(joined.Body) {
		r.T.Errorf("the same host again: %s, first: %s", again.Body, joined.Body)
	}
	other := r.Want(401, "POST", "/v1/peers/join", JSON(NewHost(r.T).Join(r.T, key)))
	if string(other.Body) != `{"error":"unauthorized","code":"UNAUTHORIZED"}` || other.Header.Get("WWW-Authenticate") != `Bearer realm="keyturn"` {
		r.T.Errorf("another host with the same key: %s, %v", other.Body, other.Header)
	}
	identity := r.Want(200, "GET", "/v1/cluster/identity")
	for _, name := range []string{"cluster_id", "issuer"} {
		if joined.Text(name) != identity.Text(name) {
			r.T.Errorf("%s: joined %q, it is %q", name, joined.Text(name), identity.Text(name))
		}
	}
	if r.joinKeys("")[keyID] != "" || r.joinKeys("?include=terminal")[keyID] != "used" {
		r.T.Errorf("join keys: %v", r.joinKeys("?include=terminal"))
	}
	r.changesPeer(self)
	r.removesPeer(host, self, identity)
	r.revokesJoinKey()
}

// joinKeys are the statuses of join keys.
func (r *run) joinKeys(query string) map[string]string {
	r.T.Helper()
	a := r.Want(200, "GET", "/v1/join-keys"+query, Bearer(r.admin()))
	var list struct {
		JoinKeys []struct {
			ID     string `json:"join_key_id"`
			Status string
		} `json:"join_keys"`
	}
	a.Into(r.T, &list)
	if strings.Contains(string(a.Body), "eyJ") {
		r.T.Errorf("a list shows a key: %s", a.Body)
	}
	statuses := map[string]string{}
	for _, k := range list.JoinKeys {
		statuses[k.ID] = k.Status
	}
	return statuses
}

func (r *run) changesPeer(self string) {
	admin := Bearer(r.admin())
	got := r.Want(200, "GET", "/v1/peers/"+self, admin)
	if got.Text("role") != "sidecar" || got.Text("status") != "active" || got.Text("name") != "host-1" {
		r.T.Errorf("the new peer: %s", got.Body)
	}
	changed := r.Want(200, "PATCH", "/v1/peers/"+self, admin, JSON(`{"name":"rack 7"}`))
	if got := r.Want(200, "GET", "/v1/peers/"+self, admin); string(got.Body) != string(changed.Body) || got.Text("name") != "rack 7" {
		r.T.Errorf("changed: %s, read: %s", changed.Body, got.Body)
	}
	id, secret := r.create("peers.write", "peers.read")
	r.Want(403, "PATCH", "/v1/peers/"+self, Bearer(r.Token(id, secret)), JSON(`{"max_scopes":["admin"]}`))
	r.Want(403, "POST", "/v1/join-keys", Bearer(r.Token(id, secret)), JSON(`{"max_scopes":["admin"]}`))
	r.Want(404, "GET", "/v1/peers/peer_00000000000000000000000000", admin)
	var list struct {
		Peers []struct {
			ID   string `json:"peer_id"`
			Role string
		}
	}
	r.Want(200, "GET", "/v1/peers", Bearer(r.Token(id, secret))).Into(r.T, &list)
	roles := map[string]string{}
	for _, p := range list.Peers {
		roles[p.ID] = p.Role
		if p.Role == "authority" {
			r.Want(400, "DELETE", "/v1/peers/"+p.ID, admin)
		}
	}
	if roles[self] != "sidecar" || len(roles) < 2 {
		r.T.Errorf("peers: %v", roles)
	}
}

// keyMinute is how long a deployment may go on with the key set that it knows.
const keyMinute = time.Minute

func (r *run) removesPeer(host *Host, self string, identity Answer) {
	admin := Bearer(r.admin())
	client, secret := r.create("billing.read", "billing.write")
	own := r.claims(r.Token(client, secret))
	r.passes(keyMinute, func() bool { return r.published(host) })
	issue := func(scope string) string {
		c := own
		c.PeerID, c.Scope, c.ID = self, scope, "e2e"
		c.Issuer = identity.Text("issuer")
		c.IssuedAt = r.claims(r.admin()).IssuedAt
		c.ExpiresAt = c.IssuedAt + 600
		text, err := host.Tokens.Sign(c)
		if err != nil {
			r.T.Fatal(err)
		}
		return text
	}
	active := func(text string) string {
		return string(r.Want(200, "POST", "/v1/oauth/introspect", Bearer(r.admin()), Form("token", text)).Body)
	}
	if got := active(issue("billing.read")); !strings.Contains(got, `"active":true`) {
		r.T.Errorf("a token of the peer: %s", got)
	}
	if got := active(issue("billing.write")); got != `{"active":false}` {
		r.T.Errorf("a token beyond what the peer may grant: %s", got)
	}
	assertion := func() Option {
		return host.Assertion(r.T, self, identity.Text("issuer"), r.claims(r.admin()).IssuedAt)
	}
	if got := r.claims(r.Want(200, "POST", "/v1/oauth/token", assertion()).Text("access_token")); got.Scope != "ledger.read" || got.Subject != self {
		r.T.Errorf("the peer's own token: %+v", got)
	}
	issued := issue("billing.read")
	r.Want(204, "DELETE", "/v1/peers/"+self+"?reason=scrapped", admin)
	r.Want(204, "DELETE", "/v1/peers/"+self, admin)
	if got := active(issued); got != `{"active":false}` {
		r.T.Errorf("a token of a removed peer: %s", got)
	}
	r.Want(401, "POST", "/v1/oauth/token", assertion())
	if got := r.Want(200, "GET", "/v1/peers/"+self, admin); got.Text("status") != "removed" || got.Text("left_at") == "" {
		r.T.Errorf("the removed peer: %s", got.Body)
	}
	r.passes(keyMinute, func() bool { return !r.published(host) })
}

// passes is pass where the clock can be moved: elsewhere a minute is too long to wait for a key set, by which nothing is judged.
func (r *run) passes(d time.Duration, until func() bool) {
	if r.target.Advance != nil {
		r.pass(d, until)
	}
}

// published reports whether the host's token key is in the key set.
func (r *run) published(host *Host) bool {
	set, err := jwk.ParseSet(r.Want(200, "GET", "/.well-known/jwks.json").Body)
	if err != nil {
		r.T.Fatal(err)
	}
	for _, k := range set.Keys {
		if k.Equal(host.Tokens.Key()) {
			return true
		}
	}
	return false
}

func (r *run) revokesJoinKey() {
	admin := Bearer(r.admin())
	made := r.Want(201, "POST", "/v1/join-keys", admin)
	key, keyID := made.Text("join_key"), made.Text("join_key_id")
	r.Want(204, "DELETE", "/v1/join-keys/"+keyID+"?reason=typo", admin)
	r.Want(204, "DELETE", "/v1/join-keys/"+keyID, admin)
	r.Want(401, "POST", "/v1/peers/join", JSON(NewHost(r.T).Join(r.T, key)))
	r.Want(404, "DELETE", "/v1/join-keys/jk_00000000000000000000000000", admin)
	if claims, err := token.UnverifiedJoinKey(key); err != nil || claims.Region != "" || claims.ExpiresAt-claims.IssuedAt != 600 {
		r.T.Errorf("a join key as it comes: %+v, %v", claims, err)
	}
}
