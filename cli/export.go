package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/jwk"
)

// ExportCmd prints the whole ledger.
type ExportCmd struct {
	VouchFor string `help:"First let the ledger trust this public key: the ledger key of the store that will take over. A JWK, or a file with one." placeholder:"JWK"`
	Reason   string `help:"Why the key is trusted, for the audit trail." placeholder:"TEXT"`
}

// Run prints JSON lines. The last one is {"next_cursor":null}: where it is missing, the export is not whole.
func (c *ExportCmd) Run(a *App) error {
	s, err := a.open(false)
	if err != nil {
		return err
	}
	if err := c.vouch(s); err != nil {
		return err
	}
	query, lines := url.Values{}, 0
	for {
		answer, err := s.call("export", httpapi.Request{Path: "/v1/export", Query: query})
		if err != nil {
			return err
		}
		body, next, err := cutCursor(answer.Body)
		if err != nil {
			return failed("export", err)
		}
		if next == "" {
			body = append(body, `{"next_cursor":null}`+"\n"...)
		}
		if err := a.data(string(body)); err != nil {
			return failed("export", err)
		}
		if next == "" {
			return nil
		}
		query.Set("after", next)
		lines += bytes.Count(body, []byte("\n"))
		s.screen.relabel("export: %d lines so far", lines)
	}
}

// cutCursor takes the last line off an answer and returns the cursor that it holds.
func cutCursor(answer []byte) (body []byte, next string, err error) {
	answer = bytes.TrimRight(answer, "\n")
	begin := bytes.LastIndexByte(answer, '\n') + 1
	var last struct {
		Cursor json.RawMessage `json:"next_cursor"`
	}
	var cursor *string
	if json.Unmarshal(answer[begin:], &last) != nil || json.Unmarshal(last.Cursor, &cursor) != nil {
		return nil, "", errors.New("the answer is not whole: it does not end with a cursor")
	}
	return bytes.Clone(answer[:begin]), deref(cursor), nil
}

func (c *ExportCmd) vouch(s *session) error {
	if c.VouchFor == "" {
		return nil
	}
	text := []byte(c.VouchFor)
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		var err error
		if text, err = s.input(c.VouchFor); err != nil {
			return &failure{what: "--vouch-for", why: err}
		}
	}
	key, err := jwk.Parse(text)
	if err != nil {
		return usage("--vouch-for: " + err.Error())
	}
	_, err = s.call("vouch for the key", httpapi.Request{
		Method: "POST", Path: "/v1/ledger-keys", Body: httpapi.VouchRequest{PublicKey: text, Reason: c.Reason},
	})
	if err == nil {
		s.screen.note("the ledger trusts the key %s from now on", key.ID())
	}
	return err
}
