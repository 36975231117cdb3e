package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"io"

	"github.com/keyturn/keyturn/internal/authority"
)

// ExportWriter writes an export as GET /v1/export answers it, for an ExportReader.
type ExportWriter struct{ encode *json.Encoder }

// NewExportWriter returns a writer of JSON lines to w.
func NewExportWriter(w io.Writer) *ExportWriter { return &ExportWriter{json.NewEncoder(w)} }

// Page writes what a page of the ledgers holds.
func (x *ExportWriter) Page(p authority.LedgerPage) error {
	lines, err := Lines(p)
	if err != nil {
		return err
	}
	for _, l := range lines {
		var w ExportLine
		if l.Signed != nil {
			record := signedWire(*l.Signed)
			w.Record = &record
		} else {
			w.Hash = &LiveHash{l.Region, l.Seq, base64.RawURLEncoding.EncodeToString(l.Hash)}
		}
		if err := x.encode.Encode(w); err != nil {
			return err
		}
	}
	return nil
}

// End writes the line without which no import takes the export for a whole one.
func (x *ExportWriter) End() error {
	return x.encode.Encode(ExportLine{NextCursor: json.RawMessage("null")})
}
