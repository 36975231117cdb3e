package httpapi

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/ledger"
)

// maxExportLine is the longest line of an export, in bytes: a record in base64, and what is around it.
const maxExportLine = ledger.MaxRecord*4/3 + 4096

// ExportReader reads an export (JSON lines, as GET /v1/export answers) for an import.
type ExportReader struct {
	r    *bufio.Reader
	line int
	end  bool // the last line that was read says that there is no more
}

// NewExportReader returns a reader of what r holds.
func NewExportReader(r io.Reader) *ExportReader {
	return &ExportReader{r: bufio.NewReaderSize(r, maxExportLine)}
}

// Next returns the next record or hash, and io.EOF after the line that ends an export: what was cut off is no export,
// because what is missing at its end may be a revocation.
func (x *ExportReader) Next() (authority.Line, error) {
	for {
		text, err := x.r.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(text) == 0 {
			if !x.end {
				return authority.Line{}, errors.New("the export is not complete: its last line has to be {\"next_cursor\":null}")
			}
			return authority.Line{}, io.EOF
		}
		x.line++
		if err != nil && !errors.Is(err, io.EOF) {
			return authority.Line{}, x.wrong(err)
		}
		var w ExportLine
		if err := json.Unmarshal(text, &w); err != nil {
			return authority.Line{}, x.wrong(errors.New("it is not a JSON object of an export"))
		}
		if w.Record == nil && w.Hash == nil {
			if w.NextCursor == nil {
				return authority.Line{}, x.wrong(errors.New("it is neither a record nor a hash nor a cursor"))
			}
			x.end = string(w.NextCursor) == "null"
			continue
		}
		x.end = false
		line, err := importLine(w)
		if err != nil {
			return authority.Line{}, x.wrong(err)
		}
		return line, nil
	}
}

func (x *ExportReader) wrong(err error) error {
	return fmt.Errorf("line %d of the export: %w", x.line, err)
}

func importLine(w ExportLine) (authority.Line, error) {
	decode := base64.RawURLEncoding.DecodeString
	if w.Record == nil {
		hash, err := decode(w.Hash.Hash)
		return authority.Line{Region: w.Hash.Region, Seq: w.Hash.Seq, Hash: hash}, err
	}
	payload, err := decode(w.Record.Payload)
	if err != nil {
		return authority.Line{}, err
	}
	signature, err := decode(w.Record.Signature)
	return authority.Line{Signed: &ledger.Signed{Payload: payload, KeyID: w.Record.KeyID, Signature: signature}}, err
}
