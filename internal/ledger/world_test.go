package ledger_test

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/testdose"
)

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "20") // of 100: how many there are is said by a dose
	m.Run()
}

// laws checks a property as often as a dose says.
func laws(t *testing.T, holds func(*rapid.T)) {
	t.Helper()
	for range (testdose.Dose{Least: 1, Most: 5, Within: 2 * time.Second}).Rounds(t) {
		rapid.Check(t, holds)
	}
}

// world is a naive model of one credential: a list of everything that ever happened, in which each region knows a part.
// It answers by walking that list and the tree of versions: it has no trunks, no order and no join.
type world struct {
	t      testing.TB
	clock  int
	events []event
	books  []*book
	known  []map[int]bool // which events each region knows
}

type event struct {
	at        int // seconds
	region    int
	kind      string // create, version, revoke
	number    int    // of the version; what revoke names, 0: all
	parent    int    // event; -1: none
	emergency bool
	closes    map[int]int // version's event -> its not_after, in seconds
	data      []byte
	record    *ledger.Record
}

func newWorld(t testing.TB, regions int) *world {
	w := &world{t: t}
	for i := range regions {
		w.books = append(w.books, newBook(t, string(rune('a'+i)), "a"))
		w.known = append(w.known, map[int]bool{})
	}
	w.add(event{kind: "create", parent: -1}, ledger.KindCredential, ledger.CredentialBody{Kind: credential.Shared, Scopes: credential.NewScopes(credential.Admin)})
	w.add(event{kind: "version", number: 1, parent: -1}, ledger.KindVersion, ledger.VersionBody{Version: 1, Digest: digestAt(t, 1)})
	w.share()
	return w
}

func (w *world) add(e event, kind ledger.Kind, body any) {
	e.at = w.clock
	e.data = w.books[e.region].write(w.t, second(e.at), kind, client, body)
	e.record = openAll(w.t, [][]byte{e.data}, "a")[0]
	w.events = append(w.events, e)
	w.known[e.region][len(w.events)-1] = true
}

func (w *world) share() {
	for i := range w.events {
		for _, k := range w.known {
			k[i] = true
		}
	}
}

// all of the events.
func (w *world) all() map[int]bool {
	set := map[int]bool{}
	for i := range w.events {
		set[i] = true
	}
	return set
}

func (w *world) descends(v, from int) bool {
	for ; v >= 0; v = w.events[v].parent {
		if v == from {
			return true
		}
	}
	return false
}

// dead says whether version v has a tombstone among the events of set: its number, the credential, or an emergency that it
// does not descend from.
func (w *world) dead(v int, set map[int]bool) bool {
	for i := range set {
		e := w.events[i]
		if e.kind == "revoke" && (e.number == 0 || e.number == w.events[v].number) || e.emergency && !w.descends(v, i) {
			return true
		}
	}
	return false
}

func (w *world) closed(v int, set map[int]bool, at int) bool {
	for i := range set {
		if end, ok := w.events[i].closes[v]; ok && at >= end {
			return true
		}
	}
	return false
}

func (w *world) dated(v int, set map[int]bool) bool { return w.closed(v, set, 1<<40) }

func (w *world) tokenDead(number int, set map[int]bool) bool {
	for i := range set {
		if e := w.events[i]; e.kind == "version" && e.number == number && !w.dead(i, set) {
			return false
		}
	}
	return true
}

func (w *world) living(set map[int]bool) []int {
	var list []int
	for i, e := range w.events {
		if set[i] && e.kind == "version" && !w.dead(i, set) {
			list = append(list, i)
		}
	}
	return list
}

// trunk spells out which emergencies a version descends from, as an authority writes it.
func (w *world) trunk(v int) []credential.Digest {
	var list []credential.Digest
	for ; v >= 0; v = w.events[v].parent {
		if w.events[v].emergency {
			list = append(list, digestAt(w.t, v))
		}
	}
	slices.Reverse(list)
	return list
}

