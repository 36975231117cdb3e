package access_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/testkey"
	"github.com/keyturn/keyturn/internal/token"
)

func TestAuthenticate_AnyClientIDOfTheCredential(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, clientID := range []string{"", "-1", "-2", "-3"} {
		for version := 2; version <= 3; version++ {
			c, err := w.Authenticate(context.Background(), now, w.proof(sharedI.String()+clientID, sharedI, version))
			if err != nil || c.Version.Number != version || c.Credential.ID != sharedI || c.ClientID() != fmt.Sprintf("%s-%d", sharedI, version) {
				t.Errorf("%q with the secret of version %d: %v", clientID, version, err)
			}
		}
	}
	for _, clientID := range []string{"", "-1"} {
		c, err := w.Authenticate(context.Background(), now, w.proof(readerI.String()+clientID, readerI, 1))
		if err != nil || c.ClientID() != readerI.String() {
			t.Errorf("standard %q: %v", clientID, err)
		}
	}
}

func TestAuthenticate_RefusesTheWrongFormBeforeItReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := w.proof(sharedI.String(), sharedI, 3)
	for name, p := range map[string]access.Proof{
		"Nothing": {}, "NoSecret": {ClientID: good.ClientID}, "NoClientID": {Secret: good.Secret}, "PeerID": {ClientID: peerI.String(), Secret: good.Secret},
		"ClusterID": {ClientID: cluster.String(), Secret: good.Secret}, "UpperCase": {ClientID: strings.ToUpper(good.ClientID), Secret: good.Secret},
		"Version0": {ClientID: good.ClientID + "-0", Secret: good.Secret}, "Version03": {ClientID: good.ClientID + "-03", Secret: good.Secret},
		"VersionHuge": {ClientID: good.ClientID + "-9999999999", Secret: good.Secret}, "TrailingDash": {ClientID: good.ClientID + "-", Secret: good.Secret},
		"Space": {ClientID: good.ClientID, Secret: good.Secret + " "}, "CutSecret": {ClientID: good.ClientID, Secret: good.Secret[:52]},
		"Typo": {ClientID: good.ClientID, Secret: good.Secret[:20] + "-" + good.Secret[21:]}, "Password": {ClientID: good.ClientID, Secret: "hunter2"},
		"Swapped": {ClientID: good.Secret, Secret: good.ClientID}, "NoJWT": {Assertion: "x"}, "AssertionOfNobody": {Assertion: "e30.e30.e30"},
		"LongAssertion": {Assertion: strings.Repeat("a", 1<<20)}, "AssertionForAnother": {ClientID: readerI.String(), Assertion: w.assert(nil)},
		"AssertionWithALineEnd": {Assertion: w.assert(nil) + "\n"},
	} {
		w.reads = 0
		if _, err := w.Authenticate(context.Background(), now, p); !errors.Is(err, access.ErrRefused) || w.reads != 0 {
			t.Errorf("%s: %v after %d reads", name, err, w.reads)
		}
	}
}

