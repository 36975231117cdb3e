package replica

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/ledger"
)

// packed is a store that keeps records in about half of their size. A record is JSON that says the same words in the same
// order as all others, and no byte below a space is ever in it: such a byte stands for the words.
//
// What is kept begins with packedFormat, which no signed record begins with: what does not is kept as it is.
type packed struct {
	authority.Store
	pack, unpack *strings.Replacer
}

const packedFormat = 0x81

// words are what the bytes from 0 on stand for. Files depend on it: a list with other words needs another packedFormat.
func words() []string {
	return []string{
		`{"format":1,"cluster":"clu_`, `","region":"`, `","seq":`, `,"prev":"`, `","at":"20`,
		`Z","kind":"credential","subject":"cli_`, `Z","kind":"version","subject":"cli_`, `Z","kind":"revoked","subject":"cli_`,
		`Z","kind":"`, `","subject":"`, `","actor":"cli_`, `","actor_version":`, `,"request_id":"`, `","reason":"`, `","source":"`,
		`","body":{"name":"`, `","body":{"version":`, `","body":{`, `"kind":"standard","scopes":["`, `"],"license_id":"lic_`,
		`,"digest":"`, `","parent":"`, `","retires":[{"version":`, `","not_after":"20`, `Z"}],"emergency":true,"trunk":["`,
		`,"expires_at":"20`, `,"labels":{"`, `":"`, `","`, `"}}`, `.read`, `.write`,
	}
}

func newPacked(store authority.Store) *packed {
	p := &packed{Store: store}
	var pack, unpack []string
	for i, w := range words() {
		code := string([]byte{byte(i)})
		pack, unpack = append(pack, w, code), append(unpack, code, w)
	}
	p.pack, p.unpack = strings.NewReplacer(pack...), strings.NewReplacer(unpack...)
	return p
}

// Append implements authority.Store.
func (p *packed) Append(ctx context.Context, b authority.Batch) error {
	entries := make([]authority.Entry, len(b.Entries))
	everywhere(len(entries), func(i int) {
		entries[i] = b.Entries[i]
		entries[i].Data = p.shrink(entries[i].Data)
	})
	b.Entries = entries
	return p.Store.Append(ctx, b)
}

// Subject implements authority.Store.
func (p *packed) Subject(ctx context.Context, subject string) ([]authority.Entry, error) {
	entries, err := p.Store.Subject(ctx, subject)
	if err != nil {
		return nil, err
	}
	return p.grow(entries)
}

// Ledger implements authority.Store.
func (p *packed) Ledger(ctx context.Context, region string, after uint64, limit int) ([]authority.Entry, error) {
	entries, err := p.Store.Ledger(ctx, region, after, limit)
	if err != nil {
		return nil, err
	}
	return p.grow(entries)
}

// shrink packs a signed record.
func (p *packed) shrink(data []byte) []byte {
	s, err := ledger.Decode(data)
	if err != nil || bytes.ContainsFunc(s.Payload, func(c rune) bool { return c < ' ' }) {
		return data
	}
	head := data[1 : len(data)-len(s.Payload)]
	out := make([]byte, 0, len(data))
	out = append(append(out, packedFormat), head...)
	return append(out, p.pack.Replace(string(s.Payload))...)
}

func (p *packed) grow(entries []authority.Entry) ([]authority.Entry, error) {
	for i := range entries {
		data := entries[i].Data
		if len(data) == 0 || data[0] != packedFormat {
			continue
		}
		if len(data) < ledger.HeaderLen {
			return nil, fmt.Errorf("%w: %s:%d is cut off", ledger.ErrRecord, entries[i].Region, entries[i].Seq)
		}
		payload := p.unpack.Replace(string(data[ledger.HeaderLen:]))
		out := make([]byte, 0, ledger.HeaderLen+len(payload))
		out = append(append(out, ledger.SignedVersion), data[1:ledger.HeaderLen]...)
		entries[i].Data = append(out, payload...)
	}
	return entries, nil
}
