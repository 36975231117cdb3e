package authority_test

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
)

// subset draws scopes out of those that there are: the seven that keyturn knows, and a custom one.
func subset(rt *rapid.T, name string, least int) credential.Scopes {
	all := append(credential.KnownScopes(), "billing.read")
	return scopes(rapid.SliceOfNDistinct(rapid.SampledFrom(all), least, len(all), rapid.ID[credential.Scope]).Draw(rt, name)...)
}

// Nobody gains by writing: whatever a caller makes or gets handed never exceeds the scopes of its token.
func TestNobodyGainsByWriting(t *testing.T) {
	t.Parallel()
	w := found(t, remembering)
	laws(t, func(rt *rapid.T) {
		w.t = rt
		has := subset(rt, "has", 1)
		caller := w.create(w.root, has)
		narrowed := has
		if rapid.Bool().Draw(rt, "narrow") {
			narrowed = scopes(rapid.SliceOfNDistinct(rapid.SampledFrom(has), 1, len(has), rapid.ID[credential.Scope]).Draw(rt, "narrowed")...)
		}
		by := w.caller(caller.client, caller.secret, narrowed.String())
		targetScopes := subset(rt, "target", 1)
		target := w.create(w.root, targetScopes)
		asked := subset(rt, "asked", 0)
		before := w.head()

		var client string
		var secret credential.Secret
		var err error
		var want bool // what the rule says
		may := narrowed.Allow(credential.CredentialsWrite)
		switch what := rapid.SampledFrom([]string{"create", "rotate", "emergency", "self", "shared", "vouch", "revoke"}).Draw(rt, "what"); what {
		case "create":
			var done authority.Created
			done, err = w.a.Create(ctx, by, w.origin(by), authority.CreateRequest{Scopes: asked}, authority.Once{})
			if err == nil {
				client, secret = done.Credential.ID.String(), done.Secret
			}
			want = may && narrowed.Cover(asked)
		case "shared":
			var done authority.Rotation
			done, err = w.a.RotateShared(ctx, by, w.origin(by), authority.RotateRequest{Window: day}, authority.Once{})
			client, secret, want = done.ClientID, done.Secret, narrowed.Allow(credential.Admin)
		case "vouch":
			err = w.a.Vouch(ctx, by, w.origin(by), w.custody.LedgerKey())
			want = narrowed.Allow(credential.Admin)
		case "revoke":
			err = w.revoke(by, target.target())
			want = may
		default:
			victim, covers := target, narrowed.Cover(targetScopes)
			if what == "self" {
				victim, covers = caller, narrowed.Cover(has) // a narrowed token must not hand out the wide secret
			}
			var done authority.Rotation
			done, err = w.a.Rotate(ctx, by, w.origin(by), victim.target(), authority.RotateRequest{Emergency: what == "emergency"}, authority.Once{})
			client, secret, want = done.ClientID, done.Secret, may && covers
		}
		switch {
		case want && err != nil:
			rt.Fatalf("%v may not: %v", narrowed, err)
		case !want && (!errors.Is(err, access.ErrForbidden) || w.head() != before || !secret.IsZero()):
			rt.Fatalf("%v may: %v", narrowed, err)
		}
		if secret.IsZero() {
			return
		}
		got := w.caller(client, secret).Scopes
		if !narrowed.Cover(got) {
			rt.Fatalf("with %v it got %v", narrowed, got)
		}
	})
}

// What a caller reads takes its scope, too.
func TestReads_TakeTheirScope(t *testing.T) {
	t.Parallel()
	w := found(t, remembering)
	laws(t, func(rt *rapid.T) {
		w.t = rt
		has := subset(rt, "has", 1)
		m := w.create(w.root, has)
		by := w.caller(m.client, m.secret)
		for name, c := range map[string]struct {
			scope credential.Scope
			read  func() error
		}{
			"Find": {credential.CredentialsRead, func() error { _, err := w.a.Find(ctx, by, w.at, m.target()); return err }},
			"List": {credential.CredentialsRead, func() error { _, err := w.a.List(ctx, by, w.at, "", 1, true); return err }},
			"Audit": {credential.CredentialsRead, func() error {
				_, _, err := w.a.Audit(ctx, by, "", 1, authority.AuditFilter{})
				return err
			}},
			"Export": {credential.Admin, func() error {
				_, err := w.a.Export(ctx, by, w.at, "", 1, func(authority.Exported) bool { return true })
				return err
			}},
		} {
			err := c.read()
			if has.Allow(c.scope) != (err == nil) || err != nil && !errors.Is(err, access.ErrForbidden) {
				rt.Fatalf("%s with %v: %v", name, has, err)
			}
		}
	})
}
