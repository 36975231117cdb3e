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

// lockedOut are the users whose secret would not work any more if v was closed; gone are those that were seen at a host that
// has been removed, where nobody can use anything.
func (j judge) lockedOut(v *credential.Version) (locked, gone []Sighting) {
	for _, r := range j.reporters {
		for _, u := range j.uses(r, v.Number) {
			_, host := j.passedOn(r, u)
			if host != nil && j.holds(*host, u) || j.movedOn(r, u) {
				continue
			}
			if s := j.sighting(r, u); s.Gone {
				gone = append(gone, s)
			} else {
				locked = append(locked, s)
			}
		}
	}
	return locked, gone
}

// movedOn reports whether whoever showed an old version at a place has a newer one. Several programs can share an address: as
// long as the old version is used in turn with a newer one, somebody there has not moved on; nor is it known of Others who
// used which. Whoever is at work comes back within the lifetime of a token, so an old version that was not shown for that long
// while a newer one was, is not in use any more. Who came through a sidecar may have come back to the sidecar itself.
func (j judge) movedOn(r Reporter, old Use) bool {
	_, host := j.passedOn(r, old)
	var newer, there Use
	for i := range j.c.Versions {
		if j.c.Versions[i].Number <= old.Version {
			continue
		}
		for _, u := range j.uses(r, j.c.Versions[i].Number) {
			if u.Source == old.Source {
				newer.add(u)
			}
		}
		if host != nil {
			for _, u := range j.uses(*host, j.c.Versions[i].Number) {
				there.add(u)
			}
		}
	}
	if newer.Count > 0 && old.Source != Others && !newer.First.Before(old.Last) {
		return true
	}
	newer.add(there)
	return newer.Count > 0 && newer.Last.Sub(old.Last) >= Settled
}
