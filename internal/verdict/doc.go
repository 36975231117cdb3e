// Package verdict remembers what access decided: ristretto caches of verified tokens and of validated (client, secret hash)
// pairs, in front of a gate. They are accelerators: an entry may be missing at any moment, and only good answers are kept.
//
// An entry is good for its whole key, compared byte by byte and not by hash; between its own two instants; and as long as
// nothing has moved since before its answer was computed (see Generations). Plain secrets are not kept. How old the state
// behind the gate is, is for the caller to judge on each call; the package has no clock of its own that decides anything.
//
// It returns no errors but those of the gate behind it.
package verdict
