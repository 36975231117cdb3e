// Package replica keeps a peer's copy of the ledgers: it pulls every region's records by cursor, checks each one when it
// comes in, keeps them in an authority.Store, and answers from them as an access.View, with or without a network.
//
// A cursor never moves over a hole or over a record that does not fit: such a record is counted and reported, never applied.
// A fork (the authority's ledger is not the one that was copied) ends pulling: the copy goes on answering, its age grows, and
// Resync accepts the other ledger. The age is that of the newest proof of freshness whose heads every cursor has reached.
//
// The package refuses to know what carries a page (Source), what the store is made of, who may ask, and how old is too old.
// Its errors: ErrAnchor, ErrRefused, ErrBroken, ErrStopped, and those of the Source and of access.
package replica
