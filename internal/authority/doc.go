// Package authority holds the writes of a cluster: bootstrap, create, rotate, revoke, recover, and what reads they need.
// It decides on joined state, numbers, signs and commits records through a Store, and is the only writer of its region.
// Every rule is here once; a Store only moves bytes.
//
// The package knows no HTTP and logs nothing. Its errors are values to branch on: those of access and credential, and
// those in errors.go. Errors of a Store come out as ErrUnavailable.
package authority
