// Package keys has custody of an authority's private keys: the ledger key, and the keys that sign tokens. Here they are
// 0600 files of a data directory. It hands out signers, never key material, and no error of it holds any.
package keys
