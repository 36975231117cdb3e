package credential_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/credential"
)

func TestParseScope_EverySpellingMeansTheSame(t *testing.T) {
	t.Parallel()
	for _, s := range append(credential.KnownScopes(), "billing.read", "a.b.c.d", "x-1.y_2", credential.LedgerRead) {
		for _, prefix := range []string{"", "urn:tillered:arctic:", "urn:keyturn:"} {
			if got, err := credential.ParseScope(prefix + string(s)); err != nil || got != s {
				t.Errorf("%s%s = %q, %v", prefix, s, got, err)
			}
		}
	}
}

func TestParseScope_Refuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "peers", "Admin", "admin.", ".read", "peers.", "peers..read", "Peers.read", "peers.Read", "1peers.read", "peers.1read",
		"-a.read", "peers.-read", "_a.b", "peers read", "peers.read ", " peers.read", "peers.read\n", "peers/read", "peers:read", "a.b.c.d.e",
		"urn:keyturn:", "urn:tillered:arctic:", "urn:tillered:peers.read", "urn:keyturn:urn:keyturn:admin", "URN:keyturn:admin",
		"urn:tillered:arctic:urn:keyturn:peers.read", "urn:keyturn:urn:tillered:arctic:peers.read", "péers.read", "peers.réad", "*", "peers.*", "a.\"b",
		strings.Repeat("a", 60) + ".read", "peers.read\x00",
	} {
		if s, err := credential.ParseScope(text); !errors.Is(err, credential.ErrScopeForm) || s != "" {
			t.Errorf("%q = %q, %v", text, s, err)
		}
	}
	if _, err := credential.ParseScope(strings.Repeat("a", 59) + ".read"); err != nil {
		t.Errorf("64 characters: %v", err)
	}
}

func TestParseScope_ErrorHidesAPastedSecret(t *testing.T) {
	t.Parallel()
	_, err := credential.ParseScope(vectors[1].text)
	if err == nil || strings.Contains(err.Error(), "zzz") {
		t.Errorf("the error is %v", err)
	}
	if _, err := credential.ParseScope("Peers!"); err == nil || !strings.Contains(err.Error(), `"Peers!"`) {
		t.Errorf("the error does not name the scope: %v", err)
	}
}

func TestScopes_AdminImpliesAllButLedgerRead(t *testing.T) {
	t.Parallel()
	admin := credential.NewScopes(credential.Admin)
	for _, s := range append(credential.KnownScopes(), "billing.write") {
		if !admin.Allow(s) {
			t.Errorf("admin does not allow %s", s)
		}
		if own := credential.NewScopes(s); !own.Allow(s) || s != credential.Admin && own.Allow(credential.Admin) {
			t.Errorf("%s allows what it should not", s)
		}
	}
	if admin.Allow(credential.LedgerRead) || admin.Cover(credential.NewScopes(credential.PeersRead, credential.LedgerRead)) {
		t.Error("admin allows ledger.read")
	}
	if !credential.NewScopes(credential.LedgerRead).Allow(credential.LedgerRead) {
		t.Error("ledger.read does not allow itself")
	}
	if credential.NewScopes(credential.PeersWrite).Allow(credential.PeersRead) {
		t.Error("write implies read")
	}
	var none credential.Scopes
	if none.Allow(credential.PeersRead) || !none.Cover(nil) || none.Strings() == nil || none.String() != "" {
		t.Error("no scopes allow something, or are nil as text")
	}
}

func TestScope_ReadLooksAtTheLastWord(t *testing.T) {
	t.Parallel()
	for s, want := range map[credential.Scope]bool{
		"peers.read": true, "a.b.read": true, "admin": false, "peers.write": false, "read.write": false, "peers.reread": false, "peers.bread": false,
	} {
		if s.Read() != want {
			t.Errorf("%s reads: %v", s, s.Read())
		}
	}
}