// rotate does what an authority does that knows what its region knows.
func (w *world) rotate(region, window int, emergency bool) {
	set := w.known[region]
	alive := w.living(set)
	if len(alive) == 0 {
		return
	}
	e := event{region: region, kind: "version", emergency: emergency, closes: map[int]int{}}
	e.parent = slices.MaxFunc(alive, func(a, b int) int { return w.events[a].number - w.events[b].number })
	for i := range set {
		e.number = max(e.number, w.events[i].number+1)
	}
	self := len(w.events)
	body := ledger.VersionBody{
		Version: e.number, Digest: digestAt(w.t, self), Parent: digestAt(w.t, e.parent), Emergency: emergency, Trunk: w.trunk(e.parent),
	}
	if emergency {
		window = 0
		body.Trunk = append(body.Trunk, body.Digest)
	}
	for _, v := range alive {
		if emergency || !w.dated(v, set) {
			e.closes[v] = w.clock + window
			body.Retires = append(body.Retires, ledger.Retirement{
				Version: w.events[v].number, Digest: digestAt(w.t, v), NotAfter: second(w.clock + window),
			})
		}
	}
	w.add(e, ledger.KindVersion, body)
}

func (w *world) revoke(region, number int) {
	w.add(event{region: region, kind: "revoke", number: number, parent: -1}, ledger.KindRevoked, ledger.RevokedBody{Version: number})
}

// live lets things happen.
func (w *world) live(t *rapid.T, steps int) {
	for range steps {
		w.clock += rapid.IntRange(0, 100).Draw(t, "later")
		region := rapid.IntRange(0, len(w.books)-1).Draw(t, "region")
		switch rapid.SampledFrom([]string{"rotate", "rotate", "rotate", "emergency", "share", "share", "version", "whole"}).Draw(t, "what") {
		case "rotate":
			w.rotate(region, rapid.SampledFrom([]int{0, 10, 60, 1000}).Draw(t, "window"), false)
		case "emergency":
			w.rotate(region, 0, true)
		case "share":
			w.share()
		case "version":
			w.revoke(region, rapid.IntRange(1, 6).Draw(t, "number"))
		case "whole":
			if rapid.IntRange(0, 4).Draw(t, "rarely") == 0 {
				w.revoke(region, 0)
			}
		}
	}
}

// records of the events of set.
func (w *world) records(set map[int]bool) []*ledger.Record {
	var list []*ledger.Record
	for i, e := range w.events {
		if set[i] {
			list = append(list, e.record)
		}
	}
	return list
}

// join of the records, with every hash that there ever was: also of the dead, the closed and of other credentials.
func (w *world) join(records []*ledger.Record) *credential.Credential {
	c := ledger.JoinCredential(records)
	if c == nil {
		w.t.Fatal("no credential")
	}
	for i := range w.events {
		h := secretAt(w.t, i).Hash()
		for _, b := range w.books {
			for seq := range b.seq {
				ledger.AttachHash(c, b.region, seq+1, h[:])
			}
		}
	}
	return c
}

// compare asks the join and the model the same questions at one instant.
func (w *world) compare(c *credential.Credential, set map[int]bool, at int) error {
	for i, e := range w.events {
		if e.kind != "version" {
			continue
		}
		v, err := c.Accept(secretAt(w.t, i), second(at))
		want := set[i] && !w.dead(i, set) && !w.closed(i, set, at)
		if (err == nil) != want || err == nil && (v.Number != e.number || v.Digest != digestAt(w.t, i)) {
			return fmt.Errorf("version %d (event %d) at %d: %w, want accepted %v", e.number, i, at, err, want)
		}
	}
	for number := range 20 {
		if got, want := c.TokenDead(number), w.tokenDead(number, set); got != want {
			return fmt.Errorf("tokens of version %d dead: %v, want %v", number, got, want)
		}
	}
	return nil
}

// instants at which something may change, and those beside them.
func (w *world) instants() []int {
	list := []int{0, w.clock, w.clock + 1, 1 << 30}
	for _, e := range w.events {
		for _, end := range e.closes {
			list = append(list, end-1, end, end+1)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
