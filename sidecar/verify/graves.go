package verify

import (
	"slices"
	"sync"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
)

// graves are the names of what is refused: credentials, single versions of them, and peers. They are only added to.
type graves struct {
	mu sync.RWMutex
	of map[id.ID]grave
}

// grave is what is refused of one name.
type grave struct {
	all      bool
	versions []int // sorted; of no meaning where all are
}

func newGraves(list []httpapi.Dead) *graves {
	g := &graves{of: make(map[id.ID]grave, len(list))}
	for _, d := range list {
		g.add(d)
	}
	return g
}

// denied turns what an operator denies into graves: a credential, a version's client id or a peer.
func denied(list []string) *graves {
	g := newGraves(nil)
	for _, name := range list {
		g.add(httpapi.Dead{ID: name})
	}
	return g
}

// add buries and returns whom.
func (g *graves) add(d httpapi.Dead) id.ID {
	name, versions, all := id.ID(d.ID), d.Versions, d.Versions == nil
	if c, err := id.ParseClientID(d.ID); err == nil && !c.Bare() {
		name, versions, all = c.Credential, []int{c.Version}, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.of[name]
	next := grave{all: all || was.all}
	if !next.all {
		next.versions = slices.Concat(was.versions, versions)
		slices.Sort(next.versions)
		next.versions = slices.Compact(next.versions)
	}
	g.of[name] = next
	return name
}

// hold reports whether a version of name is refused. Peers have none: 0.
func (g *graves) hold(name id.ID, version int) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	is := g.of[name]
	if is.all {
		return true
	}
	_, found := slices.BinarySearch(is.versions, version)
	return found
}

// differ returns the names that only one of the two holds, or that they hold differently. Nobody adds to either meanwhile.
func (g *graves) differ(other *graves) []id.ID {
	var names []id.ID
	for _, pair := range [][2]*graves{{g, other}, {other, g}} {
		for name, is := range pair[0].of {
			if was, ok := pair[1].of[name]; !ok || is.all != was.all || !slices.Equal(is.versions, was.versions) {
				names = append(names, name)
			}
		}
	}
	return names
}