func TestAuthenticate_RefusesWhoIsNot(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]func(w *world) access.Proof{
		"AnotherSecret": func(w *world) access.Proof {
			return access.Proof{ClientID: sharedI.String(), Secret: credential.NewSecret().Reveal()}
		},
		"SecretOfAnother":     func(w *world) access.Proof { return w.proof(sharedI.String(), readerI, 1) },
		"UnknownCredential":   func(w *world) access.Proof { return w.proof("cli_01jd6y0e00f2bvwrw0xk3y4t7z", sharedI, 3) },
		"VersionThatNeverWas": func(w *world) access.Proof { return w.proof(sharedI.String()+"-4", sharedI, 3) },
		"Retired":             func(w *world) access.Proof { return w.proof(sharedI.String()+"-1", sharedI, 1) },
		"DeadVersion": func(w *world) access.Proof {
			w.credentials[sharedI].Versions[1].DeadSince = now
			return w.proof(sharedI.String(), sharedI, 2)
		},
		"DeadCredential": func(w *world) access.Proof {
			w.credentials[sharedI].RevokedAt = now
			return w.proof(sharedI.String(), sharedI, 3)
		},
		"Expired": func(w *world) access.Proof {
			w.credentials[sharedI].ExpiresAt = now
			return w.proof(sharedI.String(), sharedI, 3)
		},
		"HashGone": func(w *world) access.Proof {
			w.credentials[sharedI].Versions[2].Hash = nil
			return w.proof(sharedI.String(), sharedI, 3)
		},
		"SecretForAKeyedClient": func(w *world) access.Proof { return w.proof(keyedI.String(), sharedI, 3) },
	} {
		w := newWorld(t)
		c, err := w.Authenticate(context.Background(), now, row(w))
		if !errors.Is(err, access.ErrRefused) || !errors.Is(err, credential.ErrRefused) || errors.Is(err, access.ErrUnavailable) || c.Credential != nil {
			t.Errorf("%s: %v", name, err)
		}
		var retired *credential.RetiredError
		if precise := errors.As(err, &retired); precise != (name == "Retired") || precise && (retired.Version != 1 || retired.Current != 3) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAuthenticate_PassesOnWhatTheViewSays(t *testing.T) {
	t.Parallel()
	for _, want := range []error{access.ErrUnavailable, access.ErrNotBootstrapped, errBroken} {
		w := newWorld(t)
		w.fails = want
		for name, p := range map[string]access.Proof{"Secret": w.proof(sharedI.String(), sharedI, 3), "Assertion": {Assertion: w.assert(nil)}} {
			if _, err := w.Authenticate(context.Background(), now, p); !errors.Is(err, want) || errors.Is(err, access.ErrRefused) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
	}
}

func TestAuthenticate_WithAClockThatIsBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.behind = true
	if _, err := w.Authenticate(context.Background(), now, w.proof(sharedI.String(), sharedI, 3)); err != nil {
		t.Errorf("the current secret: %v", err)
	}
	if _, err := w.Authenticate(context.Background(), now, w.proof(sharedI.String(), sharedI, 2)); !errors.Is(err, access.ErrUnavailable) || errors.Is(err, access.ErrRefused) {
		t.Errorf("a superseded secret: %v", err)
	}
	if _, err := w.Authenticate(context.Background(), now, w.proof(sharedI.String(), sharedI, 1)); !errors.Is(err, access.ErrRefused) {
		t.Errorf("a retired secret: %v", err)
	}
	w.credentials[keyedI].Versions[0].NotAfter = now.Add(time.Hour)
	p := access.Proof{Assertion: w.assert(nil)}
	if _, err := w.Authenticate(context.Background(), now, p); !errors.Is(err, access.ErrUnavailable) {
		t.Errorf("a superseded key: %v", err)
	}
	w.behind = false
	if _, err := w.Authenticate(context.Background(), now, p); err != nil {
		t.Errorf("the same assertion when the clock is right: %v", err)
	}
}

func TestProof_PrintsNoSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.proof(sharedI.String(), sharedI, 3)
	p.Assertion = "e30.SECRET"
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	printed := string(b)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		printed += fmt.Sprintf(verb, p) + fmt.Sprintf(verb, &p)
	}
	if strings.Contains(printed, p.Secret[4:20]) || strings.Contains(printed, fmt.Sprintf("%x", p.Secret[4:20])) || strings.Contains(printed, "e30") {
		t.Error(printed)
	}
}

