package credential_test

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
)

var (
	now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	own = id.ID("cli_01jd6y0e00f2bvwrw0xk3y4t5z")
)

// secretOf is the same secret for the same version in all tests.
func secretOf(t testing.TB, n int) credential.Secret {
	t.Helper()
	s, err := credential.ParseSecret(vectors[n%len(vectors)].text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// version n with the secret secretOf(n), without a deadline.
func version(t testing.TB, n int) credential.Version {
	t.Helper()
	h := secretOf(t, n).Hash()
	return credential.Version{Number: n, Digest: h.Digest(), Hash: &h, CreatedAt: now}
}

func keyed(t testing.TB, n int) credential.Version {
	t.Helper()
	k, err := jwk.New(ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+n)), 32))).Public())
	if err != nil {
		t.Fatal(err)
	}
	return credential.Version{Number: n, Digest: credential.Digest("jwk:" + k.ID()), Key: k, CreatedAt: now}
}

func shared(versions ...credential.Version) *credential.Credential {
	return &credential.Credential{
		ID: own, Kind: credential.Shared, Scopes: credential.NewScopes(credential.Admin), CreatedAt: now, Versions: versions,
	}
}

// rotated has version 1 with an open window of an hour, and version 2.
func rotated(t testing.TB) *credential.Credential {
	c := shared(version(t, 1), version(t, 2))
	c.Versions[0].NotAfter = now.Add(time.Hour)
	return c
}

func TestAccept_EachVersionBySecretAlone(t *testing.T) {
	t.Parallel()
	c := rotated(t)
	for n := 1; n <= 2; n++ {
		if v, err := c.Accept(secretOf(t, n), now); err != nil || v.Number != n || v != &c.Versions[n-1] {
			t.Errorf("version %d: %v, %v", n, v, err)
		}
	}
	if v, err := c.Accept(credential.NewSecret(), now); !errors.Is(err, credential.ErrRefused) || v != nil {
		t.Errorf("a secret of nobody: %v, %v", v, err)
	}
	var none credential.Secret
	if _, err := c.Accept(none, now); !errors.Is(err, credential.ErrRefused) {
		t.Errorf("no secret: %v", err)
	}
}

func TestAccept_StrictlyBeforeNotAfter(t *testing.T) {
	t.Parallel()
	c := rotated(t)
	end := c.Versions[0].NotAfter
	for at, accepted := range map[time.Time]bool{
		end.Add(-time.Nanosecond): true, end.Add(-time.Second): true, end: false, end.Add(time.Nanosecond): false, end.Add(1000 * time.Hour): false,
		end.In(time.FixedZone("east", 7200)): false, end.Add(-time.Second).In(time.FixedZone("west", -7200)): true,
	} {
		_, err := c.Accept(secretOf(t, 1), at)
		if (err == nil) != accepted {
			t.Errorf("at %s: %v", at, err)
		}
		if c.Versions[0].Closed(at) == accepted || c.Versions[0].Acceptable(at) != accepted {
			t.Errorf("at %s the version is closed: %v", at, c.Versions[0].Closed(at))
		}
	}
}

