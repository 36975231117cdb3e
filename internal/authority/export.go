package authority

import (
	"context"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/ledger"
)

// Exported is a signed record, and the hash of its secret where its version is accepted.
type Exported struct {
	Region string
	Seq    uint64
	Signed ledger.Signed
	Hash   []byte // nil: none, or not live
}

// Export visits up to limit records after a cursor, and returns the next cursor; "" at the end of what there is. Where visit
// returns false, the next page begins with that record.
func (a *Authority) Export(ctx context.Context, caller access.Caller, at time.Time, after string, limit int, visit func(Exported) bool) (next string, err error) {
	if err := caller.Require(credential.Admin); err != nil {
		return "", err
	}
	cursor, err := ParseCursor(after)
	if err != nil {
		return "", err
	}
	end, err := a.read(ctx, cursor, limit, func(e Entry, _ *ledger.Record) bool {
		signed, err := ledger.Decode(e.Data)
		if err != nil {
			return false
		}
		if !e.SecretExpires.IsZero() && !at.Before(e.SecretExpires) {
			e.Secret = nil
		}
		return visit(Exported{e.Region, e.Seq, signed, e.Secret})
	})
	if err != nil || end {
		return "", err
	}
	return cursor.String(), nil
}
