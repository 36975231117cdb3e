package replica

import "errors"

// Errors of the package.
var (
	// ErrAnchor says that a store holds a copy of another cluster: one that another key founded.
	ErrAnchor = errors.New("replica: it is the copy of a cluster that another key founded")
	// ErrRefused says that a record does not fit: what came before it is applied, it and what comes after it is not.
	ErrRefused = errors.New("replica: a record does not fit")
	// ErrBroken says that the authority's ledger is not the one that was copied: a restored backup, or a rollback.
	ErrBroken = errors.New("replica: the authority's ledger is not the one that was copied: if that is meant, run keyturn-sidecar resync")
	// ErrStopped says that nobody pulls (any more): Run has ended.
	ErrStopped = errors.New("replica: nothing is pulled any more")
)

// What says what an Event tells of.
type What string

// What there is to tell of.
const (
	Refused  What = "refused"  // a record did not fit: Region, Seq (as far as it says them) and Err
	Unproven What = "unproven" // a proof of freshness did not count: Err
	Broken   What = "broken"   // a fork: Err. Pulling has ended
	Failed   What = "failed"   // a pull failed, after one that did not: Err
	Pulling  What = "pulling"  // pulls work again, after Failed
	Resynced What = "resynced" // the copy was replaced by a new one
)

// Event is what there is to log. It holds no secret and no hash.
type Event struct {
	What   What
	Region string
	Seq    uint64
	Err    error
}
