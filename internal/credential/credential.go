package credential

import (
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/keyturn/keyturn/internal/id"
)

// Kind tells the shared cluster credential from all others.
type Kind string

// The kinds of credential.
const (
	Shared   Kind = "shared"
	Standard Kind = "standard"
)

// Windows and labels: what a caller may ask for.
const (
	DefaultWindow = 24 * time.Hour
	MaxWindow     = 168 * time.Hour
	maxLabels     = 16
	maxLabelLen   = 64
	maxNameLen    = 128
)

// Errors of Accept and Lookup. A RetiredError says more than ErrRefused and matches it.
var (
	// ErrRefused says that the secret does not belong to the credential, or not any more.
	ErrRefused = errors.New("client authentication failed")
	// ErrInput says that what a caller asked for is not possible; the text names what and why.
	ErrInput = errors.New("invalid request")
)

// RetiredError says that a secret was good once: when its version was retired, and which version is current.
type RetiredError struct {
	Version int
	At      time.Time
	Current int
}

// Error says when the version was retired and what to use instead.
func (e *RetiredError) Error() string {
	return fmt.Sprintf("this secret is version %d, retired on %s; version %d is current",
		e.Version, e.At.UTC().Format(time.RFC3339), e.Current)
}

// Is makes a RetiredError match ErrRefused.
func (e *RetiredError) Is(target error) bool { return target == ErrRefused }

// Credential is what the records of one client say together. Versions are in ascending order of their numbers.
type Credential struct {
	ID        id.ID
	Name      string
	Kind      Kind
	Scopes    Scopes
	LicenseID id.ID
	CreatedAt time.Time
	CreatedBy string    // a client id; "" for the credential that bootstrap made
	ExpiresAt time.Time // zero: never
	RevokedAt time.Time // zero: not revoked
	Labels    map[string]string
	Versions  []Version
}

// Current returns the version that a rotation supersedes: of those without a tombstone the one with the highest number.
// Where all are dead it is the last of them; nil when there is none. An emergency can kill a higher number than its own:
// one that another region used unheard.
func (c *Credential) Current() *Version {
	for i := len(c.Versions) - 1; i >= 0; i-- {
		if v := &c.Versions[i]; !v.Dead() {
			return v
		}
	}
	if n := len(c.Versions); n > 0 {
		return &c.Versions[n-1]
	}
	return nil
}

// Number is the highest number that any version has, dead or not; 0 when there is none. The next version gets one more.
func (c *Credential) Number() int {
	if n := len(c.Versions); n > 0 {
		return c.Versions[n-1].Number
	}
	return 0
}

// ClientID is the client id of one version: cli_<26>-<version> for the shared credential, cli_<26> for every other.
func (c *Credential) ClientID(version int) string {
	if c.Kind == Shared {
		return id.ClientID{Credential: c.ID, Version: version}.String()
	}
	return c.ID.String()
}

// Status is active, expired or revoked. A credential whose versions are all dead is revoked.
func (c *Credential) Status(at time.Time) Status {
	switch {
	case !c.RevokedAt.IsZero() || c.allDead():
		return Revoked
	case !c.ExpiresAt.IsZero() && !at.Before(c.ExpiresAt):
		return Expired
	}
	return Active
}

func (c *Credential) allDead() bool {
	for i := range c.Versions {
		if !c.Versions[i].Dead() {
			return false
		}
	}
	return true
}

// VersionStatus is current, superseded, retired or revoked.
func (c *Credential) VersionStatus(v *Version, at time.Time) Status {
	switch {
	case !c.RevokedAt.IsZero() || v.Dead():
		return Revoked
	case v.Closed(at):
		return Retired
	case !v.NotAfter.IsZero() || v.Number != c.Current().Number:
		return Superseded
	}
	return Current
}

// Superseded returns the versions that are still accepted at instant at beside the current one, newest first.
func (c *Credential) Superseded(at time.Time) []*Version {
	var list []*Version
	if c.Status(at) != Active {
		return nil
	}
	current := c.Current()
	for i := len(c.Versions) - 1; i >= 0; i-- {
		if v := &c.Versions[i]; v != current && v.Acceptable(at) {
			list = append(list, v)
		}
	}
	return list
}

// Accept says which version's secret s is at instant at. The error is ErrRefused, as a *RetiredError where s is known
// but past its window. Every stored hash is compared, each in constant time.
func (c *Credential) Accept(s Secret, at time.Time) (*Version, error) {
	hash := s.Hash()
	var found *Version
	for i := range c.Versions {
		if v := &c.Versions[i]; v.Hash != nil && v.Hash.Equal(hash) {
			found = v
		}
	}
	if c.Status(at) != Active {
		return nil, ErrRefused
	}
	if found != nil && found.Acceptable(at) {
		return found, nil
	}
	return nil, c.refusal(hash.Digest(), at)
}

