package usage

import (
	"cmp"
	"slices"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
)

// Reporter is a peer, or an authority, and what it has told.
type Reporter struct {
	ID        id.ID
	Name      string    // for people; unique among all reporters
	Authority bool      // it accepts what it has written, and is never unknown
	LeftAt    time.Time // when it was removed; zero: it is here
	Note      *Note     // nil: it has told nothing
}

func (r Reporter) removed() bool { return !r.LeftAt.IsZero() }

// Version says who uses one version of a credential.
type Version struct {
	Number     int
	KnownSince time.Time    // of who used it before nothing is known; zero: all of 30 days is known
	AcceptedBy []Acceptance // peers, in the order of their names
	LastUsed   []Sighting   // the latest first
	Unreported []Reporter   // of which it is not known whether somebody uses it there
	Unsettled  []Unsettled  // of which it is not known yet whether everybody there has moved on; of a superseded version
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
	Gone   bool // it was at a host that has been removed since
}

// Unsettled is a place where a newer version was used after this one, but not for long enough to tell that of several programs
// there none will come back with this one.
type Unsettled struct {
	Sighting           // of this version
	Until    time.Time // a use of a newer one at that time or later, and none of this one, settles it
}

// Judge says for each version of a credential, in the order of c.Versions, who uses it as far as is known at instant at. begun is
// when uses began to be noted: what was used before that has been forgotten, with the store that it was noted in.
func Judge(c *credential.Credential, at, begun time.Time, reporters []Reporter) []Version {
	reporters = slices.Clone(reporters)
	slices.SortFunc(reporters, func(a, b Reporter) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	j := judge{c: c, at: at, begun: begun, reporters: reporters}
	list := make([]Version, len(c.Versions))
	for i := range c.Versions {
		list[i] = j.version(&c.Versions[i])
	}
	return list
}

// daily is how often a client comes at the least, for all that a partial report, or notes that have just begun, are judged by.
const daily = 24 * time.Hour

type judge struct {
	c         *credential.Credential
	at, begun time.Time
	reporters []Reporter
}

func (j judge) version(v *credential.Version) Version {
	out := Version{Number: v.Number, KnownSince: j.knownSince(v), LastUsed: j.sightings(v)}
	status := j.c.VersionStatus(v, j.at)
	if j.c.Status(j.at) != credential.Active || status != credential.Current && status != credential.Superseded {
		return out
	}
	since := j.settled(v)
	for _, r := range j.reporters {
		if r.Authority || r.removed() {
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
		n := j.needs(v)
		for _, s := range n.unsettled {
			out.Unsettled = append(out.Unsettled, Unsettled{s, s.At.Add(Settled)})
		}
		out.Verdict = newVerdict(finding{n.locked, n.gone, out.Unsettled, j.at, out.Unreported, out.KnownSince, j.blind(v, since)})
	}
	return out
}

// knownSince is when the notes on a version begin, where that is within the last 30 days, and the version is older.
func (j judge) knownSince(v *credential.Version) time.Time {
	if !v.CreatedAt.Before(j.begun) || j.at.Sub(j.begun) >= Kept {
		return time.Time{}
	}
	return j.begun
}

// blind reports whether the notes began too late to say who needs a version. Where it was superseded before, who uses it still
// may not have come since. Where it was superseded later, who comes each day has come within a day.
func (j judge) blind(v *credential.Version, superseded time.Time) bool {
	return !j.knownSince(v).IsZero() && (superseded.Before(j.begun) || j.at.Sub(j.begun) < daily)
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
