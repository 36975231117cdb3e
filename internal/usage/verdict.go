package usage

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Verdict says whether a superseded version can be closed now.
type Verdict struct {
	Safe         bool     // nobody who is known to use it would be locked out, and nobody is unknown
	WouldLockOut []string // by name and address
	Unknown      []string // peers that have not told, and whoever came before there were notes
	Text         string   // for people
}

// finding is what a verdict is made of.
type finding struct {
	locked, gone []Sighting
	silent       []Reporter
	since        time.Time // when the notes begin; zero: they are whole
	blind        bool      // that is too late to tell who needs the version
}

func newVerdict(f finding) *Verdict {
	v := &Verdict{WouldLockOut: places(f.locked), Unknown: []string{}}
	for _, r := range f.silent {
		v.Unknown = append(v.Unknown, r.Name)
	}
	v.Text = f.text(v)
	if f.blind {
		v.Unknown = append(v.Unknown, "whoever used it before "+f.since.Format(time.RFC3339))
	}
	v.Safe = len(v.WouldLockOut) == 0 && len(v.Unknown) == 0
	return v
}

func places(list []Sighting) []string {
	names := []string{}
	for _, s := range list {
		names = append(names, s.Place())
	}
	slices.Sort(names)
	return names
}

// Place names who used a secret: the reporter, and the address there.
func (s Sighting) Place() string {
	if s.Source == "" {
		return s.Name
	}
	return fmt.Sprintf("%s (%s)", s.Name, s.Source)
}

func (f finding) text(v *Verdict) string {
	var parts []string
	if n := len(v.WouldLockOut); n > 0 {
		parts = append(parts, fmt.Sprintf("would lock out %d: %s", n, list(v.WouldLockOut)))
	}
	if n := len(v.Unknown); n > 0 {
		word := "peers have"
		if n == 1 {
			word = "peer has"
		}
		parts = append(parts, fmt.Sprintf("%d %s not reported: %s", n, word, list(v.Unknown)))
	}
	since := f.since.Format(time.RFC3339)
	switch {
	case f.blind:
		parts = append(parts, fmt.Sprintf("unknown who used it before %s: the notes of before are gone", since))
	case parts == nil && !f.since.IsZero():
		parts = append(parts, fmt.Sprintf("safe to close: nobody who was seen since %s, when the notes begin, needs it", since))
	case parts == nil:
		parts = append(parts, "safe to close: nobody who was seen in 30 days needs it")
	}
	if len(f.gone) > 0 {
		parts = append(parts, "it was used last at hosts that are removed: "+list(places(f.gone)))
	}
	return strings.Join(parts, "; ")
}

// list joins names; of many it shows the first ones.
func list(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
