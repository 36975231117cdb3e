package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// Target is a deployment to run the suite against. Its cluster is used up: secrets rotate, clients come and go.
type Target struct {
	URL    string       // base URL, without a trailing slash
	Client *http.Client // nil: a plain one

	// What bootstraps it. With ClientID the cluster is there already, and these are its shared credential.
	License        string // the license file; "" where the authority is its own vendor
	BootstrapToken string // "" is none
	ClientID       string
	ClientSecret   string

	// Advance moves the deployment's clock. nil: time passes by itself, and the suite waits for it.
	Advance func(time.Duration)
}

// run is one run of the suite: a cluster and what is known of its shared credential at the moment.
type run struct {
	*API
	target     Target
	id, secret string // of the shared credential's current version
	issuer     string
}

// Run holds a deployment to the contract of the API. Each part leaves the cluster usable for the next one.
func Run(t *testing.T, target Target) {
	r := &run{API: &API{T: t, URL: strings.TrimSuffix(target.URL, "/"), Client: target.Client}, target: target}
	r.start()
	for _, part := range []struct {
		name string
		run  func(*run)
	}{
		{"Health", (*run).health},
		{"Discovery", (*run).discovery},
		{"Tokens", (*run).tokens},
		{"Scopes", (*run).scopes},
		{"Introspection", (*run).introspection},
		{"Credentials", (*run).credentials},
		{"PublicKey", (*run).publicKey},
		{"Window", (*run).window},
		{"ZeroWindow", (*run).zeroWindow},
		{"Emergency", (*run).emergency},
		{"LostAnswer", (*run).lostAnswer},
		{"Revocation", (*run).revocation},
		{"Peers", (*run).peers},
		{"Usage", (*run).usage},
		{"Refusals", (*run).refusals},
		{"Trail", (*run).trail},
	} {
		ok := t.Run(part.name, func(t *testing.T) {
			r.T = t
			part.run(r)
		})
		if !ok {
			t.Fatalf("%s failed: what comes after it builds on it", part.name)
		}
	}
}

// start bootstraps, once: the second time is refused.
func (r *run) start() {
	r.T.Helper()
	r.id, r.secret = r.target.ClientID, r.target.ClientSecret
	body := r.target.License
	if body == "" {
		body = "{}"
	}
	options := []Option{JSON(body)}
	if r.target.BootstrapToken != "" {
		options = append(options, Header("Keyturn-Bootstrap-Token", r.target.BootstrapToken))
	}
	if r.id == "" {
		if r.target.BootstrapToken != "" {
			r.Want(401, "POST", "/v1/bootstrap", JSON(body), Header("Keyturn-Bootstrap-Token", "not the one"))
		}
		done := r.Want(201, "POST", "/v1/bootstrap", options...)
		r.id, r.secret = done.Text("client_id"), done.Text("client_secret")
		if done.Header.Get("Cache-Control") != "no-store" {
			r.T.Error("the answer of a bootstrap can be stored by caches")
		}
	}
	if again := r.Want(409, "POST", "/v1/bootstrap", options...); again.Text("code") != "ALREADY_BOOTSTRAPPED" {
		r.T.Errorf("a second bootstrap: %s", again.Body)
	}
}

// admin returns a fresh token of the shared credential.
func (r *run) admin() string {
	r.T.Helper()
	return r.Token(r.id, r.secret)
}

// create makes a credential with scopes and returns its id and secret.
func (r *run) create(scopes ...string) (id, secret string) {
	r.T.Helper()
	made := r.Want(201, "POST", "/v1/credentials", Bearer(r.admin()), JSON(map[string]any{"name": "e2e", "scopes": scopes}))
	return made.Text("client_id"), made.Text("client_secret")
}

// pass lets time go by: at once where the clock is given, else by waiting until done, which has to come in time.
func (r *run) pass(d time.Duration, done func() bool) {
	r.T.Helper()
	if r.target.Advance != nil {
		r.target.Advance(d)
		if !done() {
			r.T.Fatalf("after %s it is still as it was", d)
		}
		return
	}
	late := time.NewTimer(d + 10*time.Second)
	defer late.Stop()
	for !done() {
		select {
		case <-late.C:
			r.T.Fatalf("%s later it is still as it was", d+10*time.Second)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
