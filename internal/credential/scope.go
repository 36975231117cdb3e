package credential

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Scope is one permission in its short form, such as "peers.read".
type Scope string

// The scopes that keyturn itself knows. A deployment adds its own of the same form ("billing.read").
const (
	Admin            Scope = "admin" // implies every scope but LedgerRead
	PeersRead        Scope = "peers.read"
	PeersWrite       Scope = "peers.write"
	ServicesRead     Scope = "services.read"
	ServicesWrite    Scope = "services.write"
	CredentialsRead  Scope = "credentials.read"
	CredentialsWrite Scope = "credentials.write"
	LedgerRead       Scope = "ledger.read" // for peers only: no credential can have it
)

// Limits of what a caller may ask for.
const (
	maxScopes   = 64
	maxScopeLen = 64
)

// ErrScopeForm says that a text is not a scope.
var ErrScopeForm = errors.New("malformed scope")

// KnownScopes returns the scopes that a credential can have and that keyturn checks itself.
func KnownScopes() []Scope {
	return []Scope{Admin, PeersRead, PeersWrite, ServicesRead, ServicesWrite, CredentialsRead, CredentialsWrite}
}

// ParseScope reads one scope in any of its spellings: short, "urn:keyturn:…" or "urn:tillered:arctic:…". It returns the
// short form, or ErrScopeForm.
func ParseScope(text string) (Scope, error) {
	short := strings.TrimPrefix(text, "urn:tillered:arctic:")
	if short == text {
		short = strings.TrimPrefix(text, "urn:keyturn:")
	}
	if short != string(Admin) && !wellFormed(short) {
		return "", fmt.Errorf("%w: %s: want admin, or words joined by dots such as peers.read", ErrScopeForm, quote(text))
	}
	return Scope(short), nil
}

// quote prints input for an error. Somebody who pastes a secret where a scope belongs must not find it in a log.
func quote(text string) string {
	if strings.Contains(text, secretPrefix) {
		return "what looks like a secret"
	}
	return fmt.Sprintf("%.64q", text)
}

// wellFormed: two to four words of lower-case letters, digits, "-" and "_", each starting with a letter.
func wellFormed(s string) bool {
	words := strings.Split(s, ".")
	if len(s) > maxScopeLen || len(words) < 2 || len(words) > 4 {
		return false
	}
	for _, w := range words {
		if w == "" || w[0] < 'a' || w[0] > 'z' {
			return false
		}
		for i := range len(w) {
			if c := w[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// Read reports whether s only reads: its last word is "read".
func (s Scope) Read() bool { return strings.HasSuffix(string(s), ".read") }

// Scopes is a set: sorted, without doubles. Make one with NewScopes or ParseScopes.
type Scopes []Scope

// NewScopes makes a set of scopes that are in their short form already.
func NewScopes(list ...Scope) Scopes {
	set := slices.Clone(list)
	slices.Sort(set)
	return slices.Compact(set)
}

// ParseScopes reads a list of scopes in any spelling. It returns ErrScopeForm for a scope that is malformed, for more
// than 64 of them, and for ledger.read, which only peers get.
func ParseScopes(list []string) (Scopes, error) {
	if len(list) > maxScopes {
		return nil, fmt.Errorf("%w: %d scopes, at most %d", ErrScopeForm, len(list), maxScopes)
	}
	set := make(Scopes, 0, len(list))
	for _, text := range list {
		s, err := ParseScope(text)
		if err != nil {
			return nil, err
		}
		if s == LedgerRead {
			return nil, fmt.Errorf("%w: ledger.read is for peers only", ErrScopeForm)
		}
		set = append(set, s)
	}
	return NewScopes(set...), nil
}

// SplitScopes reads the space-separated form of RFC 6749 §3.3. An empty text is the empty set.
func SplitScopes(text string) (Scopes, error) { return ParseScopes(strings.Fields(text)) }

// Allow reports whether the set grants s: it holds s, or admin (which implies all but ledger.read).
func (set Scopes) Allow(s Scope) bool {
	return slices.Contains(set, s) || s != LedgerRead && slices.Contains(set, Admin)
}

// Cover reports whether the set grants every scope of other.
func (set Scopes) Cover(other Scopes) bool {
	for _, s := range other {
		if !set.Allow(s) {
			return false
		}
	}
	return true
}

// String is the space-separated form of RFC 6749 §3.3.
func (set Scopes) String() string { return strings.Join(set.Strings(), " ") }

// Strings returns the scopes as text, never nil.
func (set Scopes) Strings() []string {
	list := make([]string, len(set))
	for i, s := range set {
		list[i] = string(s)
	}
	return list
}
