// Package ledger holds the records of a cluster: signed, immutable facts, chained per region, and the join that turns a
// set of them into state. The state is a pure function of the set: order and duplicates do not matter.
//
// The package does no I/O and has no clock. Its errors: ErrRecord for bytes that are no record of this cluster,
// ErrSignature for a record that no trusted key signed, ErrFork for a chain that does not fit.
package ledger
