package authority_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
)

const second = time.Second

// accepts checks which secrets get in now, beside each of the client ids.
func (w *world) accepts(want bool, s credential.Secret, clientIDs ...string) {
	w.t.Helper()
	for _, name := range clientIDs {
		_, err := w.authenticate(name, s)
		if want && err != nil || !want && !errors.Is(err, access.ErrRefused) {
			w.t.Errorf("at %s beside %s: %v, accepted has to be %t", w.at.Sub(start), name, err, want)
		}
	}
}

func TestRotate_Windows(t *testing.T) {
	t.Parallel()
	for _, window := range []time.Duration{0, second, day, credential.MaxWindow} {
		t.Run(window.String(), func(t *testing.T) {
			t.Parallel()
			w := found(t)
			bare := w.founded.Credential.ID.String()
			done := w.rotate(w.root, w.shared(), authority.RotateRequest{Window: window})
			if done.ClientID != bare+"-2" || done.Version != 2 || !done.At.Equal(start) {
				t.Fatalf("= %+v", done)
			}
			both := []string{bare, bare + "-1", bare + "-2"}
			if window > 0 {
				if len(done.Previous) != 1 || done.Previous[0].Number != 1 || !done.Previous[0].NotAfter.Equal(start.Add(window)) {
					t.Errorf("previous: %+v", done.Previous)
				}
				w.accepts(true, w.founded.Secret, both...)
				w.later(window - second)
				w.accepts(true, w.founded.Secret, both...)
				w.later(second)
			} else if len(done.Previous) != 0 {
				t.Errorf("previous: %+v", done.Previous)
			}
			w.accepts(false, w.founded.Secret, both...)
			w.accepts(true, done.Secret, both...)
			var retired *credential.RetiredError
			if _, err := w.authenticate(bare, w.founded.Secret); !errors.As(err, &retired) || *retired != (credential.RetiredError{Version: 1, At: start.Add(window), Current: 2}) {
				t.Errorf("late: %v", err)
			}
		})
	}
}

func TestRotate_AnOlderVersionKeepsItsDeadline(t *testing.T) {
	t.Parallel()
	w := found(t)
	bare := w.founded.Credential.ID.String()
	second1 := w.rotate(w.root, w.shared(), authority.RotateRequest{Window: time.Hour}) // 1 until 1 h
	w.later(time.Minute)
	third := w.rotate(w.root, w.shared(), authority.RotateRequest{Window: 168 * time.Hour}) // 2 until 168 h, 1 as before
	if got := third.Previous; len(got) != 2 || got[0].Number != 2 || got[1].Number != 1 || !got[1].NotAfter.Equal(start.Add(time.Hour)) {
		t.Errorf("previous: %+v", got)
	}
	w.later(time.Minute)
	fourth := w.rotate(w.root, w.shared(), authority.RotateRequest{}) // 3 at once, the others as before
	w.accepts(true, w.founded.Secret, bare)
	w.accepts(true, second1.Secret, bare)
	w.accepts(false, third.Secret, bare)
	w.accepts(true, fourth.Secret, bare)
	w.at = start.Add(time.Hour)
	w.accepts(false, w.founded.Secret, bare)
	w.accepts(true, second1.Secret, bare)
	w.at = start.Add(time.Minute + 168*time.Hour)
	w.accepts(false, second1.Secret, bare)
	w.accepts(true, fourth.Secret, bare)
}

// The deadline of a version stands in the record of the next one. When copies expire, none comes back to life, whatever
// windows came in which order.
func TestRotate_NothingRevivesWhenCopiesExpire(t *testing.T) {
	t.Parallel()
	for name, windows := range map[string][]time.Duration{
		"Falling": {168 * time.Hour, 24 * time.Hour, time.Hour, 0, 0}, "Rising": {0, time.Hour, 24 * time.Hour, 168 * time.Hour, 0},
		"Mixed": {168 * time.Hour, 0, 168 * time.Hour, 0, 0, time.Hour},
	} {
		for _, swept := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/Swept=%t", name, swept), func(t *testing.T) {
				t.Parallel()
				w := found(t)
				bare := w.founded.Credential.ID.String()
				secrets := []credential.Secret{w.founded.Secret}
				ends := []time.Time{}
				for _, window := range windows {
					done := w.rotate(w.root, w.shared(), authority.RotateRequest{Window: window})
					secrets, ends = append(secrets, done.Secret), append(ends, w.at.Add(window))
					w.later(time.Hour)
				}
				for range 100 {
					w.later(11 * time.Hour)
					if swept {
						if _, err := w.file.Sweep(ctx, w.at); err != nil {
							t.Fatal(err)
						}
					}
					for i, s := range secrets {
						w.accepts(i == len(secrets)-1 || w.at.Before(ends[i]), s, bare)
					}
				}
				if c := w.credential(w.founded.Credential.ID); len(c.Versions) != 1 || c.Number() != len(windows)+1 {
					t.Errorf("%d versions are left, the last is %d", len(c.Versions), c.Number())
				}
			})
		}
	}
}

