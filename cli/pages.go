package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// listing is a list that the API gives in pages.
type listing struct {
	what   string // "list the credentials"
	path   string
	query  url.Values
	cursor string // the parameter that takes next_cursor
	member string // the member of an answer that holds the items
	most   int    // items; 0: all
}

// pages gets the items of a list, and the answer as JSON: unchanged where it came in one page, else one object of the same
// form with the items of all pages.
func (s *session) pages(l listing) (items []json.RawMessage, answer []byte, err error) {
	query := maps.Clone(l.query)
	for n := 1; ; n++ {
		a, err := s.call(l.what, httpapi.Request{Path: l.path, Query: query})
		if err != nil {
			return nil, nil, err
		}
		var page map[string]json.RawMessage
		var some []json.RawMessage
		var next *string
		err = a.Decode(&page)
		if err == nil {
			err = json.Unmarshal(page[l.member], &some)
		}
		if raw, ok := page["next_cursor"]; ok && err == nil {
			err = json.Unmarshal(raw, &next)
		}
		if err != nil {
			return nil, nil, failed(l.what, fmt.Errorf("the answer is not a page: %w", err))
		}
		items = append(items, some...)
		full := l.most > 0 && len(items) >= l.most
		if n == 1 && deref(next) == "" && (!full || len(items) == l.most) {
			return items, a.Body, nil
		}
		if full || deref(next) == "" {
			if full {
				items = items[:l.most]
			}
			return items, l.merged(items), nil
		}
		query.Set(l.cursor, *next)
		s.screen.relabel("%s: %d so far", l.what, len(items))
	}
}

func (l listing) merged(items []json.RawMessage) []byte {
	all := make([][]byte, len(items))
	for i, item := range items {
		all[i] = item
	}
	return fmt.Appendf(nil, `{%q:[%s],"next_cursor":null}`, l.member, bytes.Join(all, []byte(",")))
}

// decodeAll reads the items of a list.
func decodeAll[T any](items []json.RawMessage) ([]T, error) {
	out := make([]T, len(items))
	for i, item := range items {
		if err := json.Unmarshal(item, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}
