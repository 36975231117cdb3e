// Package access decides who may get in: it authenticates clients, issues tokens, checks and introspects them, over a
// View of joined state. An authority and a sidecar run the same code over different views. The package does no I/O of its
// own, knows no HTTP, writes nothing and has no clock.
//
// Its errors are values to branch on: ErrRefused (and credential.RetiredError, which says more), ErrToken, ErrScope,
// ErrRequest, ErrForbidden, and the View's ErrNotBootstrapped, ErrUnknown and ErrUnavailable.
package access
