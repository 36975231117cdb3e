package authority_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
)

const (
	announced = 15 * time.Minute
	lifetime  = time.Hour
)

// algs are the algorithms of the key set, in order.
func (w *world) algs() []string {
	w.t.Helper()
	c, err := w.a.Cluster(ctx)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	var list []string
	for _, k := range c.JWKS().Keys {
		list = append(list, k.Alg())
	}
	return list
}

// signs is the algorithm that a token issued now is signed with: its header says so, and it verifies.
func (w *world) signs() string {
	w.t.Helper()
	text := w.token(w.founded.Credential.ID.String(), w.founded.Secret, "")
	if _, err := w.a.Check(ctx, w.at, text, ""); err != nil {
		w.t.Errorf("its own token: %v", err)
	}
	first, _, _ := strings.Cut(text, ".")
	var header struct{ Alg string }
	raw, err := base64.RawURLEncoding.DecodeString(first)
	if err = errors.Join(err, json.Unmarshal(raw, &header)); err != nil {
		w.t.Fatalf("%v", err)
	}
	return header.Alg
}

// made counts the token keys in custody by being asked about each of them; it makes one more of each algorithm.
func (w *world) made() (n int) {
	w.t.Helper()
	for _, alg := range []string{"ES256", "EdDSA"} {
		if _, err := w.custody.NewToken(ctx, alg, func(string) bool { n++; return true }); err != nil {
			w.t.Fatalf("%v", err)
		}
	}
	return n
}

func (w *world) maintain() {
	w.t.Helper()
	for range 2 { // doing it again changes nothing
		if err := errors.Join(w.a.EnsureKeys(ctx, w.at), w.a.RetireKeys(ctx, w.at)); err != nil {
			w.t.Fatalf("keys at %s: %v", w.at.Sub(start), err)
		}
	}
}

func TestTokenKeys_ChangeOfAlgorithm(t *testing.T) {
	t.Parallel()
	w := found(t)
	w.maintain()
	if got := w.algs(); !slices.Equal(got, []string{"ES256"}) || w.signs() != "ES256" {
		t.Fatalf("%v, signs with %s", got, w.signs())
	}
	w.later(day)
	w.reopen(func(o *authority.Options) { o.TokenAlg = "EdDSA" })
	changed := w.at
	before := w.head()
	w.maintain()
	if got := w.algs(); !slices.Equal(got, []string{"ES256", "EdDSA"}) || w.head() != before+1 {
		t.Fatalf("published %v in %d records", got, w.head()-before)
	}
	var tokens []string
	for _, step := range []struct {
		after time.Duration
		signs string
	}{
		{0, "ES256"}, {announced - second, "ES256"}, {announced, "EdDSA"}, {announced + lifetime - second, "EdDSA"}, {announced + lifetime, "EdDSA"},
	} {
		w.at = changed.Add(step.after)
		w.maintain()
		if got := w.signs(); got != step.signs {
			t.Errorf("after %s it signs with %s", step.after, got)
		}
		if got := w.algs(); !slices.Equal(got, []string{"ES256", "EdDSA"}) {
			t.Errorf("after %s the set is %v", step.after, got)
		}
		tokens = append(tokens, w.token(w.founded.Credential.ID.String(), w.founded.Secret, ""))
	}
	// The last token of the old key was issued a second before the new one signed. It lives to its end.
	w.at = changed.Add(announced + lifetime - 2*second)
	if _, err := w.a.Check(ctx, w.at, tokens[1], ""); err != nil {
		t.Errorf("the last token of the old key: %v", err)
	}
	w.at = changed.Add(announced + lifetime + 2*access.Leeway)
	w.maintain()
	if got := w.algs(); !slices.Equal(got, []string{"EdDSA"}) {
		t.Errorf("the set is %v", got)
	}
	// A restart finds the key again and publishes no other.
	before = w.head()
	w.reopen()
	w.maintain()
	if w.signs() != "EdDSA" || w.head() != before {
		t.Errorf("after a restart: %s, %d records more", w.signs(), w.head()-before)
	}
}

// Back to the old algorithm while its key is still published: it signs again, with a new key, and nothing else stays.
func TestTokenKeys_ThereAndBack(t *testing.T) {
	t.Parallel()
	w := found(t)
	w.later(day)
	w.reopen(func(o *authority.Options) { o.TokenAlg = "EdDSA" })
	w.maintain()
	w.later(20 * time.Minute)
	w.reopen(func(o *authority.Options) { o.TokenAlg = "ES256" })
	w.maintain()
	w.later(announced)
	w.maintain()
	if got := w.signs(); got != "ES256" {
		t.Errorf("it signs with %s", got)
	}
	w.later(lifetime + 2*access.Leeway)
	w.maintain()
	if got := w.algs(); !slices.Equal(got, []string{"ES256"}) || w.signs() != "ES256" {
		t.Errorf("the set is %v", got)
	}
}

func TestTokenKeys_SignAtOnce(t *testing.T) {
	t.Parallel()
	w := found(t, private, func(o *authority.Options) { o.SignAtOnce = true })
	w.later(day)
	w.reopen(func(o *authority.Options) { o.TokenAlg = "EdDSA" })
	w.maintain()
	if got := w.signs(); got != "EdDSA" {
		t.Errorf("it signs with %s", got)
	}
}

func TestTokenKeys_BeforeBootstrap(t *testing.T) {
	t.Parallel()
	w := empty(t, private)
	w.maintain()
	if w.head() != 0 || w.made() != 0 {
		t.Error("it made keys for nobody")
	}
	if failed := w.a.Ready(ctx, w.at); len(failed) != 0 {
		t.Errorf("ready: %v", failed)
	}
	if err := w.a.CanIssue(ctx, w.at); !errors.Is(err, access.ErrNotBootstrapped) {
		t.Errorf("%v", err)
	}
}

// A key that was made and could not be published is the one that is published next.
func TestTokenKeys_NoneIsWasted(t *testing.T) {
	t.Parallel()
	w := found(t)
	w.reopen(func(o *authority.Options) { o.TokenAlg = "EdDSA" })
	w.over(&full{Store: w.file})
	if err := w.a.EnsureKeys(ctx, w.at); !errors.Is(err, access.ErrUnavailable) {
		t.Fatalf("= %v", err)
	}
	w.over(w.file)
	w.maintain()
	if n := w.made(); n != 2 {
		t.Errorf("%d keys", n)
	}
}

// full is a store whose appends fail, and not for a conflict.
type full struct{ authority.Store }

func (*full) Append(ctxT, authority.Batch) error { return errors.New("the disk is full") }

func TestPeerIssuer(t *testing.T) {
	t.Parallel()
	w := found(t, private, func(o *authority.Options) { o.PeerIssuer = true })
	if got := w.root.Claims.Issuer; got != w.founded.PeerID.String() {
		t.Errorf("iss is %s", got)
	}
	if !w.root.Scopes.Allow(credential.Admin) {
		t.Error("it is nobody")
	}
}
