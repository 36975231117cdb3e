package usage

import (
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
)

// sightings are the uses of a version, the latest first. What a sidecar has passed on and told itself counts there, once.
func (j judge) sightings(v *credential.Version) []Sighting {
	var list []Sighting
	for _, r := range j.reporters {
		for _, u := range j.uses(r, v.Number) {
			by, host := j.passedOn(r, u)
			if host == nil || by != host.from() || !j.holds(*host, u) {
				list = append(list, j.sighting(r, u))
			}
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

// sighting is a use for people: hosts have names.
func (j judge) sighting(r Reporter, u Use) Sighting {
	s := Sighting{Reporter: r, Source: u.Source, At: u.Last, Count: u.Count, Gone: r.removed()}
	by, host := j.passedOn(r, u)
	if host == nil {
		return s
	}
	s.Source = by + Via + host.Name
	if host.removed() {
		s.Source += " (removed)"
		s.Gone = !u.Last.After(host.LeftAt)
	}
	return s
}

// passedOn is the sidecar that says to have passed a request on to the authority r, and the address that it did so from. It is nil
// where there is none of that name.
func (j judge) passedOn(r Reporter, u Use) (by string, host *Reporter) {
	by, peer, via := strings.Cut(u.Source, Via)
	if !via || !r.Authority {
		return "", nil
	}
	for i := range j.reporters {
		if h := &j.reporters[i]; !h.Authority && h.ID.String() == peer {
			return by, h
		}
	}
	return "", nil
}

// from is the address that a reporter's newest report came from.
func (r Reporter) from() string {
	if r.Note == nil {
		return ""
	}
	return r.Note.From
}

// skew is how far the clocks of a sidecar and of its authority may be apart.
const skew = 30 * time.Second

// holds reports whether a sidecar has told the use that its authority has counted too.
func (j judge) holds(host Reporter, u Use) bool {
	return slices.ContainsFunc(j.uses(host, u.Version), func(told Use) bool { return !told.Last.Before(u.Last.Add(-skew)) })
}

// needs are the places where a version was used last and not everybody is known to have moved on.
type needs struct {
	locked    []Sighting // nobody there has used a newer one since: they would be locked out
	unsettled []Sighting // somebody there has, too lately to tell whether all have
	gone      []Sighting // at hosts that have been removed, where nobody can use anything
}

// needs are the places that need v. Several programs can share an address, as all do on one host. Whoever is at work comes back
// within the lifetime of a token: so an old version that was not shown at a place for that long, while a newer one was, is not in
// use there any more. Before that nobody knows, be it that one program goes on with the old one or that the only one has moved on.
func (j judge) needs(v *credential.Version) needs {
	var n needs
	for _, r := range j.reporters {
		for _, u := range j.uses(r, v.Number) {
			_, host := j.passedOn(r, u)
			if host != nil && j.holds(*host, u) {
				continue
			}
			s, newer := j.sighting(r, u), j.newerUse(r, u)
			switch {
			case newer.Sub(u.Last) >= Settled:
			case s.Gone:
				n.gone = append(n.gone, s)
			case newer.Before(u.Last):
				n.locked = append(n.locked, s)
			default:
				n.unsettled = append(n.unsettled, s)
			}
		}
	}
	return n
}

// newerUse is when a version that is newer than the one of old was used last at the same place; zero: never. Who came through a
// sidecar may have come back to the sidecar itself.
func (j judge) newerUse(r Reporter, old Use) (last time.Time) {
	_, host := j.passedOn(r, old)
	for i := range j.c.Versions {
		if j.c.Versions[i].Number <= old.Version {
			continue
		}
		for _, u := range j.uses(r, j.c.Versions[i].Number) {
			if u.Source == old.Source && u.Last.After(last) {
				last = u.Last
			}
		}
		if host == nil {
			continue
		}
		for _, u := range j.uses(*host, j.c.Versions[i].Number) {
			if u.Last.After(last) {
				last = u.Last
			}
		}
	}
	return last
}
