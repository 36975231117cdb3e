// Package usage says who still uses which version of a secret: it counts uses, merges what peers report of theirs, and judges
// whether an old version can be closed without locking somebody out.
//
// It is pure: no I/O and no clock of its own. Times are UTC in whole seconds. It never sees a secret. Only decoding returns
// errors; all else is defined for every input, and what is not known is said to be unknown, never taken for "no use".
package usage

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Limits of what is counted.
const (
	Every   = time.Minute         // one report in that time
	Kept    = 30 * 24 * time.Hour // how long a use is remembered after the last of its kind
	Settled = 65 * time.Minute    // a token lives an hour at most: a client that is at work has come back by then
	Silent  = 10 * time.Minute    // who has not reported for longer is unknown

	// Others stands for the sources of a version beyond those that are counted one by one.
	Others = "others"

	// Via stands in the source of what an authority has counted between the caller's address and the sidecar that passed the
	// request on, and has counted it too.
	Via = " via "
)

// Key names one kind of use: a version of a credential, shown from one place.
type Key struct {
	ClientID string // of that version: cli_<26>-<version> for the shared credential, cli_<26> for every other
	Version  int
	Source   string // the caller's address; Others
}

// Shared reports whether the version is one of the shared credential, which has a client id for each.
func (k Key) Shared() bool { return strings.Contains(k.ClientID, "-") }

// version is the key of all sources of a version.
func (k Key) version() Key { return Key{ClientID: k.ClientID, Version: k.Version} }

// Use is how often a secret was shown and accepted.
type Use struct {
	Key
	First, Last time.Time
	Count       uint64
}

// add makes u the sum of itself and another use of the same key.
func (u *Use) add(v Use) {
	if u.Count == 0 {
		u.First, u.Last = v.First, v.Last
	}
	if v.First.Before(u.First) {
		u.First = v.First
	}
	if v.Last.After(u.Last) {
		u.Last = v.Last
	}
	u.Count += v.Count
}

// Merge sums two lists of uses by their keys. The answer is in the order of keys, and does not depend on the order of either.
func Merge(a, b []Use) []Use {
	sums := map[Key]*Use{}
	for _, list := range [][]Use{a, b} {
		for _, u := range list {
			sum := sums[u.Key]
			if sum == nil {
				sum = &Use{Key: u.Key}
				sums[u.Key] = sum
			}
			sum.add(u)
		}
	}
	return sorted(sums)
}

func sorted(sums map[Key]*Use) []Use {
	list := make([]Use, 0, len(sums))
	for _, u := range sums {
		list = append(list, *u)
	}
	slices.SortFunc(list, func(a, b Use) int {
		return cmp.Or(cmp.Compare(a.ClientID, b.ClientID), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Source, b.Source))
	})
	return list
}

// wireSize is about how many bytes a use takes in a report, never less.
func wireSize(u Use) int { return 160 + len(u.ClientID) + len(u.Source) }

// Size is about how many bytes uses take in a report, never less.
func Size(uses []Use) int {
	size := 0
	for _, u := range uses {
		size += wireSize(u)
	}
	return size
}

// Pack chooses what goes into a report of at most limit bytes: the shared credential's versions first, then what is urgent,
// then what was used least recently. rest is what has to wait for the next report.
func Pack(uses []Use, limit int, urgent func(Key) bool) (fit, rest []Use) {
	if Size(uses) <= limit {
		return uses, nil
	}
	rank := map[Key]int{}
	for _, u := range uses {
		switch {
		case u.Shared():
		case urgent(u.Key):
			rank[u.Key] = 1
		default:
			rank[u.Key] = 2
		}
	}
	list := slices.Clone(uses)
	slices.SortStableFunc(list, func(a, b Use) int {
		return cmp.Or(cmp.Compare(rank[a.Key], rank[b.Key]), a.Last.Compare(b.Last))
	})
	size := 0
	for i, u := range list {
		if size += wireSize(u); size > limit {
			return list[:i], list[i:]
		}
	}
	return list, nil
}
