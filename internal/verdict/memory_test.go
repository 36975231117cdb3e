package verdict_test

import (
	"context"
	"encoding/json"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/token"
	"github.com/keyturn/keyturn/internal/verdict"
)

// crowd is a Decider that knows many credentials and finds the claims in the text of a token, as the real one does: each
// string is new memory.
type crowd struct {
	credentials map[string]*credential.Credential
}

func newCrowd(n int) (crowd, []string) {
	c := crowd{map[string]*credential.Credential{}}
	var names []string
	for range n {
		name := id.New(id.Client, now)
		names = append(names, name.String())
		c.credentials[name.String()] = &credential.Credential{ID: name, Kind: credential.Standard, Versions: []credential.Version{{Number: 1}}}
	}
	return c, names
}

// text is a token as long as those that an authority signs with ES256.
func (crowd) text(name string) string {
	b, _ := json.Marshal(token.Claims{
		Issuer: "https://keyturn.fleet.example", Subject: name, ClientID: name, Version: 1, Audience: token.Audience{"https://keyturn.fleet.example"},
		ExpiresAt: now.Unix() + 3600, IssuedAt: now.Unix(), ID: name[4:26], Scope: "peers.read services.read", ClusterID: clusterID.String(), PeerID: authorityI.String(),
	})
	return string(b) + strings.Repeat(" ", max(0, 750-len(b)-len(name))) + name
}

// Check implements verdict.Decider.
func (c crowd) Check(_ context.Context, _ time.Time, text, _ string) (access.Caller, error) {
	var claims token.Claims
	if err := json.Unmarshal([]byte(text[:strings.LastIndex(text, "}")+1]), &claims); err != nil {
		return access.Caller{}, err
	}
	scopes, err := credential.SplitScopes(claims.Scope)
	return access.Caller{Claims: claims, Credential: c.credentials[claims.Subject], Scopes: scopes}, err
}

// Authenticate implements verdict.Decider.
func (c crowd) Authenticate(_ context.Context, _ time.Time, p access.Proof) (access.Client, error) {
	found := c.credentials[p.ClientID]
	return access.Client{Credential: found, Version: &found.Versions[0]}, nil
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What an entry is said to take is what it takes, by and large, and the defaults hold what the documentation says.
func TestGate_CountsItsBytes(t *testing.T) {
	if raced {
		t.Skip("the race detector takes memory of its own")
	}
	const n = 10_000
	c, names := newCrowd(n)
	var texts, secrets []string
	for _, name := range names {
		texts = append(texts, c.text(name))
		secrets = append(secrets, credential.NewSecret().Reveal())
	}
	for _, row := range []struct {
		what        string
		least, most int64
		fill        func(gate *verdict.Gate, i int) error
		bytes       func(tokens, pairs verdict.Stats) int64
	}{
		{"token", 1150, 1350, func(gate *verdict.Gate, i int) error {
			_, err := gate.Check(context.Background(), now, texts[i], "")
			return err
		}, func(tokens, _ verdict.Stats) int64 { return tokens.Bytes }},
		{"pair", 250, 300, func(gate *verdict.Gate, i int) error {
			_, err := gate.Authenticate(context.Background(), now, access.Proof{ClientID: names[i], Secret: secrets[i]})
			return err
		}, func(_, pairs verdict.Stats) int64 { return pairs.Bytes }},
	} {
		before := heap()
		gate, err := verdict.NewGate(c, verdict.NewGenerations(), verdict.Options{})
		if err != nil {
			t.Fatal(err)
		}
		empty := heap()
		for i := range n {
			if err := row.fill(gate, i); err != nil {
				t.Fatal(err)
			}
			if i%1000 == 0 {
				gate.Wait()
			}
		}
		gate.Wait()
		for i := range n { // those that are found first are in front, too
			if err := row.fill(gate, i); err != nil {
				t.Fatal(err)
			}
		}
		gate.Wait()
		real, said := (heap()-empty)/n, row.bytes(gate.Stats())/n
		t.Logf("a %s takes %d bytes, said to be %d; two empty caches take %d", row.what, real, said, empty-before)
		if said < row.least || said > row.most || said < real*8/10 || said > real*14/10 {
			t.Errorf("a %s: %d bytes, said to be %d", row.what, real, said)
		}
		gate.Close()
	}
	runtime.KeepAlive(c)
	runtime.KeepAlive(texts)
}
