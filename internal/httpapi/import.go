package httpapi

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/keyturn/keyturn/internal/authority"
)

// ErrPage says that pages of the ledgers do not go together.
var ErrPage = errors.New("the answer is no page of the ledgers that goes on after the one before")

// ReadLedgers reads all that somebody has of the ledgers, from the beginning, page by page. read returns what comes after a
// cursor. visit gets each page with the cursor that was reached before it, and returns the one to go on from: Advance's, or
// less where it wants some records again. The error is that of read or visit, or ErrPage where pages do not go together or end
// before the heads that the last one tells.
func ReadLedgers(
	ctx context.Context, read func(ctx context.Context, after authority.Cursor) (authority.LedgerPage, error),
	visit func(after authority.Cursor, p authority.LedgerPage) (authority.Cursor, error),
) error {
	for after := (authority.Cursor{}); ; {
		p, err := read(ctx, after)
		if err != nil {
			return err
		}
		reached, err := Advance(after, p)
		if err != nil {
			return err
		}
		if len(p.Records) == 0 {
			for region, head := range p.Heads {
				if after[region] < head {
					return fmt.Errorf("%w: the ledger of %.64q ends at %d, before its head %d", ErrPage, region, after[region], head)
				}
			}
		}
		if after, err = visit(maps.Clone(after), p); err != nil || len(p.Records) == 0 {
			return err
		}
		for region, seq := range after {
			if reached[region] < seq {
				return ErrPage
			}
		}
	}
}

// Advance returns the cursor after a page that was asked for with a cursor. The error is ErrPage where the page's
// records do not follow one on the other from there: with it, a reader could be kept reading for ever.
func Advance(after authority.Cursor, p authority.LedgerPage) (authority.Cursor, error) {
	next := maps.Clone(after)
	for _, s := range p.Records {
		region, seq, err := s.Place()
		if err != nil {
			return nil, errors.Join(ErrPage, err)
		}
		if seq != next[region]+1 {
			return nil, fmt.Errorf("%w: %.64q:%d follows %d", ErrPage, region, seq, next[region])
		}
		next[region] = seq
	}
	return next, nil
}

// Lines are a page's lines of an export: each record, and behind it the hash of its secret where the page has one that fits.
func Lines(p authority.LedgerPage) ([]authority.Line, error) {
	type place struct {
		region string
		seq    uint64
	}
	hashes := make(map[place][]byte, len(p.Hashes))
	for _, h := range p.Hashes {
		hashes[place{h.Region, h.Seq}] = h.Hash
	}
	lines := make([]authority.Line, 0, len(p.Records)+len(hashes))
	for i := range p.Records {
		r, err := p.Records[i].Record()
		if err != nil {
			return nil, errors.Join(ErrPage, err)
		}
		lines = append(lines, authority.Line{Signed: &p.Records[i]})
		if hash := hashes[place{r.Region, r.Seq}]; r.Fits(hash) {
			lines = append(lines, authority.Line{Region: r.Region, Seq: r.Seq, Hash: hash})
		}
	}
	return lines, nil
}