func TestParseScopes_IsASet(t *testing.T) {
	t.Parallel()
	got, err := credential.ParseScopes([]string{"services.read", "urn:keyturn:peers.read", "peers.read", "urn:tillered:arctic:services.read"})
	want := credential.Scopes{"peers.read", "services.read"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if got, err := credential.SplitScopes("  "); err != nil || len(got) != 0 {
		t.Errorf("= %v, %v", got, err)
	}
	input := []credential.Scope{"b.b", "a.a", "a.a"}
	if got := credential.NewScopes(input...); got.String() != "a.a b.b" || input[0] != "b.b" {
		t.Errorf("= %v, and the input is %v", got, input)
	}
}

func TestParseScopes_Refuses(t *testing.T) {
	t.Parallel()
	many := make([]string, 65)
	for i := range many {
		many[i] = fmt.Sprintf("a.b%d", i)
	}
	for name, list := range map[string][]string{
		"LedgerRead": {"admin", "ledger.read"}, "LedgerReadAsURN": {"urn:keyturn:ledger.read"}, "OneBad": {"admin", "?"}, "TooMany": many,
	} {
		if got, err := credential.ParseScopes(list); !errors.Is(err, credential.ErrScopeForm) || got != nil {
			t.Errorf("%s = %v, %v", name, got, err)
		}
	}
	if got, err := credential.ParseScopes(many[:64]); err != nil || len(got) != 64 {
		t.Errorf("64 scopes: %d, %v", len(got), err)
	}
}

func scopesGen() *rapid.Generator[credential.Scopes] {
	return rapid.Custom(func(t *rapid.T) credential.Scopes {
		known := append(credential.KnownScopes(), credential.LedgerRead, "billing.read", "billing.write")
		return credential.NewScopes(rapid.SliceOfN(rapid.SampledFrom(known), 0, 5).Draw(t, "scopes")...)
	})
}

func TestScopes_CoverMeansEachIsAllowed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := scopesGen().Draw(t, "a"), scopesGen().Draw(t, "b")
		want := true
		for _, s := range b {
			holds := slices.Contains(a, s) || slices.Contains(a, credential.Admin) && s != credential.LedgerRead
			want = want && holds
		}
		if a.Cover(b) != want || !a.Cover(a) {
			t.Fatalf("%v covers %v: %v", a, b, a.Cover(b))
		}
	})
}

func FuzzParseScope(f *testing.F) {
	for _, s := range []string{"admin", "urn:keyturn:peers.read", "urn:tillered:arctic:a-1.b_2.c", "", "a.b.c.d.e", "ledger.read"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := credential.ParseScope(text)
		if err != nil {
			if !errors.Is(err, credential.ErrScopeForm) || s != "" {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if again, err := credential.ParseScope(string(s)); err != nil || again != s || !strings.HasSuffix(text, string(s)) {
			t.Fatalf("%q reads as %q, which reads as %q, %v", text, s, again, err)
		}
		if strings.ContainsFunc(string(s), func(r rune) bool { return r <= ' ' || r > '~' }) || len(s) > 64 {
			t.Fatalf("%q is a scope", s)
		}
		set, err := credential.SplitScopes(text)
		if s == credential.LedgerRead {
			if err == nil {
				t.Fatal("ledger.read is accepted")
			}
			return
		}
		if err != nil || !cmp.Equal(set, credential.Scopes{s}) {
			t.Fatalf("%q as a list is %v, %v", text, set, err)
		}
	})
}

func FuzzSplitScopes(f *testing.F) {
	f.Add("admin peers.read")
	f.Add("urn:keyturn:peers.read peers.read")
	f.Fuzz(func(t *testing.T, text string) {
		set, err := credential.SplitScopes(text)
		if err != nil {
			return
		}
		if again, err := credential.SplitScopes(set.String()); err != nil || !cmp.Equal(again, set) || !slices.IsSorted(set) {
			t.Fatalf("%q reads as %v, which reads as %v, %v", text, set, again, err)
		}
	})
}