// Knows reports whether it is known that s is not accepted at instant at: the whole credential is revoked or over, or s
// belongs to a version that is dead or closed. Else s may be good where more is known: records and hashes arrive one by one.
func (c *Credential) Knows(s Secret, at time.Time) bool {
	if !c.RevokedAt.IsZero() || !c.ExpiresAt.IsZero() && !at.Before(c.ExpiresAt) {
		return true
	}
	digest := s.Hash().Digest()
	for i := range c.Versions {
		if v := &c.Versions[i]; v.Digest == digest && (v.Dead() || v.Closed(at)) {
			return true
		}
	}
	return false
}

// Missing returns the version whose secret s is and that would be accepted at instant at, were its hash here; nil where there
// is none. Hashes travel beside the records, and one can be lost on the way: who has it may accept s.
func (c *Credential) Missing(s Secret, at time.Time) *Version {
	if c.Status(at) != Active {
		return nil
	}
	digest := s.Hash().Digest()
	for i := range c.Versions {
		if v := &c.Versions[i]; v.Digest == digest && v.Hash == nil && !v.Dead() && !v.Closed(at) {
			return v
		}
	}
	return nil
}

// refusal is precise only for who held the secret once: the digest proves it.
func (c *Credential) refusal(digest Digest, at time.Time) error {
	for i := range c.Versions {
		if v := &c.Versions[i]; v.Digest == digest && !v.Dead() && v.Closed(at) {
			return &RetiredError{Version: v.Number, At: v.NotAfter, Current: c.Current().Number}
		}
	}
	return ErrRefused
}

// Keys returns the versions whose public keys are accepted at instant at.
func (c *Credential) Keys(at time.Time) []*Version {
	var list []*Version
	if c.Status(at) != Active {
		return nil
	}
	for i := range c.Versions {
		if v := &c.Versions[i]; !v.Key.IsZero() && v.Acceptable(at) {
			list = append(list, v)
		}
	}
	return list
}

// TokenDead reports whether tokens of that version are refused: the credential or the version has a tombstone, or there
// never was such a version. A window that closed does not kill the tokens that were issued inside it: each carries its
// own end.
func (c *Credential) TokenDead(version int) bool {
	if !c.RevokedAt.IsZero() {
		return true
	}
	dead := true
	for i := range c.Versions {
		if v := &c.Versions[i]; v.Number == version {
			dead = dead && v.Dead()
		}
	}
	return dead
}

// Deadline is the earlier of the version's and the credential's end; zero when neither has one.
func (c *Credential) Deadline(v *Version) time.Time {
	if c.ExpiresAt.IsZero() || !v.NotAfter.IsZero() && v.NotAfter.Before(c.ExpiresAt) {
		return v.NotAfter
	}
	return c.ExpiresAt
}

// LastsAsWriter reports whether c can go on writing credentials: it may, it is not revoked and never expires, and its
// current version is accepted without a deadline. What is superseded or dated does not count.
func (c *Credential) LastsAsWriter(at time.Time) bool {
	v := c.Current()
	return c.Scopes.Allow(CredentialsWrite) && c.Status(at) == Active && c.ExpiresAt.IsZero() &&
		v != nil && v.Acceptable(at) && v.NotAfter.IsZero()
}

// CheckName returns ErrInput for a name that is too long or holds control characters.
func CheckName(name string) error { return checkText("name", name, maxNameLen) }

// CheckLabels returns ErrInput for more than 16 labels, an empty key, or a key or value that is too long or holds control
// characters.
func CheckLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return fmt.Errorf("%w: %d labels, at most %d", ErrInput, len(labels), maxLabels)
	}
	for key, value := range labels {
		if key == "" {
			return fmt.Errorf("%w: a label needs a key", ErrInput)
		}
		if err := errors.Join(checkText("label", key, maxLabelLen), checkText("label", value, maxLabelLen)); err != nil {
			return err
		}
	}
	return nil
}

// CheckReason returns ErrInput for a reason that is too long or holds control characters.
func CheckReason(reason string) error { return checkText("reason", reason, 4*maxNameLen) }

// CheckWindow returns ErrInput for a window below zero or above 168 h.
func CheckWindow(w time.Duration) error {
	if w < 0 || w > MaxWindow {
		return fmt.Errorf("%w: window_seconds must be 0 to %d (168 h)", ErrInput, int(MaxWindow/time.Second))
	}
	return nil
}

func checkText(what, s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("%w: %s is longer than %d bytes", ErrInput, what, limit)
	}
	for _, r := range s {
		// Names are printed on terminals: C1 controls steer them like escape sequences, bidi controls reorder what is read.
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == utf8.RuneError {
			return fmt.Errorf("%w: %s holds a control character or broken UTF-8", ErrInput, what)
		}
	}
	return nil
}
