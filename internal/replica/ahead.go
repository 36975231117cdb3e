package replica

import (
	"context"
	"maps"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/ledger"
)

// ask gets one page after a cursor.
func ask(ctx context.Context, src Source, after authority.Cursor, wait time.Duration) (authority.LedgerPage, error) {
	asking, cancel := context.WithTimeout(ctx, wait+answerTime)
	defer cancel()
	return src.Ledger(asking, after, authority.MaxLedgerPage, wait)
}

// ahead is a page that is asked for before its turn: so the sender makes it while the one before is checked and written. It
// is used by one goroutine. The nil ahead asks for nothing.
type ahead struct {
	after authority.Cursor
	done  chan struct{} // closed when page and err are there; nil: nothing was asked for
	page  authority.LedgerPage
	err   error
}

// start asks for the page behind the one that came after a cursor, where that page says that there is more.
func (a *ahead) start(ctx context.Context, src Source, after authority.Cursor, page authority.LedgerPage) {
	if a == nil || len(page.Records) == 0 {
		return
	}
	a.drop()
	behind := cursorBehind(after, page.Records)
	if reached(behind, page.Heads) {
		return
	}
	done := make(chan struct{})
	a.after, a.done = behind, done
	go func() {
		defer close(done)
		a.page, a.err = ask(ctx, src, behind, 0)
	}()
}

// cursorBehind is where the cursors are once all of these records have been applied. Should some not fit, it is wrong, and
// what was asked for with it is dropped.
func cursorBehind(after authority.Cursor, records []ledger.Signed) authority.Cursor {
	behind := maps.Clone(after)
	if behind == nil {
		behind = authority.Cursor{}
	}
	if region, last, ok := oneRegion(records); ok {
		behind[region] = max(behind[region], last)
		return behind
	}
	for _, signed := range records {
		if region, seq, err := signed.Place(); err == nil && seq > behind[region] {
			behind[region] = seq
		}
	}
	return behind
}

// oneRegion spares the reading of all records where they are of one region: their number says so.
func oneRegion(records []ledger.Signed) (region string, last uint64, ok bool) {
	region, first, err := records[0].Place()
	if err != nil {
		return "", 0, false
	}
	other, last, err := records[len(records)-1].Place()
	return region, last, err == nil && other == region && last == first+uint64(len(records))-1
}

// take returns the page after this cursor, if that is the one that was asked for.
func (a *ahead) take(after authority.Cursor) (page authority.LedgerPage, asked bool) {
	if a == nil || a.done == nil {
		return page, false
	}
	a.wait()
	page, asked = a.page, a.err == nil && maps.Equal(a.after, after)
	*a = ahead{}
	return page, asked
}

func (a *ahead) wait() { <-a.done }

// drop waits for what was asked for, and forgets it.
func (a *ahead) drop() {
	if a.done != nil {
		a.wait()
		*a = ahead{}
	}
}
