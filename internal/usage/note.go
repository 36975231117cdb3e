package usage

import (
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// Limits of a note, which has to stay far below the 400 KB of a DynamoDB item.
const (
	maxSteps = 64      // a step is one more record that a peer has heard of, and when
	maxUses  = 4000    // uses
	maxNote  = 2 << 20 // bytes, uncompressed
)

// Report is what a peer has to tell at one instant.
type Report struct {
	ID      string            // the same until one has arrived: what is made again under it has all of before, and what came since
	At      time.Time         // when it was made, by the reporter's clock
	From    string            // the address that it came from
	Cursor  map[string]uint64 // how far each region's ledger is applied there
	Partial bool              // uses of standard credentials are missing: there were too many
	Final   bool              // the reporter stops
	Uses    []Use             // since the report before
}

// Note is what is kept of one reporter: all its reports of the last 30 days, merged.
type Note struct {
	At      time.Time // of the newest report; everything that was used before is in here
	Report  string    // the newest report's id
	Told    []Use     // what the reports of that id have told so far
	From    string    // the address that it came from
	Noted   time.Time // when that arrived
	Final   bool      // it was a final one
	Partial time.Time // of the newest report that was partial; zero: none
	Steps   []Step    // how far the reporter's copy of the ledgers was, oldest first
	Uses    []Use
}

// Step says that a copy of the ledgers had come so far by that instant.
type Step struct {
	At     time.Time         `json:"at"`
	Cursor map[string]uint64 `json:"cursor"`
}

// Merge adds a report that has arrived at instant at, and drops what is older than 30 days. sources is how many places are
// kept for each version; the rest are Others. Of a report that is made again, under the id of the newest one, only what is
// more than before counts; where there is nothing more, it changes nothing. n itself stays as it is.
func (n Note) Merge(r Report, at time.Time, sources int) Note {
	if n.Holds(r) {
		return n
	}
	if r.ID == "" || r.ID != n.Report {
		n.Told = nil
	}
	news := beyond(r.Uses, n.Told)
	if len(news) > 0 {
		n.Told = Merge(n.Told, news)
	}
	made := earlier(r.At, at)
	if made.After(n.At) {
		n.At = made
	}
	n.Report, n.From, n.Noted, n.Final = r.ID, r.From, at, r.Final
	if r.Partial {
		n.Partial = n.At
	}
	n.Steps = addStep(n.Steps, Step{at, r.Cursor})
	n.Uses = recent(Merge(n.Uses, notAfter(news, at)), at)
	n.Uses = fold(n.Uses, sources)
	if len(n.Uses) > maxUses {
		n.Uses, n.Partial = newest(n.Uses), n.At
	}
	return n
}

// Holds reports whether a report is in the note with all that it tells: its answer was lost, and it is sent again.
func (n Note) Holds(r Report) bool {
	return r.ID != "" && r.ID == n.Report && !r.At.After(n.At) && len(beyond(r.Uses, n.Told)) == 0
}

// beyond is what a report tells that was not told under its id before.
func beyond(uses, told []Use) []Use {
	before := map[Key]uint64{}
	for _, u := range told {
		before[u.Key] += u.Count
	}
	var list []Use
	for _, u := range Merge(uses, nil) {
		if n := before[u.Key]; u.Count > n {
			u.Count -= n
			list = append(list, u)
		}
	}
	return list
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// notAfter takes a reporter's clock back that is ahead: nothing has been used in the future.
func notAfter(uses []Use, at time.Time) []Use {
	list := slices.Clone(uses)
	for i := range list {
		list[i].First, list[i].Last = earlier(list[i].First, at), earlier(list[i].Last, at)
	}
	return list
}

func recent(uses []Use, at time.Time) []Use {
	return slices.DeleteFunc(uses, func(u Use) bool { return u.Last.Before(at.Add(-Kept)) })
}

// Early says how long it is, at instant at, until the minute after the newest report is over. A final report does not wait,
// but for another final one.
func (n Note) Early(r Report, at time.Time) time.Duration {
	if r.Final && !n.Final {
		return 0
	}
	return max(n.Noted.Add(Every).Sub(at), 0)
}

// fold keeps the sources of each version that were seen last, and makes the rest Others.
func fold(uses []Use, sources int) []Use {
	byVersion := map[Key][]Use{}
	for _, u := range uses {
		if u.Source != Others {
			byVersion[u.version()] = append(byVersion[u.version()], u)
		}
	}
	var folded []Use
	gone := map[Key]bool{}
	for _, list := range byVersion {
		if len(list) <= sources {
			continue
		}
		slices.SortStableFunc(list, func(a, b Use) int { return b.Last.Compare(a.Last) })
		for _, u := range list[sources:] {
			gone[u.Key] = true
			u.Source = Others
			folded = append(folded, u)
		}
	}
	if folded == nil {
		return uses
	}
	return Merge(slices.DeleteFunc(uses, func(u Use) bool { return gone[u.Key] }), folded)
}

// newest keeps as many uses as a note may have: those of the shared credential, and of the others the newest.
func newest(uses []Use) []Use {
	slices.SortStableFunc(uses, func(a, b Use) int {
		if a.Shared() != b.Shared() {
			return map[bool]int{true: -1, false: 1}[a.Shared()]
		}
		return b.Last.Compare(a.Last)
	})
	return Merge(uses[:maxUses], nil)
}

// addStep notes how far a copy is. A copy that is behind what it was has been replaced: what it heard before does not count.
// Where there are too many steps, the older half loses every second one, so that an instant is told a little later than it was.
func addStep(steps []Step, s Step) []Step {
	if len(s.Cursor) == 0 {
		return steps
	}
	s.Cursor = maps.Clone(s.Cursor)
	if n := len(steps); n > 0 {
		last := steps[n-1].Cursor
		if maps.Equal(last, s.Cursor) {
			return steps
		}
		for region, seq := range last {
			if s.Cursor[region] < seq {
				return []Step{s}
			}
		}
	}
	steps = append(slices.Clone(steps), s)
	if len(steps) <= maxSteps {
		return steps
	}
	kept := steps[:0:0]
	for i, step := range steps {
		if i == 0 || i%2 == 0 || i >= maxSteps/2 {
			kept = append(kept, step)
		}
	}
	return kept
}

// Covers says since when the reporter has the record region:seq, as far as it has told. ok is false where it has not.
func (n Note) Covers(region string, seq uint64) (since time.Time, ok bool) {
	for _, s := range n.Steps {
		if s.Cursor[region] >= seq {
			return s.At, true
		}
	}
	return time.Time{}, false
}

// noteBody is a note as it is stored: small, for there is one of each peer.
type noteBody struct {
	At      int64     `json:"at"`
	Report  string    `json:"report,omitempty"`
	Told    []noteUse `json:"told,omitempty"`
	From    string    `json:"from,omitempty"`
	Noted   int64     `json:"noted"`
	Final   bool      `json:"final,omitempty"`
	Partial int64     `json:"partial,omitempty"`
	Steps   []Step    `json:"steps,omitempty"`
	Uses    []noteUse `json:"uses,omitempty"`
}

type noteUse struct {
	ClientID string `json:"c"`
	Version  int    `json:"v"`
	Source   string `json:"s,omitempty"`
	First    int64  `json:"f"`
	Last     int64  `json:"l"`
	Count    uint64 `json:"n"`
}

// Encode returns the bytes that DecodeNote reads.
func (n Note) Encode() ([]byte, error) {
	body := noteBody{
		At: seconds(n.At), Report: n.Report, Told: stored(n.Told), From: n.From, Noted: seconds(n.Noted), Final: n.Final,
		Partial: seconds(n.Partial), Steps: n.Steps, Uses: stored(n.Uses),
	}
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.DefaultCompression)
	if err == nil {
		err = cmp.Or(json.NewEncoder(w).Encode(body), w.Close())
	}
	return b.Bytes(), err
}

// DecodeNote reads a note.
func DecodeNote(b []byte) (Note, error) {
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(b)), maxNote+1))
	if err == nil && len(text) > maxNote {
		err = errors.New("it is too large")
	}
	var body noteBody
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	if err != nil {
		return Note{}, fmt.Errorf("usage: a note cannot be read: %w", err)
	}
	return Note{
		At: instant(body.At), Report: body.Report, Told: read(body.Told), From: body.From, Noted: instant(body.Noted),
		Final: body.Final, Partial: instant(body.Partial), Steps: body.Steps, Uses: read(body.Uses),
	}, nil
}

func stored(uses []Use) []noteUse {
	var list []noteUse
	for _, u := range uses {
		list = append(list, noteUse{u.ClientID, u.Version, u.Source, seconds(u.First), seconds(u.Last), u.Count})
	}
	return list
}

func read(list []noteUse) []Use {
	var uses []Use
	for _, u := range list {
		uses = append(uses, Use{Key{u.ClientID, u.Version, u.Source}, instant(u.First), instant(u.Last), u.Count})
	}
	return uses
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func instant(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}
