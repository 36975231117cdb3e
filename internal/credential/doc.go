// Package credential holds the nouns and the rules of a client credential: secrets, scopes, versions, windows, and who is
// accepted at which instant. It is pure: no I/O, no clock, no randomness but the making of a secret. Its errors are
// values to branch on; none repeats a secret.
package credential
