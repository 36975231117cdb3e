package main_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/token"
)

// joinRequest is what a new host sends to join.
func joinRequest(joinKey string) (httpapi.JoinRequest, error) {
	r := httpapi.JoinRequest{JoinKey: joinKey, Name: "host-7"}
	claims, err := token.UnverifiedJoinKey(joinKey)
	if err != nil {
		return r, err
	}
	public, identity, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return r, err
	}
	signing, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return r, err
	}
	who, err := jwk.New(public)
	if err != nil {
		return r, err
	}
	signs, err := jwk.New(signing.Public())
	if err != nil {
		return r, err
	}
	if r.PublicKey, err = json.Marshal(who); err != nil {
		return r, err
	}
	if r.TokenKey, err = json.Marshal(signs); err != nil {
		return r, err
	}
	r.Proof = base64.RawURLEncoding.EncodeToString(ed25519.Sign(identity, peer.ProofMessage(claims.ID, who, signs)))
	return r, nil
}

// joins lets a new host in at a server, and returns its peer id.
func joins(server, joinKey string) (string, error) {
	r, err := joinRequest(strings.TrimSpace(joinKey))
	if err != nil {
		return "", err
	}
	client, err := httpapi.NewClient(server, httpapi.ClientOptions{})
	if err != nil {
		return "", err
	}
	answer, err := client.Call(context.Background(), httpapi.Request{Method: "POST", Path: "/v1/peers/join", Body: r})
	if err != nil {
		return "", err
	}
	var joined httpapi.Joined
	err = answer.Decode(&joined)
	return joined.PeerID, err
}

// join NAME: a host joins with the key that is on standard output; its peer id becomes $NAME. With !, it is refused.
func join(ts *testscript.TestScript, refused bool, args []string) {
	peerID, err := joins(ts.Getenv("SERVER"), ts.ReadFile("stdout"))
	if refused {
		if err == nil {
			ts.Fatalf("it is in")
		}
		return
	}
	ts.Check(err)
	ts.Setenv(args[0], peerID)
}

// joined lets a host into the user's cluster.
func (u *user) joined() string {
	u.t.Helper()
	peerID, err := joins(u.cluster.URL(), u.must("join-keys", "create").stdout)
	if err != nil {
		u.t.Fatal(err)
	}
	return peerID
}

func TestPeersRemove_AsksOnATerminal(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	id := u.joined()
	status := func() string {
		var p httpapi.Peer
		if err := json.Unmarshal([]byte(u.must("peers", "get", id, "--json").stdout), &p); err != nil {
			t.Fatal(err)
		}
		return p.Status
	}
	for _, no := range []string{"", "\n", "n\n"} {
		r := u.atTerminal(no, "peers", "remove", id)
		if r.exit != 1 || r.stdout != "" || status() != "active" {
			t.Fatalf("%q: exit %d: %s", no, r.exit, r.stderr)
		}
		for _, told := range []string{"host-7", "every token that it issued", "Remove? [y/N] "} {
			if !strings.Contains(r.stderr, told) {
				t.Errorf("it does not say %q:\n%s", told, r.stderr)
			}
		}
	}
	if r := u.atTerminal("y\n", "peers", "remove", id); r.exit != 0 || r.stdout != "" || status() != "removed" {
		t.Errorf("exit %d: %s", r.exit, r.stderr)
	}
	second := u.joined()
	if r := u.atTerminal("", "peers", "remove", second, "--yes"); r.exit != 0 || strings.Contains(r.stderr, "y/N") {
		t.Errorf("exit %d: %s", r.exit, r.stderr)
	}
}
