package httpapi

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/ledger"
)

// ledgers is GET /v1/ledger: what a peer copies. Where there is nothing new it waits, as long as the caller wants, for a
// commit; then the answer has a proof of freshness of its own instant. The caller is checked again after the wait, so that a
// removed peer hears no more. A node that says when to ask again does not wait.
func (s *server) ledgers(c *call) (answer, error) {
	query, err := c.query()
	if err != nil {
		return answer{}, err
	}
	limit, err := limited(query, authority.DefaultLedgerPage, authority.MaxLedgerPage)
	if err != nil {
		return answer{}, err
	}
	wait, err := waiting(query.Get("wait_seconds"))
	if err != nil {
		return answer{}, err
	}
	after, err := authority.ParseCursor(query.Get("after"))
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(c.Context(), wait)
	defer cancel()
	for {
		changed := s.node.Changed() // before the page is read: what comes meanwhile is not slept over
		page, err := s.node.LedgerAfter(c.Context(), c.caller, c.at, after, limit)
		if err != nil || len(page.Records) > 0 || page.PollAfter > 0 || ctx.Err() != nil || beyond(after, page.Heads) {
			return answer{body: ledgerWire(page)}, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-s.o.Stopping:
			return answer{body: ledgerWire(page)}, nil
		}
		if c.Context().Err() != nil {
			return answer{body: ledgerWire(page)}, nil // the caller has gone: nobody reads it
		}
		c.at = s.o.Now().UTC().Truncate(time.Second)
		if err := c.authenticate(credential.LedgerRead); err != nil {
			return answer{}, err
		}
	}
}

// beyond reports whether a reader has more than there is: it has to hear of that at once.
func beyond(after authority.Cursor, heads map[string]uint64) bool {
	for region, seq := range after {
		if seq > heads[region] {
			return true
		}
	}
	return false
}

// LedgerPage is the answer of GET /v1/ledger.
type LedgerPage struct {
	Region    *string           `json:"region"` // whose authority answers; nil for a peer's copy
	Records   []SignedRecord    `json:"records"`
	Hashes    []LedgerHash      `json:"hashes"`
	Heads     map[string]uint64 `json:"heads"`
	Freshness *SignedRecord     `json:"freshness"`
	PollAfter int               `json:"poll_after_seconds"` // 0: ask again at once, and wait
}

// LedgerHash is the secret's hash of a version in base64url, null where it is not accepted any more or has none.
type LedgerHash struct {
	Region string  `json:"region"`
	Seq    uint64  `json:"seq"`
	Hash   *string `json:"hash"`
}

func signedWire(s ledger.Signed) SignedRecord {
	b64 := base64.RawURLEncoding.EncodeToString
	return SignedRecord{b64(s.Payload), s.KeyID, b64(s.Signature)}
}

func ledgerWire(p authority.LedgerPage) LedgerPage {
	w := LedgerPage{
		Region: optional(p.Region), Records: make([]SignedRecord, len(p.Records)), Hashes: make([]LedgerHash, len(p.Hashes)),
		Heads: p.Heads, PollAfter: int(p.PollAfter / time.Second),
	}
	if w.Heads == nil {
		w.Heads = map[string]uint64{}
	}
	for i, r := range p.Records {
		w.Records[i] = signedWire(r)
	}
	for i, h := range p.Hashes {
		w.Hashes[i] = LedgerHash{Region: h.Region, Seq: h.Seq}
		if h.Hash != nil {
			text := base64.RawURLEncoding.EncodeToString(h.Hash)
			w.Hashes[i].Hash = &text
		}
	}
	if p.Freshness != nil {
		proof := signedWire(*p.Freshness)
		w.Freshness = &proof
	}
	return w
}

// Ledger asks for what comes after a cursor, "" for all, and lets the request wait that long for news. bearer has to be a
// peer's own token. It asks once: whoever follows a ledger asks again anyway, and has others waiting for the answer. It returns
// the errors of Call; what is not a page of ledgers is ErrUnreachable.
func (c *Client) Ledger(ctx context.Context, bearer, after string, limit int, wait time.Duration) (authority.LedgerPage, error) {
	u := *c.base
	u.Path += "/v1/ledger"
	query := url.Values{"limit": {strconv.Itoa(limit)}, "wait_seconds": {strconv.Itoa(int(wait / time.Second))}}
	if after != "" {
		query.Set("after", after)
	}
	u.RawQuery = query.Encode()
	a, err := c.send(ctx, sending{
		method: http.MethodGet, url: u.String(), header: http.Header{"Authorization": {"Bearer " + bearer}},
	})
	if err != nil {
		return authority.LedgerPage{}, err
	}
	var w LedgerPage
	if err := a.Decode(&w); err != nil {
		return authority.LedgerPage{}, unreachable(err)
	}
	p, err := w.page()
	if err != nil {
		return authority.LedgerPage{}, unreachable(err)
	}
	return p, nil
}

// maxRegions is how many regions' heads a page may name.
const maxRegions = 256

// page is the inverse of ledgerWire.
func (w LedgerPage) page() (authority.LedgerPage, error) {
	if len(w.Records) > authority.MaxLedgerPage || len(w.Hashes) > authority.MaxLedgerPage || len(w.Heads) > maxRegions {
		return authority.LedgerPage{}, errors.New("a page of the ledgers with more than was asked for")
	}
	p := authority.LedgerPage{Heads: w.Heads, PollAfter: time.Duration(w.PollAfter) * time.Second}
	if w.Region != nil {
		p.Region = *w.Region
	}
	for _, r := range w.Records {
		signed, err := r.signed()
		if err != nil {
			return p, err
		}
		p.Records = append(p.Records, signed)
	}
	for _, h := range w.Hashes {
		record := authority.RecordHash{Region: h.Region, Seq: h.Seq}
		if h.Hash != nil {
			hash, err := base64.RawURLEncoding.DecodeString(*h.Hash)
			if err != nil {
				return p, err
			}
			record.Hash = hash
		}
		p.Hashes = append(p.Hashes, record)
	}
	if w.Freshness != nil {
		signed, err := w.Freshness.signed()
		if err != nil {
			return p, err
		}
		p.Freshness = &signed
	}
	return p, nil
}

func (r SignedRecord) signed() (ledger.Signed, error) {
	payload, err := base64.RawURLEncoding.DecodeString(r.Payload)
	if err != nil {
		return ledger.Signed{}, err
	}
	signature, err := base64.RawURLEncoding.DecodeString(r.Signature)
	return ledger.Signed{Payload: payload, KeyID: r.KeyID, Signature: signature}, err
}
