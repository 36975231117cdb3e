package archtest

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Aims of the size table: beyond them something is worth a look, no more.
const (
	aimFile         = 350
	aimFunc         = 40
	aimDependencies = 14
	shown           = 5
)

// Print writes the size table (aim, hard limit, now) and the worst offenders of each row. It returns w's error.
func (s Size) Print(w io.Writer) error {
	var out bytes.Buffer
	tab := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, row := range s.rows() {
		fmt.Fprintln(tab, strings.Join(row, "\t"))
	}
	_ = tab.Flush() // a buffer takes everything
	worst(&out, "longest files", s.Files, aimFile)
	worst(&out, "longest functions", s.Funcs, aimFunc)
	if broken := s.Broken(); len(broken) > 0 {
		fmt.Fprintf(&out, "\nover the hard limit: %d\n", len(broken))
		for _, f := range broken {
			fmt.Fprintln(&out, "  "+f.String())
		}
	}
	_, err := w.Write(out.Bytes())
	return err
}

func (s Size) rows() [][]string {
	stores, mains := 0, 0
	for _, x := range s.Stores {
		stores = max(stores, x.Lines)
	}
	for _, x := range s.Mains {
		mains = max(mains, x.Lines)
	}
	return [][]string{
		{"", "aim", "hard", "now"},
		{"lines per file", "median 80-150, p90 <= 350", "500", spread(s.Files)},
		{"lines per function", "median <= 12, p90 <= 40", "80", spread(s.Funcs)},
		{"lines of main.go", "", "60", fmt.Sprint(mains)},
		{"Store methods", "<= 9", "10", fmt.Sprint(stores)},
		{"names without a comment", "0", "0", fmt.Sprint(len(s.Undocumented))},
		{"test : code", "1.0-1.5", ">= 0.8", fmt.Sprintf("%.2f (%d : %d)", s.ratio(), s.Test, s.Code)},
		{"direct dependencies", fmt.Sprintf("<= %d", aimDependencies), "", fmt.Sprint(len(s.Dependencies))},
	}
}

// spread sums up a list that is sorted longest first.
func spread(list []Sized) string {
	if len(list) == 0 {
		return "none"
	}
	return fmt.Sprintf("median %d, p90 %d, max %d", rank(list, 50), rank(list, 90), list[0].Lines)
}

// rank returns the nearest-rank percentile of a list that is sorted longest first.
func rank(list []Sized, percent int) int {
	above := len(list) * (100 - percent) / 100
	return list[min(above, len(list)-1)].Lines
}

func worst(w io.Writer, title string, list []Sized, aim int) {
	list = list[:min(shown, len(list))]
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s (aim: 9 of 10 at most %d)\n", title, aim)
	for _, x := range list {
		fmt.Fprintf(w, "%6d  %s\n", x.Lines, x.Where)
	}
}
