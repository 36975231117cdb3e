// Package keys has custody of an authority's private keys: the ledger key, and the keys that sign tokens. Files keeps them
// in 0600 files of a data directory; Sealed keeps them in the ledger, sealed by a service that says who may open what. It
// hands out signers, never key material, and no error of it holds any.
//
// Its errors are authority.ErrNoKey, ErrMissing, and otherwise for people.
package keys