// A key has no hash that could expire: only the deadline in the next version's record keeps a retired one out, so that record's
// copy has to stay as long as its own.
func TestRotate_NoKeyRevivesWhenCopiesExpire(t *testing.T) {
	t.Parallel()
	for name, windows := range map[string][]time.Duration{"Falling": {168 * time.Hour, 0, 0}, "Rising": {0, 0, 168 * time.Hour}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := found(t)
			clients := []client{newClient(t, "EdDSA")}
			var ends []time.Time
			m := w.create(w.root, nil, func(r *authority.CreateRequest) { r.Key = clients[0].public() })
			for _, window := range windows {
				next := newClient(t, "EdDSA")
				w.rotate(w.root, m.target(), authority.RotateRequest{Window: window, Key: next.public()})
				clients, ends = append(clients, next), append(ends, w.at.Add(window))
				w.later(time.Hour)
			}
			for n := range 45 {
				for i, c := range clients {
					_, err := c.login(w, m.client, fmt.Sprint(n, "-", i))
					if want := i == len(clients)-1 || w.at.Before(ends[i]); want != (err == nil) {
						t.Fatalf("after %s key %d: %v", w.at.Sub(start), i+1, err)
					}
				}
				w.later(day)
			}
		})
	}
}

func TestRotate_AStandardCredentialKeepsItsClientID(t *testing.T) {
	t.Parallel()
	w := found(t)
	m := w.create(w.root, scopes(credential.PeersRead))
	done := w.rotate(w.root, m.target(), authority.RotateRequest{Window: time.Hour})
	if done.ClientID != m.client || done.Version != 2 {
		t.Errorf("= %+v", done)
	}
	names := []string{m.client, m.client + "-1", m.client + "-2"}
	w.accepts(true, m.secret, names...)
	w.accepts(true, done.Secret, names...)
	w.accepts(false, w.founded.Secret, names...)
	w.accepts(false, done.Secret, m.client+"-3", w.founded.Credential.ID.String())
	// By the name of a version it is the same credential.
	if again := w.rotate(w.root, clientID(t, m.client+"-1"), authority.RotateRequest{}); again.Version != 3 {
		t.Errorf("by a version's name: %+v", again)
	}
}

func TestRotate_TokensOfASupersededSecretEndWithIt(t *testing.T) {
	t.Parallel()
	w := found(t)
	w.rotate(w.root, w.shared(), authority.RotateRequest{Window: 10 * time.Minute})
	client, err := w.authenticate(w.founded.Credential.ClientID(1), w.founded.Secret)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := w.a.Issue(ctx, w.at, client, access.TokenRequest{})
	if err != nil || issued.ExpiresIn != 10*time.Minute || issued.SecretVersionCurrent != 2 || !issued.SecretExpiresAt.Equal(w.at.Add(10*time.Minute)) {
		t.Errorf("= %+v, %v", issued, err)
	}
	// A token from before the rotation keeps its own end.
	w.later(59 * time.Minute)
	m := w.create(w.root, scopes(credential.PeersRead))
	w.accepts(true, m.secret, m.client)
}

