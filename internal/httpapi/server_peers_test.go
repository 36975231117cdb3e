package httpapi_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/e2e"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
)

// joinKey makes a join key and returns it with its id.
func (f *fixture) joinKey(body string) (key, keyID string) {
	f.T.Helper()
	a := f.Want(201, "POST", "/v1/join-keys", e2e.Bearer(f.admin()), e2e.JSON(body))
	return a.Text("join_key"), a.Text("join_key_id")
}

// newPeer lets a host in, and returns its peer id.
func (f *fixture) newPeer() string {
	f.T.Helper()
	key, _ := f.joinKey(`{}`)
	return f.Want(201, "POST", "/v1/peers/join", e2e.JSON(e2e.NewHost(f.T).Join(f.T, key))).Text("peer_id")
}

func TestServer_PeerBodies(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	peer, token := f.newPeer(), f.admin()
	f.refuse("join keys", jsonBodies("POST", "/v1/join-keys", token, ""))
	f.refuse("change a peer", jsonBodies("PATCH", "/v1/peers/"+peer, token, ""))
	var list []wrong
	for body, code := range map[string]string{
		`{"ttl_seconds":0}`:                           "INVALID_REQUEST",
		`{"ttl_seconds":-1}`:                          "INVALID_REQUEST",
		`{"ttl_seconds":86401}`:                       "INVALID_REQUEST",
		`{"ttl_seconds":9223372036854775807}`:         "INVALID_REQUEST",
		`{"ttl_seconds":1.5}`:                         "INVALID_REQUEST",
		`{"ttl_seconds":"600"}`:                       "INVALID_REQUEST",
		`{"max_scopes":["Not a scope"]}`:              "INVALID_SCOPE",
		`{"max_scopes":["ledger.read"]}`:              "INVALID_SCOPE",
		`{"max_scopes":"admin"}`:                      "INVALID_REQUEST",
		`{"region":"mars"}`:                           "INVALID_REQUEST",
		`{"name":"` + strings.Repeat("x", 129) + `"}`: "INVALID_REQUEST",
		`{"name":"\u001b[31m"}`:                       "INVALID_REQUEST",
	} {
		list = append(list, wrong{body, 400, code, "POST", "/v1/join-keys", []e2e.Option{e2e.Bearer(token), e2e.JSON(body)}})
	}
	for body, code := range map[string]string{
		`{"max_scopes":["ledger.read"]}`: "INVALID_SCOPE",
		`{"max_scopes":"admin"}`:         "INVALID_REQUEST",
		`{"name":1}`:                     "INVALID_REQUEST",
		`{"name":"\u202e"}`:              "INVALID_REQUEST",
		`{"role":"authority"}`:           "INVALID_REQUEST",
	} {
		list = append(list, wrong{body, 400, code, "PATCH", "/v1/peers/" + peer, []e2e.Option{e2e.Bearer(token), e2e.JSON(body)}})
	}
	self := f.Want(200, "GET", "/v1/cluster/identity").Text("peer_id")
	bearer := []e2e.Option{e2e.Bearer(token)}
	list = append(list,
		wrong{"remove the authority", 400, "INVALID_REQUEST", "DELETE", "/v1/peers/" + self, bearer},
		wrong{"scopes of the authority", 400, "INVALID_REQUEST", "PATCH", "/v1/peers/" + self, append(bearer, e2e.JSON(`{"max_scopes":[]}`))},
		wrong{"include", 400, "INVALID_REQUEST", "GET", "/v1/join-keys?include=all", bearer},
		wrong{"include twice", 400, "INVALID_REQUEST", "GET", "/v1/join-keys?include=terminal&include=terminal", bearer},
		wrong{"long reason", 400, "INVALID_REQUEST", "DELETE", "/v1/peers/" + peer + "?reason=" + strings.Repeat("x", 513), bearer},
		wrong{"no peer", 404, "NOT_FOUND", "GET", "/v1/peers/nonsense", bearer},
		wrong{"a client is no peer", 404, "NOT_FOUND", "DELETE", "/v1/peers/cli_00000000000000000000000000", bearer},
		wrong{"unknown peer", 404, "NOT_FOUND", "PATCH", "/v1/peers/peer_00000000000000000000000000", append(bearer, e2e.JSON(`{"name":"x"}`))},
		wrong{"no join key", 404, "NOT_FOUND", "DELETE", "/v1/join-keys/nonsense", bearer},
		wrong{"join by GET", 405, "METHOD_NOT_ALLOWED", "GET", "/v1/peers/join", bearer},
	)
	f.refuse("peers", list)
}