func TestAccept_RetiredIsPreciseForWhoHeldTheSecret(t *testing.T) {
	t.Parallel()
	c := rotated(t)
	later := now.Add(2 * time.Hour)
	for _, name := range []string{"WithHash", "HashIsGone"} {
		var retired *credential.RetiredError
		_, err := c.Accept(secretOf(t, 1), later)
		want := &credential.RetiredError{Version: 1, At: now.Add(time.Hour), Current: 2}
		if !errors.As(err, &retired) || !cmp.Equal(retired, want) || !errors.Is(err, credential.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
		c.Versions[0].Hash = nil
	}
	if _, err := c.Accept(credential.NewSecret(), later); errors.As(err, new(*credential.RetiredError)) {
		t.Errorf("who never held a secret learns: %v", err)
	}
	c.Versions[0].DeadSince = later
	if _, err := c.Accept(secretOf(t, 1), later); !errors.Is(err, credential.ErrRefused) || errors.As(err, new(*credential.RetiredError)) {
		t.Errorf("a dead version says: %v", err)
	}
	text := (&credential.RetiredError{Version: 6, At: now.In(time.FixedZone("east", 3600)), Current: 7}).Error()
	if text != "this secret is version 6, retired on 2026-03-01T12:00:00Z; version 7 is current" {
		t.Error(text)
	}
}

func TestAccept_WithoutTheHashNobody(t *testing.T) {
	t.Parallel()
	c := rotated(t)
	c.Versions[1].Hash = nil
	if _, err := c.Accept(secretOf(t, 2), now); !errors.Is(err, credential.ErrRefused) || errors.As(err, new(*credential.RetiredError)) {
		t.Errorf("= %v", err)
	}
}

func TestMissing_WhatWouldBeAcceptedWithItsHash(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(c *credential.Credential)
		want   int
	}{
		"HashIsHere":       {func(*credential.Credential) {}, 0},
		"Current":          {func(c *credential.Credential) { c.Versions[1].Hash = nil }, 2},
		"AnotherSecrets":   {func(c *credential.Credential) { c.Versions[0].Hash = nil }, 0},
		"InItsWindow":      {func(c *credential.Credential) { c.Versions[1].Hash, c.Versions[1].NotAfter = nil, now.Add(time.Second) }, 2},
		"Closed":           {func(c *credential.Credential) { c.Versions[1].Hash, c.Versions[1].NotAfter = nil, now }, 0},
		"Dead":             {func(c *credential.Credential) { c.Versions[1].Hash, c.Versions[1].DeadSince = nil, now }, 0},
		"CredentialIsDead": {func(c *credential.Credential) { c.Versions[1].Hash, c.RevokedAt = nil, now }, 0},
		"CredentialIsOver": {func(c *credential.Credential) { c.Versions[1].Hash, c.ExpiresAt = nil, now }, 0},
	} {
		c := rotated(t)
		row.change(c)
		got := 0
		if v := c.Missing(secretOf(t, 2), now); v != nil {
			got = v.Number
		}
		if got != row.want {
			t.Errorf("%s: version %d, want %d", name, got, row.want)
		}
	}
}