func TestRotate_Refuses(t *testing.T) {
	t.Parallel()
	w := found(t)
	key := newClient(t, "EdDSA")
	secretful, keyed := w.create(w.root, nil), w.create(w.root, nil, func(r *authority.CreateRequest) { r.Key = key.public() })
	short := w.create(w.root, nil, func(r *authority.CreateRequest) { r.ExpiresIn = time.Minute })
	gone := w.create(w.root, nil)
	if err := w.a.Revoke(ctx, w.root, w.origin(w.root), gone.target()); err != nil {
		t.Fatal(err)
	}
	w.later(time.Minute)
	writer := w.create(w.root, scopes(credential.CredentialsWrite))
	weak := w.caller(writer.client, writer.secret)
	before := w.head()
	for name, c := range map[string]struct {
		by     access.Caller
		target id.ClientID
		r      authority.RotateRequest
		want   error
	}{
		"WindowTooLong":       {w.root, w.shared(), authority.RotateRequest{Window: credential.MaxWindow + second}, credential.ErrInput},
		"WindowBelowZero":     {w.root, w.shared(), authority.RotateRequest{Window: -second}, credential.ErrInput},
		"EmergencyWithWindow": {w.root, w.shared(), authority.RotateRequest{Window: second, Emergency: true}, authority.ErrInput},
		"KeyForASecret":       {w.root, secretful.target(), authority.RotateRequest{Key: newClient(t, "EdDSA").public()}, authority.ErrInput},
		"NoKeyForAKey":        {w.root, keyed.target(), authority.RotateRequest{}, authority.ErrInput},
		"TheSameKey":          {w.root, keyed.target(), authority.RotateRequest{Key: key.public()}, authority.ErrInput},
		"Expired":             {w.root, short.target(), authority.RotateRequest{}, authority.ErrInput},
		"Revoked":             {w.root, gone.target(), authority.RotateRequest{}, authority.ErrInput},
		"Unknown":             {w.root, clientID(t, "cli_00000000000000000000000000"), authority.RotateRequest{}, authority.ErrNotKnown},
		"VersionThatNeverWas": {w.root, clientID(t, secretful.client+"-2"), authority.RotateRequest{}, authority.ErrNotKnown},
		"BeyondTheCaller":     {weak, secretful.target(), authority.RotateRequest{}, access.ErrForbidden},
		"TheSharedOne":        {weak, w.shared(), authority.RotateRequest{}, access.ErrForbidden},
	} {
		if done, err := w.a.Rotate(ctx, c.by, w.origin(c.by), c.target, c.r, authority.Once{}); !errors.Is(err, c.want) || !done.Secret.IsZero() {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if w.head() != before {
		t.Error("a refusal wrote")
	}
}

func TestRotate_PublicKey(t *testing.T) {
	t.Parallel()
	w := found(t)
	first, next := newClient(t, "EdDSA"), newClient(t, "ES256")
	m := w.create(w.root, nil, func(r *authority.CreateRequest) { r.Key = first.public() })
	once := onceFor("x", "r", "1")
	r := authority.RotateRequest{Window: time.Hour, Key: next.public()}
	done, err := w.a.Rotate(ctx, w.root, w.origin(w.root), m.target(), r, once)
	if err != nil || !done.Secret.IsZero() || done.Version != 2 {
		t.Fatalf("= %+v, %v", done, err)
	}
	for i, c := range []client{first, next} {
		if got, err := c.login(w, m.client, fmt.Sprint("in", i)); err != nil || got.Version.Number != i+1 {
			t.Errorf("%d: %v", i, err)
		}
	}
	// The key is used up, but who asks again gets the answer.
	var replayed *authority.Replayed
	if _, err := w.a.Rotate(ctx, w.root, w.origin(w.root), m.target(), r, once); !errors.As(err, &replayed) {
		t.Errorf("again: %v", err)
	}
	w.later(time.Hour)
	if _, err := first.login(w, m.client, "late"); !errors.Is(err, access.ErrRefused) {
		t.Errorf("the old key after its window: %v", err)
	}
	if _, err := next.login(w, m.client, "on"); err != nil {
		t.Errorf("the new key: %v", err)
	}
}

func TestEmergency_KillsVersionsAndTokens(t *testing.T) {
	t.Parallel()
	w := found(t)
	bare := w.founded.Credential.ID.String()
	tokens := []string{w.token(bare, w.founded.Secret, "")}
	closed := w.rotate(w.root, w.shared(), authority.RotateRequest{}) // 1 is retired, its token lives on
	tokens = append(tokens, w.token(bare, closed.Secret, ""))
	open := w.rotate(w.root, w.shared(), authority.RotateRequest{Window: day}) // 2 is superseded
	tokens = append(tokens, w.token(bare, open.Secret, ""))
	by := w.caller(bare, closed.Secret)
	mine := w.create(by, scopes(credential.PeersRead)) // created by 2
	other := w.create(w.root, scopes(credential.Admin))
	grandchild := w.create(w.caller(other.client, other.secret), scopes(credential.PeersRead))
	old := w.create(by, scopes(credential.PeersRead))
	if err := w.a.Revoke(ctx, w.root, w.origin(w.root), old.target()); err != nil {
		t.Fatal(err)
	}
	done := w.rotate(w.root, w.shared(), authority.RotateRequest{Emergency: true})
	if !cmp.Equal(done.Killed, []string{bare + "-1", bare + "-2", bare + "-3"}) || len(done.Previous) != 0 {
		t.Errorf("killed %v, previous %v", done.Killed, done.Previous)
	}
	slices.Sort(done.CreatedByKilled)
	want := []string{mine.client, other.client}
	slices.Sort(want)
	if !cmp.Equal(done.CreatedByKilled, want) {
		t.Errorf("created by killed: %v, want %v without %s", done.CreatedByKilled, want, grandchild.client)
	}
	for i, text := range tokens {
		if _, err := w.a.Check(ctx, w.at, text, ""); !errors.Is(err, access.ErrToken) {
			t.Errorf("token %d: %v", i+1, err)
		}
	}
	for _, s := range []credential.Secret{w.founded.Secret, closed.Secret, open.Secret} {
		w.accepts(false, s, bare)
	}
	w.accepts(true, done.Secret, bare, bare+"-1", bare+"-4")
	// The dead stay dead when their copies, and then the emergency's own, have gone.
	next := w.rotate(w.caller(bare, done.Secret), w.shared(), authority.RotateRequest{Window: time.Hour})
	for range 5 {
		w.later(15 * day)
		if _, err := w.file.Sweep(ctx, w.at); err != nil {
			t.Fatal(err)
		}
		for _, s := range []credential.Secret{w.founded.Secret, closed.Secret, open.Secret, done.Secret} {
			w.accepts(false, s, bare)
		}
		w.accepts(true, next.Secret, bare)
	}
}

func TestEmergency_NamesVersionsOfAStandardCredential(t *testing.T) {
	t.Parallel()
	w := found(t)
	m := w.create(w.root, nil)
	w.rotate(w.root, m.target(), authority.RotateRequest{Window: day})
	done := w.rotate(w.root, m.target(), authority.RotateRequest{Emergency: true})
	if !cmp.Equal(done.Killed, []string{m.client + "-1", m.client + "-2"}) { // the bare client id names what lives
		t.Errorf("killed %v", done.Killed)
	}
	for _, name := range done.Killed {
		if err := w.a.Revoke(ctx, w.root, w.origin(w.root), clientID(t, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.accepts(true, done.Secret, m.client)
}

// However many versions are open, an emergency has a record that can be signed.
func TestEmergency_OfVeryManyVersions(t *testing.T) {
	t.Parallel()
	w := found(t, remembering)
	bare := w.founded.Credential.ID.String()
	secrets := []credential.Secret{w.founded.Secret}
	for range 270 {
		secrets = append(secrets, w.rotate(w.root, w.shared(), authority.RotateRequest{Window: credential.MaxWindow}).Secret)
	}
	w.accepts(true, secrets[0], bare)
	done := w.rotate(w.root, w.shared(), authority.RotateRequest{Emergency: true})
	if len(done.Killed) != 271 {
		t.Errorf("killed %d", len(done.Killed))
	}
	last := w.entries()[w.head()-1]
	r, err := ledger.NewVerifier(w.custody.LedgerKey()).Open(last.Data)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.Decoded().(*ledger.VersionBody).Retires); n != 256 {
		t.Errorf("its record names %d", n)
	}
	for i := 0; i < len(secrets); i += 50 {
		w.accepts(false, secrets[i], bare)
	}
	w.accepts(false, secrets[270], bare)
	w.accepts(true, done.Secret, bare)
}

func TestRotate_CurrentVersionRevoked(t *testing.T) {
	t.Parallel()
	w := found(t)
	bare := w.founded.Credential.ID.String()
	spare := w.create(w.root, scopes(credential.Admin))
	by := w.caller(spare.client, spare.secret)
	second1 := w.rotate(w.root, w.shared(), authority.RotateRequest{Window: day})
	if err := w.a.Revoke(ctx, by, w.origin(by), clientID(t, bare+"-2")); err != nil {
		t.Fatal(err)
	}
	third := w.rotate(by, w.shared(), authority.RotateRequest{Window: 168 * time.Hour})
	if third.Version != 3 || len(third.Previous) != 1 || !third.Previous[0].NotAfter.Equal(start.Add(day)) {
		t.Errorf("= %+v", third.Previous) // 1 keeps the deadline that it had
	}
	w.accepts(true, w.founded.Secret, bare)
	w.accepts(false, second1.Secret, bare)
	w.accepts(true, third.Secret, bare)
	w.later(day)
	w.accepts(false, w.founded.Secret, bare)
}
