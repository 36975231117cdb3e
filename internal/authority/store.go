package authority

import (
	"context"
	"errors"
	"time"
)

// The two errors that a Store invents. Every other error of a Store means that the outcome is unknown, or that the store
// cannot be used at the moment: the caller looks at the head again before it decides.
var (
	// ErrNotFound says that nothing is kept under that name.
	ErrNotFound = errors.New("store: not found")
	// ErrConflict says that a condition of a write did not hold and that nothing was written.
	ErrConflict = errors.New("store: conflict")
)

// Store keeps ledgers, what belongs to each subject, and claims: bytes in, bytes out. It knows no rule of the domain. All
// methods may be called from many goroutines. Slices that a Store returns belong to the caller; slices that it is given
// it does not keep. Every method gives up when its context ends, with the context's error.
type Store interface {
	// Append commits all of b, or nothing of it, and has it on durable media before it returns nil. It returns
	// ErrConflict when the head of b.Region is not b.After, when a claim of b is held already (by what Heads has told of,
	// in any region), or when a limit would be passed. After any other error the batch may or may not be there: Heads tells.
	Append(ctx context.Context, b Batch) error

	// Subject returns every entry of one subject, ordered by region and sequence, strongly consistent with what Append
	// has committed in this region. Entries whose CopyExpires has passed, and secrets whose SecretExpires has passed, may
	// be there or not. ErrNotFound when there is no entry. Lists and Sum are not filled in.
	Subject(ctx context.Context, subject string) ([]Entry, error)

	// Page returns at most limit subjects of a list, in ascending order of their names, greater than after. An empty
	// answer is the end; an unknown list is empty.
	Page(ctx context.Context, list, after string, limit int) ([]string, error)

	// Ledger returns at most limit entries of one region's ledger with a sequence greater than after, in order and
	// without holes. An empty answer is the end. Lists and Sum are not filled in.
	Ledger(ctx context.Context, region string, after uint64, limit int) ([]Entry, error)

	// Heads returns the head of each region's ledger. A store that has never been written to has none.
	Heads(ctx context.Context) (map[string]Head, error)

	// Claim takes c alone. ErrConflict when it is held already and its holder neither has expired at c.At nor yields then.
	Claim(ctx context.Context, c Claim) error

	// Claimed returns the claim under key, expired or not. ErrNotFound when there is none.
	Claimed(ctx context.Context, key string) (Claim, error)

	// Close frees what the store holds. Calls that are under way finish first.
	Close() error
}

// Head names the last entry of a ledger. The zero Head is that of an empty ledger.
type Head struct {
	Seq uint64 // 1 for the first entry
	Sum []byte // the entry's Sum
}

// Batch is what Append commits together.
type Batch struct {
	Region   string
	After    Head     // the head that the batch was made for: compare and swap
	Entries  []Entry  // at least one; sequences go on from After.Seq without a hole
	Expiries []Expiry // entries may be named that do not exist (any more)
	Claims   []Claim
	Limits   []Limit
}

// Entry is one signed record of a ledger, with the secret's hash that belongs to it.
type Entry struct {
	Region  string
	Seq     uint64
	Subject string
	Data    []byte   // the signed record
	Sum     []byte   // what the next entry's record names as its predecessor; the head keeps the last one
	Lists   []string // the lists that Subject is put into; being there already is no error

	Secret        []byte    // the secret's hash beside the entry, nil where there is none
	SecretExpires time.Time // from then on a store may delete Secret; zero: never
	CopyExpires   time.Time // from then on Subject may leave the entry out; Ledger never does; zero: never
}

// Expiry dates what an earlier entry left behind. A date that is there already is only ever moved forward: the earliest
// wins. Zero leaves a date as it is.
type Expiry struct {
	Subject string
	Region  string
	Seq     uint64
	Secret  time.Time
	Copy    time.Time
}

// Claim is a key that only one caller ever gets, until it expires. One that yields is a note instead: it stays until it
// expires, and whoever has news replaces it.
type Claim struct {
	Key       string
	Value     []byte
	At        time.Time // the instant of the operation: a holder that has expired by then (ExpiresAt <= At) gives way
	ExpiresAt time.Time
	Yields    time.Time // from then on (Yields <= At) it gives way although it has not expired; zero: at ExpiresAt
}

// Gives reports whether a holder gives way to who claims the key at instant at.
func (c Claim) Gives(at time.Time) bool {
	return !c.ExpiresAt.After(at) || !c.Yields.IsZero() && !c.Yields.After(at)
}

// Limit counts: the counter Name moves by Delta and must not be above Max afterwards. With Delta <= 0 Max does not hold.
// A counter never falls below zero: it stays there.
type Limit struct {
	Name  string
	Delta int
	Max   int
}
