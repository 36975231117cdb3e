package verify_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/devcluster"
	"github.com/keyturn/keyturn/sidecar/verify"
)

// client calls a real cluster.
type client struct {
	*http.Client
	t *testing.T
}

func (c client) do(method, to, header, media, body string, into any) {
	c.t.Helper()
	var answer *http.Response
	for again := true; again; again = answer.StatusCode == http.StatusServiceUnavailable { // on a machine that stands still
		r, err := http.NewRequest(method, to, strings.NewReader(body))
		if err != nil {
			c.t.Fatal(err)
		}
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		if media != "" {
			r.Header.Set("Content-Type", media)
		}
		if answer != nil {
			_ = answer.Body.Close()
		}
		if answer, err = c.Do(r); err != nil {
			c.t.Fatal(err)
		}
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode >= 300 {
		c.t.Fatalf("%s %s: %s", method, to, answer.Status)
	}
	if into != nil {
		if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c client) token(server, id, secret string) string {
	c.t.Helper()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
	c.do("POST", server+"/v1/oauth/token", "", "application/x-www-form-urlencoded", form.Encode(), &token)
	return token.AccessToken
}

// A real authority and real sidecars: tokens of all of them are good behind one, until a revocation.
func TestVerifier_InARealCluster(t *testing.T) {
	t.Parallel()
	cluster, err := devcluster.Start(t.Context(), devcluster.Options{Dir: t.TempDir(), Peers: 2, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	}()
	c := client{&http.Client{Transport: &http.Transport{}, Timeout: 2 * time.Minute}, t}
	defer c.CloseIdleConnections()
	admin := "Bearer " + c.token(cluster.URL(), cluster.ClientID(), cluster.Secret().Reveal())
	var made struct {
		ID       string `json:"id"`
		ClientID string `json:"client_id"`
		Secret   string `json:"client_secret"`
	}
	c.do("POST", cluster.URL()+"/v1/credentials", admin, "application/json", `{"scopes":["peers.read"]}`, &made)

	v, err := verify.New(t.Context(), cluster.Sidecars()[0], verify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	keys, err := verify.New(t.Context(), cluster.URL(), verify.Options{KeysOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	want := verify.Want{Scopes: []string{"peers.read"}}
	var tokens []string
	for _, server := range append(cluster.Sidecars(), cluster.URL()) {
		text := c.token(server, made.ClientID, made.Secret)
		tokens = append(tokens, text)
		for _, v := range []*verify.Verifier{v, keys} {
			got, err := v.Check(t.Context(), text, want)
			for errors.Is(err, verify.ErrStale) { // nobody could be asked, on a machine that stands still
				got, err = v.Check(t.Context(), text, want)
			}
			is(t, err, nil)
			if got.Credential != made.ID {
				t.Errorf("%+v", got)
			}
		}
		remember(t, v, text, want)
	}
	c.do("DELETE", cluster.URL()+"/v1/credentials/"+made.ID, admin, "", "", nil)
	begin := time.Now()
	for _, text := range tokens {
		for err = error(nil); err == nil && time.Since(begin) < 2*time.Minute; {
			_, err = v.Check(context.Background(), text, want)
		}
		if !errors.Is(err, verify.ErrInvalid) {
			t.Errorf("%v, %s after the revocation", err, time.Since(begin))
		}
	}
	t.Logf("refused %s after the revocation", time.Since(begin))
	_, err = keys.Check(t.Context(), tokens[0], want) // as the documentation says
	is(t, err, nil)
}
