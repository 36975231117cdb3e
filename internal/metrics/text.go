package metrics

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Sample is one series at the moment. A name that ends in _total is a counter, any other one a gauge.
type Sample struct {
	Name   string
	Labels [][2]string // name, value
	Value  float64
}

// labels are the sample's as the text format has them, without braces.
func (s Sample) labels() string {
	var all []string
	for _, l := range s.Labels {
		all = append(all, l[0]+`="`+label(l[1])+`"`)
	}
	return strings.Join(all, ",")
}

// family is all series of one name: the text format wants them in one block, below one line that says what they are.
type family struct {
	kind  string // "counter", "gauge", "histogram"
	lines []line
}

// line is one sample of a family, in the order of writing.
type line struct {
	name   string // with the suffix of a histogram's part
	labels string
	value  string
}

// text collects families, so that they can be written in the order that version 0.0.4 of the Prometheus text format wants,
// whoever gives them in whatever order.
type text map[string]*family

// family returns the one of that name, a new one of that kind where there is none.
func (t text) family(name, kind string) *family {
	f := t[name]
	if f == nil {
		f = &family{kind: kind}
		t[name] = f
	}
	return f
}

// add puts samples into their families.
func (t text) add(samples ...Sample) {
	for _, s := range samples {
		kind := "gauge"
		if strings.HasSuffix(s.Name, "_total") {
			kind = "counter"
		}
		f := t.family(s.Name, kind)
		f.lines = append(f.lines, line{name: s.Name, labels: s.labels(), value: number(s.Value)})
	}
}

// write writes families by name, and the series of counters and gauges by their labels. A histogram's come as they were added:
// its buckets go by their bound, not by its text.
func (t text) write(w io.Writer) {
	for _, name := range slices.Sorted(maps.Keys(t)) {
		f := t[name]
		if f.kind != "histogram" {
			slices.SortStableFunc(f.lines, func(a, b line) int { return cmp.Compare(a.labels, b.labels) })
		}
		if help := help(name); help != "" {
			_, _ = fmt.Fprintf(w, "# HELP %s %s\n", name, help)
		}
		_, _ = fmt.Fprintf(w, "# TYPE %s %s\n", name, f.kind)
		for _, l := range f.lines {
			if l.labels != "" {
				l.name += "{" + l.labels + "}"
			}
			_, _ = fmt.Fprintf(w, "%s %s\n", l.name, l.value)
		}
	}
}

// number is a value as the text format has it, whole ones without an exponent.
func number(v float64) string {
	if v == float64(int64(v)) {
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// help says what a name alone does not; "" where it does. docs/operations.md says when to look at each.
func help(name string) string {
	switch name {
	case "keyturn_requests_total":
		return "Answered requests, by the pattern that their path matched."
	case "keyturn_request_duration_seconds":
		return "How long requests took. A route that waits for news takes 20 s when there is none."
	case "keyturn_tokens_issued_total":
		return "Tokens issued for the current secret of a credential, or for a superseded one in its window."
	case "keyturn_store_swept_total":
		return "Expired items that were removed from the store."
	case "keyturn_proxied_total":
		return "Requests that the authority has answered in place of this sidecar."
	case "keyturn_ledger_head":
		return "Number of the newest record of the region's own ledger."
	case "keyturn_replica_age_seconds":
		return "Time since the last proof that this copy misses nothing."
	case "keyturn_replica_bound_seconds":
		return "Age above which this sidecar lets nobody in, by kind of scope."
	case "keyturn_replica_cursor":
		return "Number of the last record that was applied, by region."
	case "keyturn_replica_head":
		return "Number of the newest record that the authority tells of, by region."
	case "keyturn_replica_broken":
		return "1 where the authority's ledger does not continue this copy."
	case "keyturn_replica_pulled_anew":
		return "1 where the copy's file was damaged at the start."
	case "keyturn_peer_active":
		return "0 where this host has been removed from the cluster."
	case "keyturn_denied":
		return "Ids that are denied on this host alone."
	}
	return ""
}
