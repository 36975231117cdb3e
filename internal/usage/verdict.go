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
	Unknown      []string // peers that have not told, places that are not settled, and whoever came before there were notes
	Text         string   // for people
}

// finding is what a verdict is made of.
type finding struct {
	locked, gone []Sighting
	unsettled    []Unsettled
	at           time.Time
	silent       []Reporter
	since        time.Time // when the notes begin; zero: they are whole
	blind        bool      // that is too late to tell who needs the version
}

func newVerdict(f finding) *Verdict {
	v := &Verdict{WouldLockOut: places(f.locked), Unknown: names(f.silent)}
	for _, u := range f.unsettled {
		v.Unknown = append(v.Unknown, u.Place())
	}
	if f.blind {
		v.Unknown = append(v.Unknown, "whoever used it before "+f.since.Format(time.RFC3339))
	}
	v.Safe = len(v.WouldLockOut) == 0 && len(v.Unknown) == 0
	v.Text = f.text()
	return v
}

func names(silent []Reporter) []string {
	names := []string{}
	for _, r := range silent {
		names = append(names, r.Name)
	}
	return names
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

func (f finding) text() string {
	var parts []string
	if n := len(f.locked); n > 0 {
		parts = append(parts, fmt.Sprintf("would lock out %d: %s", n, list(places(f.locked))))
	}
	if n := len(f.unsettled); n > 0 {
		parts = append(parts, fmt.Sprintf("not certain yet of %d where a newer one was used since: %s", n, list(waits(f.unsettled, f.at))))
	}
	if n := len(f.silent); n > 0 {
		word := "peers have"
		if n == 1 {
			word = "peer has"
		}
		parts = append(parts, fmt.Sprintf("%d %s not reported: %s", n, word, list(names(f.silent))))
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

// waits says for each place when this version was used there last, and how long it takes until more is known.
func waits(unsettled []Unsettled, at time.Time) []string {
	var texts []string
	for _, u := range unsettled {
		until := u.Until.Format(time.RFC3339)
		if at.After(u.Until) {
			until = "a newer one is used there again"
		}
		texts = append(texts, fmt.Sprintf("%s used this one last at %s (wait until %s)", u.Place(), u.At.Format(time.RFC3339), until))
	}
	slices.Sort(texts)
	return texts
}

// list joins names; of many it shows the first ones.
func list(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
