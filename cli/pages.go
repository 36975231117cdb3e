package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"strconv"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// listing is a list that the API gives in pages.
type listing struct {
	what   string // "list the credentials"
	path   string
	query  url.Values
	cursor string // the parameter that takes next_cursor
	member string // the member of an answer that holds the items
	page   int    // items in one answer; needed where there is a most
	most   int    // items; 0: all
}

// pages gets the items of a list, and the answer as JSON: unchanged where it came in one page, else one object of the same
// form with the items of all pages.
func (s *session) pages(l listing) (items []json.RawMessage, answer []byte, err error) {
	query := maps.Clone(l.query)
	for n := 1; ; n++ {
		if l.most > 0 {
			query.Set("limit", strconv.Itoa(min(l.page, l.most-len(items))))
		}
		a, err := s.call(l.what, httpapi.Request{Path: l.path, Query: query})
		if err != nil {
			return nil, nil, err
		}
		some, next, err := l.read(a)
		if err != nil {
			return nil, nil, failed(l.what, fmt.Errorf("the answer is not a page: %w", err))
		}
		items = append(items, some...)
		if l.most > 0 && len(items) > l.most { // more than was asked for: next_cursor is behind what is left out
			return items[:l.most], l.merged(items[:l.most], nil), nil
		}
		end := deref(next) == "" || l.most > 0 && len(items) == l.most
		switch {
		case end && n == 1:
			return items, a.Body, nil
		case end:
			return items, l.merged(items, next), nil
		}
		query.Set(l.cursor, *next)
		s.screen.relabel("%s: %d so far", l.what, len(items))
	}
}

// read takes a page apart. next is where the one after it begins; nil or "" at the end.
func (l listing) read(a httpapi.Answer) (items []json.RawMessage, next *string, err error) {
	var page map[string]json.RawMessage
	if err := a.Decode(&page); err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(page[l.member], &items); err != nil {
		return nil, nil, err
	}
	if raw, ok := page["next_cursor"]; ok {
		err = json.Unmarshal(raw, &next)
	}
	return items, next, err
}

// merged is an answer with these items, whose next_cursor is next.
func (l listing) merged(items []json.RawMessage, next *string) []byte {
	all := make([][]byte, len(items))
	for i, item := range items {
		all[i] = item
	}
	cursor := []byte("null")
	if next != nil {
		cursor, _ = json.Marshal(*next)
	}
	return fmt.Appendf(nil, `{%q:[%s],"next_cursor":%s}`, l.member, bytes.Join(all, []byte(",")), cursor)
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
