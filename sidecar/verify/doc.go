// Package verify checks keyturn's access tokens inside another Go service: at memory speed, with the revocations, bounds and
// rules of the sidecar on the same host.
//
// A Verifier follows a sidecar, over HTTP on loopback or over a unix socket, and knows of a revocation as soon as the
// sidecar does. With Options.KeysOnly it needs no sidecar and reads the authority's key set instead. Then it knows of no
// revocation and of no limit on what a peer may grant: a token is good until it expires. It issues nothing, keeps nothing on
// disk and logs nothing.
//
// A token is judged as a sidecar judges it, with one difference: the feed does not list who exists, until when and with which
// scopes, so a well-signed token is good unless its credential is known to be dead. One whose credential's expires_at has come,
// or never allowed its scopes, is refused by a sidecar and not here; honest issuers sign no such token, and what a dishonest
// one signs stays within its max_scopes and lasts an hour. Unknown is not revoked: where the Verifier cannot know, because what
// it has is too old, or because its sidecar or that one's authority does not answer, that is ErrStale, and never ErrInvalid.
// Every error of Check matches exactly one of ErrInvalid (401), ErrForbidden (403) and ErrStale (503).
package verify
