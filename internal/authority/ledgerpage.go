package authority

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/ledger"
)

// Limits of a page of the ledgers.
const (
	DefaultLedgerPage = 500  // records, where nobody says how many
	MaxLedgerPage     = 5000 // records
	maxPageBytes      = 3e6  // as JSON, about
)

// pollEvery is what peers are told where others write to the store: nothing here hears of it, so no request can wait for it.
const pollEvery = 5 * time.Second

// LedgerPage is what a peer gets of the ledgers after a cursor: of each region the records that come next, without a hole.
type LedgerPage struct {
	Region    string // whose authority made it; "" for a page of a copy
	Records   []ledger.Signed
	Hashes    []RecordHash      // one for each record that states a version
	Heads     map[string]uint64 // how long each region's ledger is, as the sender knows it
	Freshness *ledger.Signed    // the newest proof that the sender has; nil: none
	PollAfter time.Duration     // how long to wait before the next request; 0: ask at once, and let it wait
}

// RecordHash is the hash of the secret whose version a record states. Hash is nil where the version is not accepted (any
// more), or has a public key in place of a secret.
type RecordHash struct {
	Region string
	Seq    uint64
	Hash   []byte
}

// LedgerAfter returns what comes after a cursor, at most limit records (0 is 500, above 5000 is 5000) and 3 MB, with a proof
// of freshness: one of this very instant where this region is home, else the latest that home has stored. It takes the scope
// ledger.read, which admin does not imply: access.ErrForbidden. It can return ErrUnavailable.
//
// A version from another region whose hash has not arrived here, although it is live for all that is known here, ends that
// region's part of the page: it comes with a later one.
func (a *Authority) LedgerAfter(ctx context.Context, caller access.Caller, at time.Time, after Cursor, limit int) (LedgerPage, error) {
	if err := caller.Require(credential.LedgerRead); err != nil {
		return LedgerPage{}, err
	}
	p, heads, err := readPage(ctx, a.store, at, after, limit, func(r *ledger.Record) (bool, error) {
		if r.Region == a.o.Region || a.o.SoleWriter {
			return false, nil
		}
		return a.awaited(ctx, at, r)
	})
	if err != nil {
		return LedgerPage{}, err
	}
	p.Region = a.o.Region
	if !a.o.SoleWriter {
		p.PollAfter = pollEvery
	}
	p.Freshness, err = a.freshness(ctx, at, heads)
	return p, err
}

// hashLate is how much later than its record a hash may arrive. What is missing for longer has been lost, and must not stop
// all that comes after it for ever: with nothing but the digest nobody gets in.
const hashLate = 24 * time.Hour

// awaited reports whether the hash of the version that r states is on its way: the version is live, for all that is known
// here. Its record may have arrived in the ledger and not yet among those of its subject.
func (a *Authority) awaited(ctx context.Context, at time.Time, r *ledger.Record) (bool, error) {
	if !at.Before(r.At.Add(hashLate)) {
		return false, nil
	}
	c, err := a.Credential(ctx, at, r.Subject)
	if errors.Is(err, access.ErrUnknown) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	for i := range c.Versions {
		if v := &c.Versions[i]; v.Region == r.Region && v.Seq == r.Seq {
			end := ended(c, v)
			return end.IsZero() || at.Before(end), nil
		}
	}
	return c.RevokedAt.IsZero(), nil
}

// ReadPage reads a page of the ledgers in a store, as LedgerAfter does, without a proof of freshness. Where a version has no
// hash there, awaited says whether it is still to come: then that region's part ends before it; nil: never. Records are not
// checked: whoever gets them does that. Each region has its share of the page, so that none keeps back the record that makes
// another's readable. It returns access.ErrUnavailable.
func ReadPage(ctx context.Context, store Store, at time.Time, after Cursor, limit int, awaited func(*ledger.Record) (bool, error)) (LedgerPage, error) {
	p, _, err := readPage(ctx, store, at, after, limit, awaited)
	return p, err
}

