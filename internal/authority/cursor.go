package authority

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/ledger"
)

// Cursor says how far each region's ledger has been read. Its text is "us-east-1:41,eu-central-1:7".
type Cursor map[string]uint64

// ParseCursor reads a cursor's text; "" is the beginning. It returns ErrInput.
func ParseCursor(text string) (Cursor, error) {
	c := Cursor{}
	if text == "" {
		return c, nil
	}
	for _, part := range strings.Split(text, ",") {
		region, number, ok := strings.Cut(part, ":")
		seq, err := strconv.ParseUint(number, 10, 63)
		if _, twice := c[region]; !ok || err != nil || region == "" || twice || len(c) == 64 {
			return nil, fmt.Errorf("%w: cursor %.128q: want region:number, several joined by commas", ErrInput, text)
		}
		c[region] = seq
	}
	return c, nil
}

// String is the cursor's text, regions in order.
func (c Cursor) String() string {
	var parts []string
	for _, region := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, region+":"+strconv.FormatUint(c[region], 10))
	}
	return strings.Join(parts, ",")
}

// read visits the entries after the cursor, region by region, each with its checked record, and moves the cursor on after
// each visit. It stops after limit entries, or where visit returns false (then the cursor stays before that entry). It
// reports whether the end of every ledger was reached.
func (a *Authority) read(ctx context.Context, c Cursor, limit int, visit func(Entry, *ledger.Record) bool) (end bool, err error) {
	heads, err := a.store.Heads(ctx)
	if err != nil {
		return false, unavailable("read the heads", err)
	}
	for _, region := range slices.Sorted(maps.Keys(heads)) {
		for c[region] < heads[region].Seq {
			if limit <= 0 {
				return false, nil
			}
			entries, err := a.store.Ledger(ctx, region, c[region], min(limit, pageSize))
			if err != nil {
				return false, unavailable("read the ledger of "+region, err)
			}
			if len(entries) == 0 {
				break
			}
			for _, e := range entries {
				r, err := a.verifier.Open(e.Data)
				if err == nil && (r.Region != e.Region || r.Seq != e.Seq) {
					err = fmt.Errorf("%w: it is %s:%d", ledger.ErrFork, r.Region, r.Seq)
				}
				if err != nil {
					return false, fmt.Errorf("%w: record %s:%d: %w", access.ErrUnavailable, e.Region, e.Seq, err)
				}
				if !visit(e, r) {
					return false, nil
				}
				c[region] = e.Seq
			}
			limit -= len(entries)
		}
	}
	return true, nil
}
