package usage

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
)

// Reporter is a peer, or an authority, and what it has told.
type Reporter struct {
	ID        id.ID
	Name      string // for people; unique among all reporters
	Authority bool   // it accepts what it has written, and is never unknown
	Note      *Note  // nil: it has told nothing
}

// Version says who uses one version of a credential.
type Version struct {
	Number     int
	AcceptedBy []Acceptance // peers, in the order of their names
	LastUsed   []Sighting   // the latest first
	Unreported []Reporter   // of which it is not known whether somebody uses it there
	Verdict    *Verdict     // of a superseded version; else nil
}

// Acceptance says that a peer accepts a version.
type Acceptance struct {
	Reporter
	Since time.Time // when it told so first
}

// Sighting is when a secret was used last from one place.
type Sighting struct {
	Reporter
	Source string
	At     time.Time
	Count  uint64
}

// Judge says for each version of a credential, in the order of c.Versions, who uses it as far as is known at instant at.
func Judge(c *credential.Credential, at time.Time, reporters []Reporter) []Version {
	reporters = slices.Clone(reporters)
	slices.SortFunc(reporters, func(a, b Reporter) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	j := judge{c: c, at: at, reporters: reporters}
	list := make([]Version, len(c.Versions))
	for i := range c.Versions {
		list[i] = j.version(&c.Versions[i])
	}
	return list
}

// daily is how often a client comes at the least, for all that a partial report is judged by.
const daily = 24 * time.Hour

type judge struct {
	c         *credential.Credential
	at        time.Time
	reporters []Reporter
}

func (j judge) version(v *credential.Version) Version {
	out := Version{Number: v.Number, LastUsed: j.sightings(v)}
	status := j.c.VersionStatus(v, j.at)
	if j.c.Status(j.at) != credential.Active || status != credential.Current && status != credential.Superseded {
		return out
	}
	since := j.settled(v)
	for _, r := range j.reporters {
		if r.Authority {
			continue
		}
		if r.Note != nil {
			if heard, ok := r.Note.Covers(v.Region, v.Seq); ok {
				out.AcceptedBy = append(out.AcceptedBy, Acceptance{r, heard})
			}
		}
		if !j.reported(r, since) {
			out.Unreported = append(out.Unreported, r)
		}
	}
	if status == credential.Superseded {
		out.Verdict = newVerdict(j.lockedOut(v), out.Unreported)
	}
	return out
}

// settled is when a version became what it is: superseded, or made.
func (j judge) settled(v *credential.Version) time.Time {
	for i := range j.c.Versions { // in the order of their numbers
		if next := &j.c.Versions[i]; next.Number > v.Number {
			return next.CreatedAt
		}
	}
	return v.CreatedAt
}

// reported reports whether it is known what was used at r until now, but for the last minutes. A report that left uses of
// standard credentials out makes r unknown for those until what comes each day has come again.
func (j judge) reported(r Reporter, since time.Time) bool {
	n := r.Note
	switch {
	case n == nil || n.At.Before(since) || j.at.Sub(n.At) > Silent:
		return false
	case j.c.Kind == credential.Shared || n.Partial.IsZero():
		return true
	}
	return n.Partial.Before(j.c.CreatedAt) || j.at.Sub(n.Partial) > daily
}

// sightings are the uses of a version, the latest first.
func (j judge) sightings(v *credential.Version) []Sighting {
	var list []Sighting
	for _, r := range j.reporters {
		for _, u := range j.uses(r, v.Number) {
			list = append(list, Sighting{r, u.Source, u.Last, u.Count})
		}
	}
	slices.SortStableFunc(list, func(a, b Sighting) int { return b.At.Compare(a.At) })
	return list
}

// uses are those of one version at r in the last 30 days.
func (j judge) uses(r Reporter, version int) []Use {
	var list []Use
	if r.Note == nil {
		return nil
	}
	name := j.c.ClientID(version)
	for _, u := range r.Note.Uses {
		if u.Version == version && u.ClientID == name && !u.Last.Before(j.at.Add(-Kept)) {
			list = append(list, u)
		}
	}
	return list
}

// lockedOut are the users whose secret would not work any more if v was closed.
func (j judge) lockedOut(v *credential.Version) []Sighting {
	var list []Sighting
	for _, r := range j.reporters {
		for _, u := range j.uses(r, v.Number) {
			if !j.countedElsewhere(r, u) && !j.movedOn(r, u) {
				list = append(list, Sighting{r, u.Source, u.Last, u.Count})
			}
		}
	}
	return list
}

// countedElsewhere reports whether a known sidecar has counted the same use, under the address that it was asked from.
func (j judge) countedElsewhere(r Reporter, u Use) bool {
	_, peer, via := strings.Cut(u.Source, Via)
	return via && r.Authority && slices.ContainsFunc(j.reporters, func(r Reporter) bool { return !r.Authority && r.ID.String() == peer })
}

// movedOn reports whether whoever showed an old version at a place has a newer one. Several programs can share an address: as
// long as the old version is used in turn with a newer one, somebody there has not moved on; nor is it known of Others who
// used which. Whoever is at work comes back within the lifetime of a token, so an old version that was not shown for that long
// while a newer one was, is not in use any more.
func (j judge) movedOn(r Reporter, old Use) bool {
	var newer Use
	for i := range j.c.Versions {
		if j.c.Versions[i].Number <= old.Version {
			continue
		}
		for _, u := range j.uses(r, j.c.Versions[i].Number) {
			if u.Source == old.Source {
				newer.add(u)
			}
		}
	}
	if newer.Count == 0 {
		return false
	}
	return old.Source != Others && !newer.First.Before(old.Last) || newer.Last.Sub(old.Last) >= Settled
}