func TestAccept_RefusesTheDeadAndTheExpired(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(c *credential.Credential){
		"Revoked":       func(c *credential.Credential) { c.RevokedAt = now.Add(-time.Hour) },
		"RevokedLater":  func(c *credential.Credential) { c.RevokedAt = now.Add(time.Hour) }, // a tombstone has no beginning
		"VersionDead":   func(c *credential.Credential) { c.Versions[1].DeadSince = now.Add(time.Hour) },
		"ExpiredNow":    func(c *credential.Credential) { c.ExpiresAt = now },
		"ExpiredBefore": func(c *credential.Credential) { c.ExpiresAt = now.Add(-time.Second) },
	} {
		c := rotated(t)
		change(c)
		if v, err := c.Accept(secretOf(t, 2), now); !errors.Is(err, credential.ErrRefused) || v != nil {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
	c := rotated(t)
	c.ExpiresAt = now.Add(time.Second)
	if _, err := c.Accept(secretOf(t, 2), now); err != nil {
		t.Errorf("a second before it expires: %v", err)
	}
}

func TestKeys_OnlyWhatIsAccepted(t *testing.T) {
	t.Parallel()
	c := shared(keyed(t, 1), keyed(t, 2), keyed(t, 3), keyed(t, 4), version(t, 5))
	c.Versions[0].NotAfter = now
	c.Versions[1].NotAfter = now.Add(time.Second)
	c.Versions[2].DeadSince = now
	if got := c.Keys(now); len(got) != 2 || got[0].Number != 2 || got[1].Number != 4 {
		t.Errorf("= %v", got)
	}
	c.RevokedAt = now
	if got := c.Keys(now); got != nil {
		t.Errorf("a revoked credential has %v", got)
	}
}

func TestStatus_OfCredentialAndVersions(t *testing.T) {
	t.Parallel()
	c := shared(version(t, 1), version(t, 2), version(t, 3), version(t, 4))
	c.Versions[0].NotAfter = now
	c.Versions[1].NotAfter = now.Add(time.Second)
	c.Versions[2].DeadSince = now
	want := []credential.Status{credential.Retired, credential.Superseded, credential.Revoked, credential.Current}
	for i, w := range want {
		if got := c.VersionStatus(&c.Versions[i], now); got != w {
			t.Errorf("version %d is %s, want %s", i+1, got, w)
		}
	}
	if list := c.Superseded(now); len(list) != 1 || list[0].Number != 2 {
		t.Errorf("superseded: %v", list)
	}
	c.ExpiresAt = now.Add(time.Second)
	if c.Status(now) != credential.Active || c.Status(c.ExpiresAt) != credential.Expired {
		t.Errorf("%s, then %s", c.Status(now), c.Status(c.ExpiresAt))
	}
	c.RevokedAt = now
	if c.Status(c.ExpiresAt) != credential.Revoked || c.VersionStatus(&c.Versions[3], now) != credential.Revoked || c.Superseded(now) != nil {
		t.Error("revoked is not the last word")
	}
	for i := range c.Versions {
		c.Versions[i].DeadSince = now
	}
	c.RevokedAt = time.Time{}
	if c.Status(now) != credential.Revoked || shared().Status(now) != credential.Revoked {
		t.Error("without a living version it is not revoked")
	}
}

// Another region used number 8 unheard, and an emergency made of version 6 killed it: 7 is what lives.
func TestCurrent_IsTheNewestThatLives(t *testing.T) {
	t.Parallel()
	c := shared(version(t, 6), version(t, 7), version(t, 8))
	c.Versions[0].DeadSince, c.Versions[2].DeadSince = now, now
	if c.Current() != &c.Versions[1] || c.Number() != 8 {
		t.Errorf("current is %d, the highest number %d", c.Current().Number, c.Number())
	}
	if got := c.VersionStatus(&c.Versions[1], now); got != credential.Current {
		t.Errorf("version 7 is %s", got)
	}
	if !c.LastsAsWriter(now) || c.Superseded(now) != nil {
		t.Errorf("it lasts: %v, superseded: %v", c.LastsAsWriter(now), c.Superseded(now))
	}
	c.Versions[1].NotAfter = now
	var retired *credential.RetiredError
	if _, err := c.Accept(secretOf(t, 7), now); !errors.As(err, &retired) || retired.Current != 7 {
		t.Errorf("the late host hears: %v", err)
	}
	c.Versions[1].DeadSince = now
	if c.Current() != &c.Versions[2] || shared().Current() != nil || shared().Number() != 0 {
		t.Error("without a living version: the last one, and none of none")
	}
}

func TestTokenDead_FollowsTombstonesOnly(t *testing.T) {
	t.Parallel()
	c := shared(version(t, 1), version(t, 2), version(t, 3))
	c.Versions[0].NotAfter = now // a closed window kills no token
	c.Versions[1].DeadSince = now
	for n, want := range map[int]bool{0: true, 1: false, 2: true, 3: false, 4: true, -1: true} {
		if c.TokenDead(n) != want {
			t.Errorf("tokens of version %d dead: %v", n, !want)
		}
	}
	c.ExpiresAt = now.Add(-time.Hour) // tokens carry their own end
	if c.TokenDead(3) {
		t.Error("an expired credential kills tokens")
	}
	c.RevokedAt = now
	for n := range 5 {
		if !c.TokenDead(n) {
			t.Errorf("tokens of version %d of a revoked credential live", n)
		}
	}
}

func TestTokenDead_OfANumberThatTwoRegionsUsed(t *testing.T) {
	t.Parallel()
	c := shared(version(t, 1), version(t, 1))
	c.Versions[0].DeadSince = now
	if c.TokenDead(1) {
		t.Error("the tokens of the living one are dead")
	}
	c.Versions[1].DeadSince = now
	if !c.TokenDead(1) {
		t.Error("the tokens of two dead ones live")
	}
}

func TestDeadline_TheEarlierOfBoth(t *testing.T) {
	t.Parallel()
	early, late := now.Add(time.Hour), now.Add(2*time.Hour)
	for _, row := range []struct{ version, whole, want time.Time }{
		{time.Time{}, time.Time{}, time.Time{}},
		{early, time.Time{}, early},
		{time.Time{}, early, early},
		{early, late, early},
		{late, early, early},
		{early, early, early},
	} {
		c := shared(credential.Version{NotAfter: row.version})
		c.ExpiresAt = row.whole
		if got := c.Deadline(&c.Versions[0]); !got.Equal(row.want) {
			t.Errorf("%s and %s: %s", row.version, row.whole, got)
		}
	}
}

func TestLastsAsWriter_OnlyWhatNeitherEndsNorIsSuperseded(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(c *credential.Credential)
		want   bool
	}{
		"AsItIs":           {func(*credential.Credential) {}, true},
		"CredentialsWrite": {func(c *credential.Credential) { c.Scopes = credential.NewScopes(credential.CredentialsWrite) }, true},
		"CannotWrite":      {func(c *credential.Credential) { c.Scopes = credential.NewScopes(credential.CredentialsRead) }, false},
		"Dated":            {func(c *credential.Credential) { c.ExpiresAt = now.Add(1000 * time.Hour) }, false},
		"Revoked":          {func(c *credential.Credential) { c.RevokedAt = now }, false},
		"CurrentDead":      {func(c *credential.Credential) { c.Versions[1].DeadSince = now }, false},
		"CurrentDated":     {func(c *credential.Credential) { c.Versions[1].NotAfter = now.Add(time.Hour) }, false},
		"HashGone":         {func(c *credential.Credential) { c.Versions[1].Hash = nil }, false},
		"NoVersions":       {func(c *credential.Credential) { c.Versions = nil }, false},
		"Keyed":            {func(c *credential.Credential) { c.Versions[1].Hash, c.Versions[1].Key = nil, keyed(t, 2).Key }, true},
	} {
		c := rotated(t)
		row.change(c)
		if got := c.LastsAsWriter(now); got != row.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestClientID_OfTheSharedCredentialNamesTheVersion(t *testing.T) {
	t.Parallel()
	c := shared(version(t, 7))
	if got := c.ClientID(7); got != own.String()+"-7" {
		t.Error(got)
	}
	c.Kind = credential.Standard
	if got := c.ClientID(7); got != own.String() {
		t.Error(got)
	}
}

func TestChecks_Bounds(t *testing.T) {
	t.Parallel()
	labels := map[string]string{}
	for i := range 16 {
		labels[strings.Repeat("k", i+1)] = "v"
	}
	for name, err := range map[string]error{
		"WindowZero": credential.CheckWindow(0), "WindowMost": credential.CheckWindow(168 * time.Hour), "NameEmpty": credential.CheckName(""),
		"NameLongest": credential.CheckName(strings.Repeat("a", 128)), "NameNonASCII": credential.CheckName("Zürich 東京 👩‍💻"), "NoLabels": credential.CheckLabels(nil),
		"SixteenLabels": credential.CheckLabels(labels), "EmptyValue": credential.CheckLabels(map[string]string{"a": ""}),
		"LongestLabel": credential.CheckLabels(map[string]string{strings.Repeat("a", 64): strings.Repeat("b", 64)}), "Reason": credential.CheckReason(strings.Repeat("r", 512)),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	labels["more"] = ""
	for name, err := range map[string]error{
		"WindowBelow": credential.CheckWindow(-1), "WindowAbove": credential.CheckWindow(168*time.Hour + 1), "NameLong": credential.CheckName(strings.Repeat("a", 129)),
		"NewLine": credential.CheckName("a\nb"), "Escape": credential.CheckName("\x1b[2J"), "Delete": credential.CheckName("\x7f"), "C1": credential.CheckName("\u009b2J"),
		"Bidi": credential.CheckName("a\u202eb"), "Isolate": credential.CheckReason("\u2066"), "BrokenUTF8": credential.CheckName("\xff"), "ReasonLong": credential.CheckReason(strings.Repeat("r", 513)),
		"SeventeenLabels": credential.CheckLabels(labels), "EmptyKey": credential.CheckLabels(map[string]string{"": "a"}), "ControlInValue": credential.CheckLabels(map[string]string{"a": "\t"}),
		"ControlInKey": credential.CheckLabels(map[string]string{"\t": "a"}), "LongKey": credential.CheckLabels(map[string]string{strings.Repeat("a", 65): ""}), "LongValue": credential.CheckLabels(map[string]string{"a": strings.Repeat("b", 65)}),
	} {
		if !errors.Is(err, credential.ErrInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What Accept says agrees with Status, VersionStatus and TokenDead at every instant.
func TestAccept_AgreesWithTheStatuses(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		instant := rapid.Custom(func(rt *rapid.T) time.Time {
			if n := rapid.IntRange(0, 6).Draw(rt, "t"); n > 0 {
				return now.Add(time.Duration(n) * time.Second)
			}
			return time.Time{}
		})
		c := shared(version(t, 1), version(t, 2), version(t, 3))
		c.RevokedAt, c.ExpiresAt = instant.Draw(rt, "revoked"), instant.Draw(rt, "expires")
		for i := range c.Versions {
			v := &c.Versions[i]
			v.NotAfter, v.DeadSince = instant.Draw(rt, "not_after"), instant.Draw(rt, "dead")
			if rapid.Bool().Draw(rt, "gone") {
				v.Hash = nil
			}
		}
		at := now.Add(time.Duration(rapid.IntRange(0, 7).Draw(rt, "at")) * time.Second)
		for i := range c.Versions {
			v := &c.Versions[i]
			status := c.VersionStatus(v, at)
			_, err := c.Accept(secretOf(t, v.Number), at)
			want := c.Status(at) == credential.Active && (status == credential.Current || status == credential.Superseded) && v.Hash != nil
			if (err == nil) != want {
				rt.Fatalf("version %d is %s: %v", v.Number, status, err)
			}
			if err == nil && c.TokenDead(v.Number) {
				rt.Fatalf("version %d is accepted and its tokens are dead", v.Number)
			}
		}
	})
}