func TestServer_JoinBodies(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	key, _ := f.joinKey(`{"max_scopes":["billing.read"]}`)
	host := e2e.NewHost(t)
	good := host.Join(t, key)
	with := func(member string, value any) []e2e.Option {
		body := maps.Clone(good)
		if body[member] = value; value == nil {
			delete(body, member)
		}
		return []e2e.Option{e2e.JSON(body)}
	}
	private := json.RawMessage(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}`)
	var list []wrong
	add := func(status int, code, name string, options []e2e.Option) {
		list = append(list, wrong{name, status, code, "POST", "/v1/peers/join", options})
	}
	for _, member := range []string{"public_key", "token_key"} {
		add(400, "INVALID_REQUEST", "no "+member, with(member, nil))
		add(400, "INVALID_REQUEST", member+" is null", with(member, json.RawMessage("null")))
		add(400, "INVALID_REQUEST", member+" is no key", with(member, map[string]string{"kty": "oct", "k": "AAAA"}))
		add(400, "INVALID_REQUEST", member+" is private", with(member, private))
	}
	add(400, "INVALID_REQUEST", "public_key is EC", with("public_key", host.Tokens.Key()))
	add(400, "INVALID_REQUEST", "one key for both", with("token_key", host.Public))
	add(400, "INVALID_REQUEST", "a key of the cluster", []e2e.Option{e2e.JSON(f.stolen(host, good))})
	add(400, "INVALID_REQUEST", "proof is not base64url", with("proof", "++++"))
	add(400, "INVALID_REQUEST", "proof is padded", with("proof", good["proof"].(string)+"=="))
	add(400, "INVALID_REQUEST", "another spelling of the proof", with("proof", good["proof"].(string)[:85]+"_"))
	add(400, "INVALID_REQUEST", "unknown member", with("peer_id", "peer_00000000000000000000000000"))
	add(401, "UNAUTHORIZED", "no join key", with("join_key", nil))
	add(401, "UNAUTHORIZED", "no join key but a token", with("join_key", f.admin()))
	add(401, "UNAUTHORIZED", "no proof", with("proof", nil))
	add(401, "UNAUTHORIZED", "a short proof", with("proof", "AAAA"))
	add(401, "UNAUTHORIZED", "somebody else's proof", with("proof", e2e.NewHost(t).Join(t, key)["proof"]))
	add(401, "UNAUTHORIZED", "another identity", with("public_key", e2e.NewHost(t).Public))
	add(401, "UNAUTHORIZED", "nothing of it is right", []e2e.Option{e2e.JSON(map[string]any{"join_key": "x", "public_key": host.Public, "token_key": host.Tokens.Key(), "proof": "AAAA"})})
	add(413, "TOO_LARGE", "too large", with("name", strings.Repeat("x", tooLong)))
	add(415, "UNSUPPORTED_MEDIA_TYPE", "a form", []e2e.Option{e2e.Form("join_key", key)})
	f.refuse("join", list)
	a := f.Want(401, "POST", "/v1/peers/join", with("proof", nil)[0], e2e.Bearer("x"))
	if string(a.Body) != unauthorized || a.Header.Get("WWW-Authenticate") != `Bearer realm="keyturn", error="invalid_token"` {
		t.Errorf("%s %v", a.Body, a.Header)
	}
	joined := f.Want(201, "POST", "/v1/peers/join", e2e.JSON(good)) // nothing of all that has used it up
	if again := f.Want(201, "POST", "/v1/peers/join", e2e.JSON(good)); string(again.Body) != string(joined.Body) {
		t.Errorf("%s, then %s", joined.Body, again.Body)
	}
	f.clock.Advance(time.Hour)
	f.Want(201, "POST", "/v1/peers/join", e2e.JSON(good))
}

// stolen is a join with the cluster's token key, and a proof of that.
func (f *fixture) stolen(host *e2e.Host, good map[string]any) map[string]any {
	f.T.Helper()
	set, err := jwk.ParseSet(f.Want(200, "GET", "/.well-known/jwks.json").Body)
	if err != nil {
		f.T.Fatal(err)
	}
	return host.JoinWith(f.T, good["join_key"].(string), set.Keys[0])
}

func TestServer_NodesOfTheLicense(t *testing.T) {
	t.Parallel()
	v := newVendor(t)
	f := newFixture(t, setup{bare: true, options: authority.Options{VendorKeys: []jwk.Key{v.key}}})
	at := f.clock.Now()
	a := f.Want(201, "POST", "/v1/bootstrap", e2e.JSON(v.sell(id.New(id.Customer, at), at.Add(-time.Hour), at.Add(time.Hour))))
	f.id, f.secret = a.Text("client_id"), a.Text("client_secret")
	peers := []string{f.newPeer(), f.newPeer(), f.newPeer()}
	refused := func(code string) {
		t.Helper()
		key, _ := f.joinKey(`{}`)
		a := f.Want(403, "POST", "/v1/peers/join", e2e.JSON(e2e.NewHost(t).Join(t, key)))
		if a.Text("code") != code || a.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s %v", a.Body, a.Header)
		}
	}
	refused("LICENSE_LIMIT")
	f.Want(204, "DELETE", "/v1/peers/"+peers[0], e2e.Bearer(f.admin()))
	f.newPeer()
	refused("LICENSE_LIMIT")
	f.clock.Advance(time.Hour)
	refused("LICENSE_EXPIRED")
}

// What the second region is asked happens at home, but for what every region may end.
func TestForward_Peers(t *testing.T) {
	t.Parallel()
	w := twoRegions(t, authority.Options{}, false)
	peer, second := w.second.newPeer(), w.second.newPeer()
	if got := w.home.Want(200, "GET", "/v1/peers/"+peer, e2e.Bearer(w.home.admin())); got.Text("region") != "local" {
		t.Errorf("%s", got.Body)
	}
	_, keyID := w.second.joinKey(`{"region":"local"}`)
	token := e2e.Bearer(w.second.admin())
	w.link.down.Store(true)
	w.second.Want(204, "DELETE", "/v1/peers/"+peer, token)
	w.second.Want(204, "DELETE", "/v1/join-keys/"+keyID, token)
	w.second.Want(200, "GET", "/v1/peers", token)
	w.second.Want(503, "PATCH", "/v1/peers/"+second, token, e2e.JSON(`{"name":"x"}`))
	w.second.Want(503, "POST", "/v1/join-keys", token)
	w.second.Want(503, "GET", "/v1/peers/peer_00000000000000000000000000", token) // for all that is known here
	w.link.down.Store(false)
	w.second.Want(404, "GET", "/v1/peers/peer_00000000000000000000000000", token)
	if got := w.home.Want(200, "GET", "/v1/peers/"+peer, e2e.Bearer(w.home.admin())); got.Text("status") != "removed" {
		t.Errorf("%s", got.Body)
	}
	if got := w.home.Want(200, "GET", "/v1/peers/"+w.second.newPeer(), e2e.Bearer(w.home.admin())); got.Text("region") != "second" {
		t.Errorf("joined where the second region is known by now: %s", got.Body)
	}
}
