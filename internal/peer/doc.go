// Package peer knows the hosts of a cluster and the keys with which they join: what a peer is, what it may grant, when a
// join key is good, and what a host signs to prove that it holds its identity.
//
// It is pure: no I/O, no clock of its own, no tokens. Its errors wrap credential.ErrInput where a person can mend what
// they asked for, and are ErrProof where a proof does not fit.
package peer
