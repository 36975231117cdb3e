package usage

import (
	"fmt"
	"slices"
	"strings"
)

// Verdict says whether a superseded version can be closed now.
type Verdict struct {
	Safe         bool     // nobody who is known to use it would be locked out, and nobody is unknown
	WouldLockOut []string // by name and address
	Unknown      []string // peers that have not told
	Text         string   // for people
}

func newVerdict(locked []Sighting, unknown []Reporter) *Verdict {
	v := &Verdict{WouldLockOut: []string{}, Unknown: []string{}}
	for _, s := range locked {
		v.WouldLockOut = append(v.WouldLockOut, s.Place())
	}
	slices.Sort(v.WouldLockOut)
	for _, r := range unknown {
		v.Unknown = append(v.Unknown, r.Name)
	}
	v.Safe = len(v.WouldLockOut) == 0 && len(v.Unknown) == 0
	v.Text = v.text()
	return v
}

// Place names who used a secret: the reporter, and the address there.
func (s Sighting) Place() string {
	if s.Source == "" {
		return s.Name
	}
	return fmt.Sprintf("%s (%s)", s.Name, s.Source)
}

func (v *Verdict) text() string {
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
	if parts == nil {
		return "safe to close: nobody who was seen in 30 days needs it"
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
