package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/httpapi"
)

const (
	readTrail = "read the audit trail"
	trailPage = 500  // events in one answer, at most
	widest    = 5000 // records that one answer looks at: looking back, no step is longer
	beyond    = 1 << 62
)

// trail reads the audit trail from its end. The API gives it from the beginning on, after a cursor: the number of a record of
// each region, which need not be one that it has told. So the end is found by asking what there is behind a number, and what
// stands before the end is read from further and further back. On a trail of 100,000 records that is some 20 requests in place
// of 200.
type trail struct {
	*session
	filter url.Values // what the API leaves out
	action string     // what is left out here; "": nothing
}

// part is one answer. Next is "" at the end of what there is.
type part struct {
	Events []json.RawMessage `json:"events"`
	Next   string            `json:"next_cursor"`
}

// spot is what says where in the trail an event stands.
type spot struct {
	At     httpapi.Time `json:"at"`
	Action string       `json:"action"`
	Region string       `json:"region"`
	Seq    uint64       `json:"seq"`
}

func (t trail) query(after string, limit int, filtered bool) url.Values {
	q := url.Values{}
	if filtered {
		q = maps.Clone(t.filter)
	}
	q.Set("limit", strconv.Itoa(limit))
	if after != "" {
		q.Set("after", after)
	}
	return q
}

func (t trail) page(after string, limit int, filtered bool) (p part, err error) {
	a, err := t.call(readTrail, httpapi.Request{Path: "/v1/audit", Query: t.query(after, limit, filtered)})
	if err == nil {
		err = a.Decode(&p)
	}
	return p, failed(readTrail, err)
}

// last is the newest n events, the newest at the end.
func (t trail) last(n int) ([]json.RawMessage, error) {
	first, err := t.page("", trailPage, true)
	if err != nil {
		return nil, err
	}
	all := first.Events
	if first.Next == "" {
		all, err = t.wanted(all)
	} else {
		all, err = t.backwards(n)
	}
	if err == nil {
		err = sortByTime(all)
	}
	return all[max(0, len(all)-n):], failed(readTrail, err)
}

// backwards is the newest n events of each region, or fewer where there are not so many.
func (t trail) backwards(n int) (all []json.RawMessage, err error) {
	regions, err := t.regions()
	if err != nil {
		return nil, err
	}
	for _, region := range slices.Sorted(maps.Keys(regions)) {
		r := ledgerOf{t, region, regions}
		end, err := r.end()
		if err != nil {
			return nil, err
		}
		some, err := r.before(end, n)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// regions is a cursor behind the end of every region's ledger: with one region left out, what there is is all of that one.
func (t trail) regions() (authority.Cursor, error) {
	known := authority.Cursor{}
	for {
		p, err := t.page(known.String(), 1, false)
		if err != nil {
			return nil, err
		}
		if len(p.Events) == 0 && p.Next == "" {
			return known, nil
		}
		before := len(known)
		places, err := decodeAll[spot](p.Events)
		for _, e := range places {
			known[e.Region] = beyond
		}
		next, bad := authority.ParseCursor(p.Next)
		for region := range next {
			known[region] = beyond
		}
		if err := errors.Join(err, bad); err != nil {
			return nil, failed(readTrail, fmt.Errorf("the answer is not a page: %w", err))
		}
		if len(known) == before {
			return nil, failed(readTrail, fmt.Errorf("the answer does not go on from the cursor %q", known))
		}
	}
}

// ledgerOf is the trail of one region.
type ledgerOf struct {
	trail
	region  string
	regions authority.Cursor
}

// after is the cursor at which only this region's records behind a number are left.
func (l ledgerOf) after(seq uint64) string {
	c := maps.Clone(l.regions)
	c[l.region] = seq
	return c.String()
}

// end is a number with no event behind it, and none or a page of records before it since the last one that has.
func (l ledgerOf) end() (uint64, error) {
	more := func(seq uint64) (bool, error) {
		p, err := l.page(l.after(seq), 1, false)
		return len(p.Events) > 0 || p.Next != "", err
	}
	low, high := uint64(0), uint64(widest)
	for there := true; there; {
		var err error
		if there, err = more(high); err != nil {
			return 0, err
		}
		if there {
			low, high = high, 2*high
		}
		if high > beyond {
			return 0, failed(readTrail, errors.New("it has no end"))
		}
	}
	for high-low > trailPage {
		middle := low + (high-low)/2
		there, err := more(middle)
		if err != nil {
			return 0, err
		}
		if there {
			low = middle
		} else {
			high = middle
		}
	}
	return high, nil
}

// before is the newest n events, as far as there are so many, and what was read with them. It goes back from end in steps that get
// longer: a filter may leave little in each.
func (l ledgerOf) before(end uint64, n int) (got []json.RawMessage, err error) {
	high, step := uint64(beyond), uint64(trailPage) // what was appended since is newer still
	for low := end; high > 0 && len(got) < n; step = min(2*step, widest) {
		low -= min(low, step)
		some, err := l.between(low, high)
		if err != nil {
			return nil, err
		}
		got, high = append(some, got...), low
	}
	return got, nil
}

// between is the events that are wanted of those with a number above low, up to high.
func (l ledgerOf) between(low, high uint64) (got []json.RawMessage, err error) {
	for at := low; at < high; {
		p, err := l.page(l.after(at), int(min(trailPage, high-at)), true)
		if err != nil {
			return nil, err
		}
		some, err := l.wanted(p.Events)
		if err != nil {
			return nil, err
		}
		for _, item := range some {
			var e spot
			if err := json.Unmarshal(item, &e); err != nil {
				return nil, failed(readTrail, err)
			}
			if e.Region == l.region && e.Seq <= high {
				got = append(got, item)
			}
		}
		if p.Next == "" {
			break
		}
		next, err := authority.ParseCursor(p.Next)
		if err != nil || next[l.region] <= at {
			return nil, failed(readTrail, fmt.Errorf("the answer does not go on from %d: its cursor is %q", at, plain(p.Next)))
		}
		at = next[l.region]
		l.screen.relabel("%s: back to %s:%d", readTrail, l.region, low)
	}
	return got, nil
}

// wanted leaves out what has another action.
func (t trail) wanted(items []json.RawMessage) ([]json.RawMessage, error) {
	if t.action == "" {
		return items, nil
	}
	places, err := decodeAll[spot](items)
	if err != nil {
		return nil, failed(readTrail, err)
	}
	var kept []json.RawMessage
	for i, e := range places {
		if e.Action == t.action {
			kept = append(kept, items[i])
		}
	}
	return kept, nil
}

// sortByTime brings events of several regions into one order. Those of one region stay in theirs: its clock may have gone back.
func sortByTime(items []json.RawMessage) error {
	type event struct {
		at  time.Time
		raw json.RawMessage
	}
	places, err := decodeAll[spot](items)
	if err != nil {
		return err
	}
	newest := map[string]time.Time{}
	all := make([]event, len(items))
	for i, e := range places {
		if e.At.After(newest[e.Region]) {
			newest[e.Region] = e.At.Time
		}
		all[i] = event{newest[e.Region], items[i]}
	}
	slices.SortStableFunc(all, func(a, b event) int { return a.at.Compare(b.at) })
	for i, e := range all {
		items[i] = e.raw
	}
	return nil
}