// assert signs an assertion of the keyed client.
func (w *world) assert(change func(a *token.Assertion)) string {
	w.t.Helper()
	a := token.Assertion{
		Issuer: keyedI.String(), Subject: keyedI.String(), Audience: issuer, IssuedAt: token.NumericDate(now.Unix()),
		ExpiresAt: token.NumericDate(now.Unix() + 300), ID: "one",
	}
	if change != nil {
		change(&a)
	}
	text, err := w.client.SignAssertion(a)
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

func TestAssertion_Rules(t *testing.T) {
	t.Parallel()
	type A = token.Assertion
	n := token.NumericDate(now.Unix())
	for name, row := range map[string]struct {
		change   func(a *A)
		accepted bool
	}{
		"Good":              {nil, true},
		"TokenEndpoint":     {func(a *A) { a.Audience = issuer + "/v1/oauth/token" }, true},
		"VersionedID":       {func(a *A) { a.Issuer, a.Subject = keyedI.String()+"-1", keyedI.String()+"-1" }, true},
		"NeverSeenID":       {func(a *A) { a.Issuer, a.Subject = keyedI.String()+"-2", keyedI.String()+"-2" }, false},
		"OtherAudience":     {func(a *A) { a.Audience = "https://b.example" }, false},
		"NoAudience":        {func(a *A) { a.Audience = "" }, false},
		"AudienceWithSlash": {func(a *A) { a.Audience = issuer + "/" }, false},
		"AudiencePath":      {func(a *A) { a.Audience = issuer + "/v1/oauth/introspect" }, false},
		"IssuerIsAnother":   {func(a *A) { a.Issuer = readerI.String() }, false},
		"NoIssuer":          {func(a *A) { a.Issuer = "" }, false},
		"SubjectIsAnother":  {func(a *A) { a.Issuer, a.Subject = readerI.String(), readerI.String() }, false},
		"FiveMinutes":       {func(a *A) { a.ExpiresAt = a.IssuedAt + 300 }, true},
		"Longer":            {func(a *A) { a.ExpiresAt = a.IssuedAt + 301 }, false},
		"LongerInThePast":   {func(a *A) { a.IssuedAt = n - 300; a.ExpiresAt = n + 1 }, false},
		"ClientAhead":       {func(a *A) { a.IssuedAt = n + 30; a.ExpiresAt = n + 330 }, true},
		"FromTheFuture":     {func(a *A) { a.IssuedAt = n + 31; a.ExpiresAt = n + 60 }, false},
		"NoIssuedAt":        {func(a *A) { a.IssuedAt = 0 }, true},
		"NoIssuedAtAhead":   {func(a *A) { a.IssuedAt = 0; a.ExpiresAt = n + 330 }, true},
		"NoIssuedAtLonger":  {func(a *A) { a.IssuedAt = 0; a.ExpiresAt = n + 331 }, false},
		"NoExpiry":          {func(a *A) { a.ExpiresAt = 0 }, false},
		"JustExpired":       {func(a *A) { a.IssuedAt = n - 200; a.ExpiresAt = n - 29 }, true}, // the leeway
		"Expired":           {func(a *A) { a.IssuedAt = n - 200; a.ExpiresAt = n - 30 }, false},
		"NotBeforeAhead":    {func(a *A) { a.NotBefore = n + 30 }, true},
		"NotYet":            {func(a *A) { a.NotBefore = n + 31 }, false},
		"NoID":              {func(a *A) { a.ID = "" }, false},
		"LongID":            {func(a *A) { a.ID = strings.Repeat("j", 257) }, false},
		"LongestID":         {func(a *A) { a.ID = strings.Repeat("j", 256) }, true},
	} {
		w := newWorld(t)
		c, err := w.Authenticate(context.Background(), now, access.Proof{Assertion: w.assert(row.change)})
		if (err == nil) != row.accepted || err != nil && !errors.Is(err, access.ErrRefused) || err == nil && (c.Version.Number != 1 || c.Credential.ID != keyedI) {
			t.Errorf("%s: %v", name, err)
		}
		if claims := len(w.claimed); (claims == 1) != row.accepted {
			t.Errorf("%s: %d claims", name, claims)
		}
	}
}

func TestAssertion_IsUsedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	text := w.assert(nil)
	if _, err := w.Authenticate(context.Background(), now, access.Proof{ClientID: keyedI.String(), Assertion: text}); err != nil {
		t.Fatal(err)
	}
	// Not again while the leeway could make it good, under the same id in another assertion, or under another client id.
	again := map[string]string{
		"Same": text, "OtherAssertion": w.assert(func(a *token.Assertion) { a.ExpiresAt-- }),
		"OtherClientID": w.assert(func(a *token.Assertion) { a.Issuer, a.Subject = keyedI.String()+"-1", keyedI.String()+"-1" }),
	}
	for name, text := range again {
		for _, later := range []time.Duration{0, 300 * time.Second, 329 * time.Second, 330 * time.Second, time.Hour} {
			if _, err := w.Authenticate(context.Background(), now.Add(later), access.Proof{Assertion: text}); !errors.Is(err, access.ErrRefused) {
				t.Errorf("%s after %s: %v", name, later, err)
			}
		}
	}
	if _, err := w.Authenticate(context.Background(), now, access.Proof{Assertion: w.assert(func(a *token.Assertion) { a.ID = "two" })}); err != nil {
		t.Errorf("another id: %v", err)
	}
	for key := range w.claimed {
		if strings.Contains(key, "one") || strings.Contains(key, "two") || !strings.HasPrefix(key, "jti:") || len(key) != 47 {
			t.Errorf("claimed %q", key)
		}
	}
}