// readPage is ReadPage, and returns the heads that the page was made for.
func readPage(ctx context.Context, store Store, at time.Time, after Cursor, limit int, awaited func(*ledger.Record) (bool, error)) (LedgerPage, map[string]Head, error) {
	if limit <= 0 {
		limit = DefaultLedgerPage
	}
	heads, err := store.Heads(ctx) // before the records: a proof over these heads is reached with them
	if err != nil {
		return LedgerPage{}, nil, unavailable("read the heads", err)
	}
	w := pageWriter{store: store, at: at, awaited: awaited, records: min(limit, MaxLedgerPage), bytes: maxPageBytes}
	w.page.Heads = sequences(heads)
	var regions []string
	for region, head := range heads {
		if after[region] < head.Seq {
			regions = append(regions, region)
		}
	}
	slices.Sort(regions)
	position := maps.Clone(after)
	if position == nil {
		position = Cursor{}
	}
	for len(regions) > 0 && w.records > 0 && w.bytes > 0 {
		var more []string
		for i, region := range regions {
			goesOn, err := w.part(ctx, position, region, len(regions)-i)
			if err != nil {
				return LedgerPage{}, nil, err
			}
			if goesOn {
				more = append(more, region)
			}
		}
		regions = more
	}
	return w.page, heads, nil
}

// pageWriter collects a page until one of its limits is reached.
type pageWriter struct {
	store   Store
	at      time.Time
	awaited func(*ledger.Record) (bool, error)
	page    LedgerPage
	records int // how many there is room for
	bytes   int
}

// part adds the records of one region that has to share with others, and moves the position. It reports whether more could
// follow.
func (w *pageWriter) part(ctx context.Context, position Cursor, region string, sharers int) (more bool, err error) {
	records, bytes := share(w.records, sharers), share(w.bytes, sharers)
	for records > 0 && bytes > 0 {
		entries, err := w.store.Ledger(ctx, region, position[region], min(records, DefaultLedgerPage))
		if err != nil {
			return false, unavailable("read the ledger of "+region, err)
		}
		if len(entries) == 0 {
			return false, nil
		}
		for _, e := range entries {
			if bytes <= 0 {
				return true, nil
			}
			added, err := w.add(e)
			if err != nil || !added {
				return false, err
			}
			size := wireSize(e)
			records, w.records, bytes, w.bytes = records-1, w.records-1, bytes-size, w.bytes-size
			position[region] = e.Seq
		}
	}
	return position[region] < w.page.Heads[region], nil
}

func share(of, sharers int) int { return (of + sharers - 1) / sharers }

// wireSize is what an entry takes in a page, about: its bytes in base64, and what is around them.
func wireSize(e Entry) int { return len(e.Data)*4/3 + 200 }

// add puts one entry into the page. It returns false where the region's part ends before it.
func (w *pageWriter) add(e Entry) (bool, error) {
	signed, err := ledger.Decode(e.Data)
	if err != nil {
		return false, fmt.Errorf("%w: record %s:%d: %w", access.ErrUnavailable, e.Region, e.Seq, err)
	}
	r, err := signed.Record()
	if err == nil && (r.Region != e.Region || r.Seq != e.Seq) {
		err = fmt.Errorf("%w: it is %s:%d", ledger.ErrFork, r.Region, r.Seq)
	}
	if err != nil {
		return false, fmt.Errorf("%w: record %s:%d: %w", access.ErrUnavailable, e.Region, e.Seq, err)
	}
	if b, ok := r.Decoded().(*ledger.VersionBody); ok {
		h := RecordHash{Region: e.Region, Seq: e.Seq, Hash: e.Secret}
		if !e.SecretExpires.IsZero() && !w.at.Before(e.SecretExpires) {
			h.Hash = nil
		}
		if h.Hash == nil && b.Key == nil && w.awaited != nil {
			if wait, err := w.awaited(r); err != nil || wait {
				return false, err
			}
		}
		w.page.Hashes = append(w.page.Hashes, h)
	}
	w.page.Records = append(w.page.Records, signed)
	return true, nil
}
