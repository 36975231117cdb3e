package usage

import (
	"sync"
	"time"
)

// Sources is how many places a sidecar counts one by one for each version.
const Sources = 16

// maxVersions is how many versions of standard credentials a Tally counts at once, and how many of the shared one.
const maxVersions = 4096

// Tally counts uses. It may be used from many goroutines, and takes a bounded amount of memory.
type Tally struct {
	sources int

	mu       sync.Mutex
	uses     map[Key]*Use
	versions map[Key]int // how many sources each version has, Others left out
	standard int         // how many of versions are not of the shared credential
	partial  bool        // some use was not counted, for there were too many versions
}

// NewTally returns a Tally that counts that many sources of each version one by one; 0: Sources.
func NewTally(sources int) *Tally {
	if sources == 0 {
		sources = Sources
	}
	return &Tally{sources: sources, uses: map[Key]*Use{}, versions: map[Key]int{}}
}

// Count counts one use at instant at.
func (t *Tally) Count(k Key, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u := t.uses[k]; u != nil {
		u.Count++
		if at.After(u.Last) {
			u.Last = at
		}
		return
	}
	t.add(Use{Key: k, First: at, Last: at, Count: 1})
}

// add adds a use. The caller holds the lock.
func (t *Tally) add(u Use) {
	if t.uses[u.Key] == nil && !t.admit(&u.Key) {
		return
	}
	sum := t.uses[u.Key]
	if sum == nil {
		sum = &Use{Key: u.Key}
		t.uses[u.Key] = sum
	}
	sum.add(u)
}

// admit makes room for a new key, which it may change to Others.
func (t *Tally) admit(k *Key) bool {
	v := k.version()
	n, known := t.versions[v]
	if !known {
		counted := t.standard
		if k.Shared() {
			counted = len(t.versions) - t.standard
		}
		if counted >= maxVersions {
			t.partial = true
			return false
		}
		if !k.Shared() {
			t.standard++
		}
		t.versions[v] = 0
	}
	switch {
	case k.Source == Others:
	case n >= t.sources:
		k.Source = Others
	default:
		t.versions[v]++
	}
	return true
}

// Pending returns what is counted, in the order of keys.
func (t *Tally) Pending() []Use {
	t.mu.Lock()
	defer t.mu.Unlock()
	return sorted(t.uses)
}

// Empty reports whether nothing is counted.
func (t *Tally) Empty() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.uses) == 0
}

// Take returns what is counted and begins anew. partial reports that there was more than could be counted.
func (t *Tally) Take() (uses []Use, partial bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	uses, partial = sorted(t.uses), t.partial
	t.uses, t.versions, t.standard, t.partial = map[Key]*Use{}, map[Key]int{}, 0, false
	return uses, partial
}

// Return counts again what was taken in vain.
func (t *Tally) Return(uses []Use, partial bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.partial = t.partial || partial
	for _, u := range uses {
		t.add(u)
	}
}