func TestAssertion_OfAKeyThatIsNotAccepted(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(w *world){
		"AnotherKey":     func(w *world) { w.client = signer(t, testkey.Ed25519("another")) },
		"Retired":        func(w *world) { w.credentials[keyedI].Versions[0].NotAfter = now },
		"Dead":           func(w *world) { w.credentials[keyedI].Versions[0].DeadSince = now },
		"DeadCredential": func(w *world) { w.credentials[keyedI].RevokedAt = now },
		"Expired":        func(w *world) { w.credentials[keyedI].ExpiresAt = now },
		"NoKeys":         func(w *world) { w.credentials[keyedI] = w.credentials[readerI] },
		"Unknown":        func(w *world) { delete(w.credentials, keyedI) },
		"ClusterKey":     func(w *world) { w.client = w.signer },
	} {
		w := newWorld(t)
		change(w)
		if _, err := w.Authenticate(context.Background(), now, access.Proof{Assertion: w.assert(nil)}); !errors.Is(err, access.ErrRefused) || len(w.claimed) != 0 {
			t.Errorf("%s: %v, %d claims", name, err, len(w.claimed))
		}
	}
}

func TestAssertion_AnAccessTokenIsNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, err := w.Authenticate(context.Background(), now, access.Proof{Assertion: w.assert(nil)})
	if err != nil {
		t.Fatal(err)
	}
	text := w.issue(c, access.TokenRequest{}).AccessToken
	forged, err := w.client.Sign(token.Claims{Issuer: keyedI.String(), Subject: keyedI.String(), Audience: token.Audience{issuer}, ExpiresAt: now.Unix() + 60, ID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{text, forged} {
		if _, err := w.Authenticate(context.Background(), now, access.Proof{Assertion: bad}); !errors.Is(err, access.ErrRefused) {
			t.Errorf("= %v", err)
		}
	}
}

func TestAssertion_NeedsSomebodyToClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := access.NewGate(w, access.Options{}).Authenticate(context.Background(), now, access.Proof{Assertion: w.assert(nil)}); !errors.Is(err, access.ErrRefused) || w.reads != 0 {
		t.Errorf("without Claim: %v", err)
	}
	broken := access.NewGate(w, access.Options{Claim: func(context.Context, string, time.Time, time.Time) (bool, error) { return true, errBroken }})
	if _, err := broken.Authenticate(context.Background(), now, access.Proof{Assertion: w.assert(nil)}); !errors.Is(err, errBroken) {
		t.Errorf("a claim that failed: %v", err)
	}
}
